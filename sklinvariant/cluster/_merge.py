"""Merging of many small clusters into few, so that the mutual information between paired samples is largest.

This is the sequential information bottleneck (Slonim, Friedman & Tishby 2002) for the joint distribution of the
clusters of pairs, from random starts and from those of the agglomerative information bottleneck (Slonim & Tishby 1999).
The clusters of both samples of a pair are merged in the same way.

Axes: s random starts, m small clusters ("parts"), k merged clusters.
"""

import math

import numpy as np
import torch

from sklinvariant._settings import in_own_precision

_MOST_SWEEPS = 50
_FEW = 10  # clusters for which random starts are enough
_MORE, _MOST = 3, 300  # clusters, in multiples of k and at most, that are merged in pairs
_MORE_STARTS, _MORE_SWEEPS = 3, 3
_BYTES = 256 << 20  # memory for the tables of the starts that are computed at a time
_TINY = np.finfo(np.float64).tiny


@in_own_precision
def merge_clusters(
    joint: np.ndarray | torch.Tensor,
    n_clusters: int,
    *,
    entropy_weight: float = 1.0,
    n_starts: int = 50,
    generator: torch.Generator | None,
) -> np.ndarray:
    """Assign m parts to k clusters so that `joint_information` of the merged joint (m, m) is largest: (m,) int64.

    From each start, one part after another moves to the cluster that increases the information most, until no part
    moves. The best result is returned. A move changes only the entries of the clusters that the part shares pairs with,
    so a sweep costs s m k l operations for l such clusters.

    For more than 10 clusters, moves of single parts from ``n_starts`` random starts often end with two classes in one
    cluster, and another class in two. A few more starts avoid this: parts move between three times as many clusters,
    which are then merged in pairs.
    """
    joint = np.asarray(joint, dtype=np.float64)
    joint = (joint + joint.T) / 2
    joint = joint / max(float(joint.sum()), _TINY)
    m, orders = len(joint), _Orders(len(joint), generator)

    def moved(labels, k, most_sweeps):
        a_start = 8 * k * (2 * m + 4 * k)  # bytes
        parts = np.array_split(labels, min(len(labels), math.ceil(len(labels) * a_start / _BYTES)))
        found = [_after_moves(joint, part, k, entropy_weight, orders, most_sweeps) for part in parts]
        return (np.concatenate(each) for each in zip(*found, strict=True))

    starts = [orders.draw() % n_clusters for _ in range(n_starts)]
    more = min(_MORE * n_clusters, _MOST, m)
    if more > n_clusters > _FEW:
        _, many = moved(np.stack([orders.draw() % more for _ in range(_MORE_STARTS)]), more, _MORE_SWEEPS)
        starts += [_merged_in_pairs(joint, labels, more, n_clusters, entropy_weight) for labels in many]
    information, labels = moved(np.stack(starts), n_clusters, _MOST_SWEEPS)
    return labels[information.argmax()]


class _Orders:
    """Random orders of the parts, one for each sweep, which all starts share."""

    def __init__(self, m, generator):
        self.m, self.generator, self.drawn = m, generator, []

    def __getitem__(self, sweep):
        if sweep == len(self.drawn):
            self.drawn.append(self.draw())
        return self.drawn[sweep]

    def draw(self):
        return torch.randperm(self.m, generator=self.generator, device="cpu").numpy()


def _after_moves(joint, labels, n_clusters, entropy_weight, orders, most_sweeps):
    """The information (s,) and the labels (s, m) after moves of parts from the starts ``labels`` (s, m)."""
    members = np.eye(n_clusters)[labels]
    table = _Table(members.swapaxes(1, 2) @ joint @ members, entropy_weight)
    del members
    for sweep in range(most_sweeps):
        moved = False
        for part in orders[sweep].tolist():
            before, own = labels[:, part], joint[part, part]
            rows = _sums_by_label(joint[part], labels, n_clusters)
            rows[table.starts, before] -= own
            table.add(before, -rows, -own)
            gains = table.gains(rows, own)
            after = gains.argmax(1)
            worth = gains[table.starts, after] > gains[table.starts, before] + 1e-12
            after = np.where(worth, after, before)
            table.add(after, rows, own)
            moved = moved or worth.any()
            labels[:, part] = after
        if not moved:
            break
    return table.information(), labels


