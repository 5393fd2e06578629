"""The invariance score of features under temporal change: equation 1 of Sukhbaatar et al. (2013).

There are n pairs (a, b) of consecutive frames and f features. G is the mean distance within a pair, H the mean distance
between an a and a random b.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state, gen_batches
from sklearn.utils.metadata_routing import UNUSED

from sklinvariant._settings import with_own_settings
from sklinvariant.base import Count, RandomState, to_numpy, validated
from sklinvariant.pairs import consecutive_mask

_NUMBERS = 1 << 22  # differences, distances or sorted values in a block
_FEW = 1000  # largest number of pairs for which "auto" compares every a with every b
Permutations = Count | Literal["auto", "all"]


@with_own_settings
@validated
def invariance_score(
    pairs: Any,
    *,
    per_feature: bool = False,
    n_permutations: Permutations = "auto",
    random_state: RandomState = None,
) -> float | Any:
    r"""Invariance score of features: the distance of random frames divided by that of consecutive frames.

    The score is :math:`F = H / G` with

    .. math:: G = \frac{1}{n} \sum_i \lVert g(x_i) - g(x'_i) \rVert_2 \qquad
        H = \frac{1}{n} \sum_i \lVert g(x_i) - g(x'_{\sigma(i)}) \rVert_2

    G is the mean distance between the features of consecutive frames, H between those of random frames. F is about 1 if
    consecutive frames are no more similar than random ones, and larger for more invariant features. The scale and the
    offset of the features do not matter.

    Parameters
    ----------
    pairs : array of shape (n, 2, f)
        Features of n pairs of consecutive frames from many scenes. Further axes are flattened into the features. To
        score a fitted transformer, use `make_invariance_scorer`, or transform all frames and restore the pairs.
    per_feature : bool, default=False
        Return a score for each feature.
    n_permutations : int, "all" or "auto", default="auto"
        Number of random permutations σ over which H is averaged; the paper uses 1. "all" averages over all
        permutations, which is the mean distance of every a to every b. This value is exact and not random. With
        ``per_feature`` it takes a sort, O(n log n); otherwise it takes n² distances. "auto" is "all" with
        ``per_feature`` or for up to 1000 pairs, and 1 otherwise.
    random_state : int, RandomState or None, default=None
        Seeds the permutations.

    Returns
    -------
    float, or ndarray of shape (f,) if ``per_feature``
        The score. It is 1 for constant features, and infinity if frames differ between pairs but never within a pair.

    Raises
    ------
    ValueError
        For other shapes, fewer than 2 pairs, or NaN or infinity (the message names the pair).

    References
    ----------
    S. Sukhbaatar, T. Makino, K. Aihara: Auto-pooling: Learning to Improve Invariance of Image Features from Image
    Sequences, 2013; equation 1, section 2.1.

    Examples
    --------
    The first feature hardly changes within a pair, the second is noise:

    >>> import numpy as np
    >>> from sklinvariant.metrics import invariance_score
    >>> rng = np.random.default_rng(0)
    >>> pairs = rng.normal(size=(500, 2, 2))
    >>> pairs[:, 1, 0] = pairs[:, 0, 0] + 0.1 * rng.normal(size=500)
    >>> invariance_score(pairs, per_feature=True).round(1)
    array([14.5,  1. ])
    >>> round(invariance_score(pairs), 1)
    1.6
    """
    before, after = _two_sides(pairs, per_feature)
    distance = _mean_by_feature if per_feature else _mean_distance
    near = distance(before, after)
    if n_permutations == "all" or (n_permutations == "auto" and (per_feature or len(before) <= _FEW)):
        far = _mean_over_all_by_feature(before, after) if per_feature else _mean_over_all(before, after)
    else:
        rng = check_random_state(random_state)
        count = 1 if n_permutations == "auto" else n_permutations
        far = np.mean([distance(before, after, rng.permutation(len(after))) for _ in range(count)], axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.where((near == 0) & (far == 0), 1.0, np.divide(far, near))
    return score if per_feature else float(score)


def make_invariance_scorer(
    *, n_permutations: int | Literal["auto", "all"] = "auto", random_state: RandomState = 0
) -> Callable[..., float]:
    """A scorer of the invariance of a transformer's features, for ``scoring=`` of cross-validation over clips.

    The scorer transforms consecutive frames and computes `invariance_score` of the features. X is either

    - pairs (n, 2, ...): each sample is a pair, and only the splitter uses ``groups``, the clip of each pair;
    - or frames (n, ...) in temporal order with ``groups``, the clip of each frame: consecutive rows of a clip are
      pairs. The scorer requests ``groups`` as metadata, so scikit-learn's metadata routing must be enabled.

    Parameters
    ----------
    n_permutations : int, "all" or "auto", default="auto"
        Number of random permutations of the second frames, over which the distance of random frames is averaged. "all"
        averages over all permutations, which is not random, but computes n² distances for n pairs. "auto" is "all" for
        up to 1000 pairs, and 1 otherwise.
    random_state : int, RandomState or None, default=0
        Seeds the permutations. With an int, all candidates are compared on the same permutations.

    Returns
    -------
    callable ``(estimator, X, y=None, groups=None) -> float``

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import GroupKFold, cross_val_score
    >>> from sklearn.preprocessing import FunctionTransformer
    >>> from sklinvariant.metrics import make_invariance_scorer
    >>> rng = np.random.default_rng(0)
    >>> slow = np.repeat(rng.normal(size=(100, 1, 8)), 2, axis=1)
    >>> pairs, clips = slow + 0.2 * rng.normal(size=slow.shape), np.arange(100) // 10
    >>> model = FunctionTransformer()
    >>> cross_val_score(model, pairs, groups=clips, cv=GroupKFold(2), scoring=make_invariance_scorer()).round(1)
    array([4.9, 5.2])
    """
    return _InvarianceScorer(n_permutations=n_permutations, random_state=random_state)


class _InvarianceScorer(BaseEstimator):  # for parameters and the metadata request
    __metadata_request__score = {"estimator": UNUSED, "groups": True}

    def __init__(self, *, n_permutations="auto", random_state=0):
        self.n_permutations = n_permutations
        self.random_state = random_state

    def __repr__(self):
        return f"make_invariance_scorer(n_permutations={self.n_permutations!r}, random_state={self.random_state!r})"

    def __call__(self, estimator, X, y=None, groups=None):
        return self.score(estimator, X, groups=groups)

    def score(self, estimator, X, y=None, groups=None):
        shape = np.shape(X) if not hasattr(X, "shape") else tuple(X.shape)
        if len(shape) >= 3 and shape[1] == 2:
            X = X if hasattr(X, "reshape") else np.asarray(X)
            features = _features(estimator, X.reshape(2 * shape[0], *shape[2:]))
            pairs = features.reshape(shape[0], 2, -1)
        else:
            features = _features(estimator, X)
            starts = _starts(groups, len(features))
            pairs = np.stack([features[starts], features[starts + 1]], axis=1)
        return invariance_score(pairs, n_permutations=self.n_permutations, random_state=self.random_state)


def _features(estimator, X):
    features = np.asarray(to_numpy(estimator.transform(X)))
    return features.reshape(len(features), -1)


def _starts(groups, n):
    """Rows whose next row belongs to the same clip."""
    if groups is None:
        raise ValueError(
            "groups is None, but scoring frames requires the clip of each frame. Pass groups with metadata routing "
            "enabled, or pass pairs (n, 2, ...) as X."
        )
    starts = np.flatnonzero(consecutive_mask(groups, n))
    if not len(starts):
        raise ValueError(
            "groups contains no two consecutive frames of a clip, but at least one pair is required. Order the rows by "
            "clip and time."
        )
    return starts


def _two_sides(pairs, per_feature):
    """(n, f) float64 features of the first and second frames, scaled to [-1, 1] for each feature or for all."""
    pairs = np.asarray(to_numpy(pairs))
    if pairs.ndim < 3 or pairs.shape[1] != 2 or len(pairs) < 2 or 0 in pairs.shape:
        raise ValueError(
            f"pairs has shape {pairs.shape}, but (n, 2, n_features) with at least 2 pairs is required. Reshape X."
        )
    if pairs.dtype.kind not in "fiub":
        raise ValueError(f"pairs has dtype {pairs.dtype}, but real numbers are required. Convert the features.")
    rows = pairs.reshape(len(pairs), 2, -1).astype(np.float64)
    if not np.isfinite(rows).all():
        bad = np.flatnonzero(~np.isfinite(rows).all((1, 2)))[0]
        raise ValueError(f"pair {bad} contains NaN or infinity, but features must be finite. Remove this pair.")
    rows *= 0.5  # so that differences of the largest numbers do not overflow
    rows -= rows[0, 0].copy()  # so that constant features are exactly 0
    scale = np.abs(rows).max((0, 1))
    rows /= np.where(scale > 0, scale, 1) if per_feature else scale.max() or 1
    return rows[:, 0], rows[:, 1]


def _mean_distance(before, after, order=None):
    """Mean norm of a - b over rows, with the rows of b permuted by ``order``."""
    differences = (after[rows if order is None else order[rows]] - before[rows] for rows in _blocks(before))
    return sum(np.linalg.norm(block, axis=1).sum() for block in differences) / len(before)


def _mean_by_feature(before, after, order=None):
    """Mean |a - b| for each feature, with the rows of b permuted by ``order``."""
    differences = (after[rows if order is None else order[rows]] - before[rows] for rows in _blocks(before))
    return sum(np.abs(block).sum(0) for block in differences) / len(before)


def _mean_over_all(before, after):
    """Mean distance between every a and every b."""
    blocks = gen_batches(len(before), max(1, _NUMBERS // len(after)))
    return sum(cdist(before[rows], after).sum() for rows in blocks) / len(before) ** 2


def _mean_over_all_by_feature(before, after):
    """Mean |a - b| over every a and every b, for each feature.

    All values are sorted. The gap between two neighbours counts once for each a on one side and b on the other. All
    terms are positive, so nothing cancels.
    """
    n, means = len(before), []
    for columns in gen_batches(before.shape[1], max(1, _NUMBERS // (2 * n))):
        values = np.concatenate([before[:, columns], after[:, columns]])
        order = np.argsort(values, axis=0)
        gaps = np.diff(np.take_along_axis(values, order, 0), axis=0)
        a = np.cumsum(order < n, axis=0)[:-1] / n  # share of the a below each gap
        b = np.arange(1, 2 * n)[:, None] / n - a
        means.append((gaps * (a * (1 - b) + b * (1 - a))).sum(0))
    return np.concatenate(means)


def _blocks(rows):
    return gen_batches(len(rows), max(1, _NUMBERS // rows.shape[1]))
