"""Many small clusters merged into few, by what the few would tell of each other.

The sequential information bottleneck (Slonim, Friedman & Tishby 2002) for a joint distribution of two samples of one
kind, where both are merged alike: that of the clusters of pairs.

Axes: s starts, m parts, k clusters.
"""

import numpy as np
import torch

from sklinvariant._settings import in_own_precision

_MOST_SWEEPS = 50
_TINY = np.finfo(np.float64).tiny


@in_own_precision
def merge_clusters(joint, n_clusters, *, entropy_weight=1.0, n_starts=50, generator):
    """A cluster 0..k-1 for each of m parts, for which `joint_information` of the merged (m, m) joint is largest.

    From random starts, part after part moves to where it gives most, until none moves; the best start counts. What a
    move changes is found from the row of the part alone, so that a sweep costs s m k². Returns an int64 array (m,).
    """
    joint = np.asarray(joint, dtype=np.float64)
    joint = (joint + joint.T) / 2
    joint = joint / max(joint.sum(), _TINY)
    m = len(joint)
    labels = np.stack(
        [torch.randperm(m, generator=generator, device="cpu").numpy() % n_clusters for _ in range(n_starts)]
    )
    members = np.eye(n_clusters)[labels]
    table = _Table(members.swapaxes(1, 2) @ joint @ members, entropy_weight)
    for _ in range(_MOST_SWEEPS):
        moved = False
        for part in torch.randperm(m, generator=generator, device="cpu").tolist():
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
    return labels[table.information().argmax()]


class _Table:
    """The merged joints (s, k, k), symmetric, of all starts at once."""

    def __init__(self, merged, entropy_weight):
        self.merged, self.entropy_weight = merged, entropy_weight
        self.starts, self.clusters = np.arange(len(merged)), np.arange(merged.shape[1])

    def add(self, clusters, rows, own):
        """Puts a part into a cluster (s,) of each start: its joint (s, k) with the other parts, and with itself."""
        self.merged[self.starts, clusters] += rows
        self.merged[self.starts, :, clusters] += rows
        self.merged[self.starts, clusters, clusters] += own
        np.maximum(self.merged, 0, out=self.merged)  # rounding may leave less than nothing

    def gains(self, rows, own):
        """(s, k) what the information gains where the part is put into each cluster."""
        change = _x_log_x(self.merged + rows[:, None]) - _x_log_x(self.merged)
        inside = self.merged[:, self.clusters, self.clusters]
        gains = 2 * (change.sum(2) - change[:, self.clusters, self.clusters])
        gains += _x_log_x(inside + 2 * rows + own) - _x_log_x(inside)
        marginals = self.merged.sum(2) + rows  # what a cluster shares with the part is in its weight wherever that is
        weight = rows.sum(1, keepdims=True) + own
        return gains - 2 * self.entropy_weight * (_x_log_x(marginals + weight) - _x_log_x(marginals))

    def information(self):
        marginals = _x_log_x(self.merged.sum(2)).sum(1)
        return _x_log_x(self.merged).sum((1, 2)) - 2 * self.entropy_weight * marginals


def _sums_by_label(values, labels, k):
    """(s, k) sums of (m,) values by labels (s, m)."""
    s = len(labels)
    cells = labels + k * np.arange(s)[:, None]
    return np.bincount(cells.ravel(), np.tile(values, s), minlength=s * k).reshape(s, k)


def _x_log_x(x):
    return x * np.log(np.maximum(x, _TINY))