def _merged_in_pairs(joint, labels, m, k, entropy_weight):
    """Labels (n,) in 0 to k - 1, after the two of m clusters whose merging loses least are merged, until k are left.

    The losses of other pairs are not computed again, because the moves that follow correct small errors.
    """
    members = np.eye(m)[labels]
    merged = members.T @ joint @ members
    losses = np.stack([_losses(merged, one, entropy_weight) for one in range(m)])
    names = np.arange(m)
    for _ in range(m - k):
        one, other = divmod(int(losses.argmin()), m)
        merged[one] += merged[other]
        merged[:, one] += merged[:, other]
        merged[other] = merged[:, other] = 0
        names[names == other] = one
        losses[other] = losses[:, other] = np.inf
        new = np.where(np.isin(np.arange(m), names), _losses(merged, one, entropy_weight), np.inf)
        losses[one] = losses[:, one] = new
    return np.unique(names, return_inverse=True)[1][labels]


def _losses(merged, one, entropy_weight):
    """The information that is lost if a cluster of a merged joint (m, m) is merged with each other one: (m,)."""
    row, own, sizes = merged[one], merged.diagonal(), merged.sum(1)
    with_third = _x_log_x(merged + row) - _x_log_x(merged) - _x_log_x(row)
    gain = 2 * (with_third.sum(1) - with_third[:, one] - with_third.diagonal())
    gain += _x_log_x(own + 2 * row + own[one]) - _x_log_x(own) - _x_log_x(own[one]) - 2 * _x_log_x(row)
    gain -= 2 * entropy_weight * (_x_log_x(sizes + sizes[one]) - _x_log_x(sizes) - _x_log_x(sizes[one]))
    gain[one] = -np.inf
    return -gain


class _Table:
    """The symmetric merged joints (s, k, k) of all starts."""

    def __init__(self, merged, entropy_weight):
        self.merged, self.entropy_weight = merged, entropy_weight
        self.marginals = merged.sum(2)
        self.starts, self.clusters = np.arange(len(merged)), np.arange(merged.shape[1])

    def add(self, clusters, rows, own):
        """Add a part to one cluster per start (s,), given its joint (s, k) with the other parts and with itself."""
        new = self.merged[self.starts, clusters] + rows
        new[self.starts, clusters] += rows[self.starts, clusters] + own
        np.maximum(new, 0, out=new)  # rounding errors may be negative
        self.merged[self.starts, clusters] = new
        self.merged[self.starts, :, clusters] = new
        self.marginals += rows
        self.marginals[self.starts, clusters] += rows.sum(1) + own
        np.maximum(self.marginals, 0, out=self.marginals)

    def gains(self, rows, own):
        """Increase of the information (s, k) if the part is added to each cluster."""
        met = self._met(rows)
        table, more = self.merged[self.starts[:, None], met], np.take_along_axis(rows, met, 1)[:, :, None]
        change = (_x_log_x(table + more) - _x_log_x(table)).sum(1)
        inside = self.merged[:, self.clusters, self.clusters]
        gains = 2 * (change - _x_log_x(inside + rows)) + _x_log_x(inside + 2 * rows + own) + _x_log_x(inside)
        marginals = self.marginals + rows  # include the mass shared with the part
        weight = rows.sum(1, keepdims=True) + own
        return gains - 2 * self.entropy_weight * (_x_log_x(marginals + weight) - _x_log_x(marginals))

    def _met(self, rows):
        """The clusters (s, l) that a part shares pairs with, often few; up to l with others, which change nothing."""
        most = max(1, int((rows > 0).sum(1).max()))
        return np.argpartition(-rows, most - 1, axis=1)[:, :most]

    def information(self):
        marginals = _x_log_x(self.merged.sum(2)).sum(1)
        return _x_log_x(self.merged).sum((1, 2)) - 2 * self.entropy_weight * marginals


def _sums_by_label(values, labels, k):
    """Sums (s, k) of values (m,) by labels (s, m)."""
    s = len(labels)
    cells = labels + k * np.arange(s)[:, None]
    return np.bincount(cells.ravel(), np.tile(values, s), minlength=s * k).reshape(s, k)


def _x_log_x(x):
    return x * np.log(np.maximum(x, _TINY))
