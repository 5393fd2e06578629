"""How much less features change from a frame to the next than between any two: equation 1 of Sukhbaatar et al. (2013).

n pairs (a, b) of consecutive frames, f features; G is the mean distance of a pair, H of an a and any b.
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

_NUMBERS = 1 << 22  # at a time: differences, distances, or values that are sorted
_FEW = 1000  # pairs, of which every a is compared with every b
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
    r"""How invariant features are: ``F = H / G``.

    .. math:: G = \frac{1}{n} \sum_i \lVert g(x_i) - g(x'_i) \rVert_2 \qquad
        H = \frac{1}{n} \sum_i \lVert g(x_i) - g(x'_{\sigma(i)}) \rVert_2

    G is how far consecutive frames are apart, H how far random ones are. F is about 1 for features to which
    consecutive frames are no more alike than any two, and larger the more invariant they are. Neither the scale nor an
    offset of the features matters.

    Parameters
    ----------
    pairs : array of shape (n, 2, f)
        Features of n pairs of consecutive frames, of many scenes; further axes count as features. Of a fitted
        transformer, see `make_invariance_scorer`, or put what it gives for all frames back in pairs.
    per_feature : bool, default=False
        A score for each feature by itself.
    n_permutations : int, "all" or "auto", default="auto"
        Random permutations σ over which H is averaged; the paper takes 1. "all" is the mean over all that there are,
        which is the mean distance of every a to every b: exact, and free of chance. A feature by itself is sorted for
        that, in O(n log n), but features together take n² distances, as a mean of norms does not follow from moments.
        "auto" is "all" per feature and up to 1000 pairs, and 1 beyond.
    random_state : int, RandomState or None, default=None
        Of the permutations.

    Returns
    -------
    float, or ndarray of shape (f,) where ``per_feature``
        1 where no frame differs from any other: constant features tell nothing. Infinity where those of a pair never
        differ, but those of different pairs do.

    Raises
    ------
    ValueError
        For other shapes, fewer than 2 pairs, NaN or infinity (the pair is named).

    References
    ----------
    S. Sukhbaatar, T. Makino, K. Aihara: Auto-pooling: Learning to Improve Invariance of Image Features from Image
    Sequences, 2013; equation 1, section 2.1.

    Examples
    --------
    The first feature stays what it is within a pair, the second is noise:

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
    """A scorer of how invariant the features of a transformer are, for ``scoring=`` of cross-validation over clips.

    What the transformer gives for consecutive frames is scored by `invariance_score`. X is either

    - pairs (n, 2, ...): samples are pairs, and ``groups``, the clip of each, is for the splitter alone;
    - or frames (n, ...) in the order of time, with ``groups``, which tells where a clip ends: rows that follow each
      other in a clip are pairs. The scorer asks for ``groups`` as metadata, so that they come to it where
      scikit-learn's metadata routing is enabled.

    Parameters
    ----------
    n_permutations : int, "all" or "auto", default="auto"
        As in `invariance_score`.
    random_state : int, RandomState or None, default=0
        Of the permutations; an int compares all candidates on the same.

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


class _InvarianceScorer(BaseEstimator):  # for its parameters and its metadata request
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
    """Rows that are followed by one of their own clip."""
    if groups is None:
        raise ValueError(
            "a scorer of frames needs groups, the clip of each: pass groups to fit with metadata routing enabled, or "
            "give pairs (n, 2, ...) as X"
        )
    starts = np.flatnonzero(consecutive_mask(groups, n))
    if not len(starts):
        raise ValueError("no two frames of a clip follow each other; rows must be in the order of time, clip by clip")
    return starts


def _two_sides(pairs, per_feature):
    """(n, f) float64 of the first and of the second frames, each feature between -1 and 1 (or the widest is)."""
    pairs = np.asarray(to_numpy(pairs))
    if pairs.ndim < 3 or pairs.shape[1] != 2 or len(pairs) < 2 or 0 in pairs.shape:
        raise ValueError(f"expected at least 2 pairs as an array (n, 2, n_features), got shape {pairs.shape}")
    if pairs.dtype.kind not in "fiub":
        raise ValueError(f"features must be real numbers, got dtype {pairs.dtype}")
    rows = pairs.reshape(len(pairs), 2, -1).astype(np.float64)
    if not np.isfinite(rows).all():
        bad = np.flatnonzero(~np.isfinite(rows).all((1, 2)))[0]
        raise ValueError(f"pair {bad} contains NaN or infinity")
    rows *= 0.5  # or the range of the largest numbers would overflow
    rows -= rows[0, 0].copy()  # what is constant is 0 to the last bit, however large
    scale = np.abs(rows).max((0, 1))
    rows /= np.where(scale > 0, scale, 1) if per_feature else scale.max() or 1
    return rows[:, 0], rows[:, 1]


def _mean_distance(before, after, order=None):
    """Mean length of a - b, row by row, the rows of b in an order."""
    differences = (after[rows if order is None else order[rows]] - before[rows] for rows in _blocks(before))
    return sum(np.linalg.norm(block, axis=1).sum() for block in differences) / len(before)


def _mean_by_feature(before, after, order=None):
    """Mean |a - b| of each feature."""
    differences = (after[rows if order is None else order[rows]] - before[rows] for rows in _blocks(before))
    return sum(np.abs(block).sum(0) for block in differences) / len(before)


def _mean_over_all(before, after):
    """Mean distance of every a to every b."""
    blocks = gen_batches(len(before), max(1, _NUMBERS // len(after)))
    return sum(cdist(before[rows], after).sum() for rows in blocks) / len(before) ** 2


def _mean_over_all_by_feature(before, after):
    """Mean |a - b| of every a and every b, for each feature.

    Every gap between neighbours among the sorted values of both lies between all the a on its one side and all the b
    on its other, and the other way round: a sum of positive numbers, in which nothing cancels.
    """
    n, means = len(before), []
    for columns in gen_batches(before.shape[1], max(1, _NUMBERS // (2 * n))):
        values = np.concatenate([before[:, columns], after[:, columns]])
        order = np.argsort(values, axis=0)
        gaps = np.diff(np.take_along_axis(values, order, 0), axis=0)
        a = np.cumsum(order < n, axis=0)[:-1] / n  # the part of the a below a gap
        b = np.arange(1, 2 * n)[:, None] / n - a
        means.append((gaps * (a * (1 - b) + b * (1 - a))).sum(0))
    return np.concatenate(means)


def _blocks(rows):
    return gen_batches(len(rows), max(1, _NUMBERS // rows.shape[1]))
