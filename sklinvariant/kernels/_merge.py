"""Many small clusters merged into few, by what the few would tell of each other.

The sequential information bottleneck (Slonim, Friedman & Tishby 2002) for a joint distribution of two samples of one
kind, where both are merged alike: that of the clusters of pairs.
"""

import numpy as np
import torch

_MOST_SWEEPS = 50


def merge_clusters(joint, n_clusters, *, entropy_weight=1.0, n_starts=20, generator):
    """A cluster 0..k-1 for each of m parts, for which `joint_information` of the merged (m, m) joint is largest.

    Part after part moves to where it gives most, until none moves; the best of so many random starts. Changes are found
    from the row of the part alone, so that a sweep costs m k². Returns an int64 array (m,).
    """
    joint = np.asarray(joint, dtype=np.float64)
    joint = (joint + joint.T) / 2
    joint = joint / max(joint.sum(), np.finfo(np.float64).tiny)
    best, found = -np.inf, None
    for _ in range(n_starts):
        labels = torch.randperm(len(joint), generator=generator).numpy() % n_clusters
        information = _settle(joint, labels, n_clusters, entropy_weight, generator)
        if information > best:
            best, found = information, labels
    return found


def _settle(joint, labels, k, entropy_weight, generator):
    """Moves parts, in ``labels`` itself, until none has a better place; the information reached."""
    weights = joint.sum(1)
    members = np.eye(k)[labels]
    merged = members.T @ joint @ members
    marginal = merged.sum(1)
    for _ in range(_MOST_SWEEPS):
        moved = False
        for part in torch.randperm(len(joint), generator=generator).tolist():
            before, own = labels[part], joint[part, part]
            row = np.bincount(labels, joint[part], minlength=k)
            row[before] -= own
            _add(merged, marginal, before, -row, -own, -weights[part])
            np.maximum(merged, 0, out=merged)
            np.maximum(marginal, 0, out=marginal)
            gains = _gains(merged, marginal, row, own, weights[part], entropy_weight)
            place = int(gains.argmax())
            if gains[place] <= gains[before] + 1e-12:
                place = before
            _add(merged, marginal, place, row, own, weights[part])
            labels[part] = place
            moved = moved or place != before
        if not moved:
            break
    return _x_log_x(merged).sum() - 2 * entropy_weight * _x_log_x(marginal).sum()


def _add(merged, marginal, place, row, own, weight):
    """Puts a part into a cluster: its joint with the others, with itself, and its weight."""
    merged[place] += row
    merged[:, place] += row
    merged[place, place] += own
    marginal[place] += weight


def _gains(merged, marginal, row, own, weight, entropy_weight):
    """(k,) what the information gains where the part is put into each cluster."""
    change = _x_log_x(merged + row) - _x_log_x(merged)
    inside = np.diagonal(merged)
    gains = 2 * (change.sum(1) - np.diagonal(change)) + _x_log_x(inside + 2 * row + own) - _x_log_x(inside)
    return gains - 2 * entropy_weight * (_x_log_x(marginal + weight) - _x_log_x(marginal))


def _x_log_x(x):
    return np.where(x > 0, x * np.log(np.maximum(x, np.finfo(np.float64).tiny)), 0.0)
