"""Merging of many small clusters into few, so that the mutual information between paired samples is largest.

This is the sequential information bottleneck (Slonim, Friedman & Tishby 2002) for the joint distribution of the
clusters of pairs. The clusters of both samples of a pair are merged in the same way.

Axes: s random starts, m small clusters ("parts"), k merged clusters.
"""

import math

import numpy as np
import torch

from sklinvariant._settings import in_own_precision

_MOST_SWEEPS = 50
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

    From each random start, one part after another moves to the cluster that increases the information most, until no
    part moves. The best start is returned. A move changes only the entries of the clusters that the part shares pairs
    with, so a sweep costs s m k l operations for l such clusters.
    """
    joint = np.asarray(joint, dtype=np.float64)
    joint = (joint + joint.T) / 2
    joint = joint / max(float(joint.sum()), _TINY)
    m, orders = len(joint), _Orders(len(joint), generator)
    labels = np.stack([orders.draw() % n_clusters for _ in range(n_starts)])
    a_start = 8 * n_clusters * (2 * m + 4 * n_clusters)  # bytes
    parts = np.array_split(labels, min(n_starts, math.ceil(n_starts * a_start / _BYTES)))
    found = [_after_moves(joint, part, n_clusters, entropy_weight, orders) for part in parts]
    return max(found, key=lambda one: one[0])[1]


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


def _after_moves(joint, labels, n_clusters, entropy_weight, orders):
    """The information and the labels (m,) of the best of the starts ``labels`` (s, m), from which parts move."""
    members = np.eye(n_clusters)[labels]
    table = _Table(members.swapaxes(1, 2) @ joint @ members, entropy_weight)
    del members
    for sweep in range(_MOST_SWEEPS):
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
    information = table.information()
    best = information.argmax()
    return information[best], labels[best]


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
