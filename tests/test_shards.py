"""Fits of several processes, each with its own part of the data, are those to all parts in one process."""

import numpy as np
import pandas
import pytest
import torch
from examples import moment_hashers
from sklearn.base import clone
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler
from tolerance import assert_close
from two_processes import fit_shards_in_two_threads

from sklinvariant import AutoPooling, DescriptorSets, SlowFeatures, distributed, load, save
from sklinvariant.aggregation import VLAD, BagOfWords, FisherVector
from sklinvariant.cluster import OverclusteringClassifier
from sklinvariant.feature_extraction import ConvolutionalFeatures, OnDescriptors
from sklinvariant.hashing import (
    ITQHasher,
    PCAHasher,
    SignHasher,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:AutoPooling. consecutive rows"),
    pytest.mark.filterwarnings("ignore:SlowFeatures. consecutive rows"),
]
RNG = np.random.RandomState(0)
ROWS = RNG.rand(230, 6) @ RNG.rand(6, 6)
BAGS = [RNG.rand(2 + i % 5, 3) for i in range(60)]
CLIPS = np.arange(230) // 23  # process 0 has the first four
NO_LAST_CLIP = {"last_frame": None, "last_clip": None}
HASHERS = moment_hashers(4, SpectralHasher=8)
VOCABULARIES = [
    BagOfWords(5, random_state=0),
    VLAD(5, random_state=0, subsample=100),
    VLAD(5, assignment="soft", random_state=0),
    VLAD(5, codebook=MiniBatchKMeans(5, n_init=1, random_state=0), random_state=0),
    FisherVector(3, random_state=0),
]
POOLING = [
    AutoPooling(3, random_state=0),
    AutoPooling(3, standardize=False, cross_reconstruction=True, random_state=0),
    SlowFeatures(3),
    SlowFeatures(3, degree=2),
]


def named(model):
    return type(model).__name__


def part_of(X, rank, cut=92):
    """The samples of a process."""
    return X[:cut] if rank == 0 else X[cut:]


def numbers(state):
    """The numbers of a fitted state by name."""
    if isinstance(state, dict):
        return {f"{name}.{key}": x for name, value in state.items() for key, x in numbers(value).items()}
    return {"": state} if isinstance(state, (np.ndarray, int, float)) else {}


def fit_state(model, *given, method="fit", **named):
    return getattr(clone(model), method)(*given, **named)._state


def assert_same_state(states, expected):
    """Both processes have the same numbers, which are those of a fit to all parts up to rounding."""
    for state in states:
        if isinstance(state, Exception):
            raise state
    first, second, expected = map(numbers, (*states, expected))
    np.testing.assert_equal(first, second)
    assert first.keys() == expected.keys()
    for name, value in expected.items():
        assert_close(first[name], value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("model", HASHERS, ids=named)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_hashers(model, dtype):
    X = ROWS.astype(dtype)
    states = fit_shards_in_two_threads(lambda rank: fit_state(model, part_of(X, rank)))
    assert_same_state(states, fit_state(model, X))


@pytest.mark.parametrize("model", VOCABULARIES, ids=named)
def test_vocabularies(model):
    states = fit_shards_in_two_threads(lambda rank: fit_state(model, part_of(BAGS, rank, 21)))
    assert_same_state(states, fit_state(model, BAGS))


@pytest.mark.parametrize("model", POOLING, ids=named)
def test_frames(model):
    """Clips end with the part of a process, and may have the same numbers in other processes."""

    def fit(rank):
        return fit_state(model, part_of(ROWS, rank), groups=part_of(CLIPS, rank) - 4 * rank)

    assert_same_state(fit_shards_in_two_threads(fit), fit_state(model, ROWS, groups=CLIPS) | NO_LAST_CLIP)


def test_frames_of_one_clip_in_each_process_and_pairs():
    def fit(rank):
        X = part_of(ROWS, rank)
        return fit_state(SlowFeatures(3), X), fit_state(SlowFeatures(3), np.stack([X[:-1], X[1:]], axis=1))

    clips, pairs = zip(*fit_shards_in_two_threads(fit), strict=True)
    expected = fit_state(SlowFeatures(3), ROWS, groups=np.arange(230) >= 92) | NO_LAST_CLIP
    assert_same_state(clips, expected)
    assert_close(pairs[0]["slowness"], expected["slowness"], rtol=1e-5)


@pytest.mark.parametrize("model", [PCAHasher(4), ITQHasher(4, random_state=0), SlowFeatures(3)], ids=named)
def test_parts_of_shards(model):
    def fit(rank):
        fitted = clone(model)
        for X in (ROWS[:90], ROWS[90:]):
            fitted.partial_fit(part_of(X, rank, 50))
        return fitted._state

    expected = clone(model)
    for i, X in enumerate((ROWS[:90], ROWS[90:])):
        clips = 2 * i + (np.arange(len(X)) >= 50)
        expected.partial_fit(X, **({"groups": clips} if isinstance(model, SlowFeatures) else {}))
    no_clip = NO_LAST_CLIP if isinstance(model, SlowFeatures) else {}
    assert_same_state(fit_shards_in_two_threads(fit), expected._state | no_clip)


def test_parts_of_a_vocabulary():
    def fit(rank):
        first = clone(VOCABULARIES[0]).partial_fit(part_of(BAGS[:40], rank, 11))
        return first.partial_fit(part_of(BAGS[40:], rank, 11))._state

    expected = clone(VOCABULARIES[0]).partial_fit(BAGS[:40]).partial_fit(BAGS[40:])
    assert_same_state(fit_shards_in_two_threads(fit), expected._state)


@pytest.mark.parametrize("subsample", [None, 60])
@pytest.mark.parametrize("inner", [PCA(2), PCAHasher(2)], ids=named)
def test_transformers_of_descriptors(inner, subsample):
    model, bags = OnDescriptors(inner, subsample=subsample, random_state=0), DescriptorSets.from_bags(BAGS)
    fits = fit_shards_in_two_threads(lambda rank: clone(model).fit(part_of(BAGS, rank, 21)).transform(bags).values)
    np.testing.assert_array_equal(*fits)
    assert_close(fits[0], clone(model).fit(bags).transform(bags).values, rtol=1e-5)


def test_a_transformer_of_descriptors_in_parts():
    def fit(rank):
        model = OnDescriptors(StandardScaler())
        for bags in (BAGS[:40], BAGS[40:]):
            model.partial_fit(part_of(bags, rank, 11))
        return clone(model).fit(part_of(BAGS, rank, 21)).estimator_.var_, model.estimator_.var_

    (first, parts), (second, other) = fit_shards_in_two_threads(fit)
    np.testing.assert_array_equal([first, parts], [second, other])
    assert_close(parts, np.concatenate(BAGS).var(0))
    assert_close(first, parts)


def test_a_model_of_shards_is_like_any_other(tmp_path):
    def fit(rank):
        return ITQHasher(4).fit(part_of(ROWS, rank))

    for rank, model in enumerate(fit_shards_in_two_threads(fit)):
        save(model, tmp_path / f"{rank}.sklinvariant")
    models = [load(tmp_path / f"{rank}.sklinvariant") for rank in range(2)]
    np.testing.assert_array_equal(*(model.transform(ROWS) for model in models))
    more = [model.partial_fit(ROWS[:50]).decision_function(ROWS) for model in models]  # alone
    np.testing.assert_array_equal(*more)


def test_a_new_fit_does_not_depend_on_earlier_ones():
    """Only `partial_fit` and ``warm_start`` continue an earlier fit, which must be the same in all processes."""
    earlier = PCAHasher(4).fit(ROWS[:50])

    def fit(rank):
        return [earlier, PCAHasher(4)][rank].fit(part_of(ROWS, rank))._state

    assert_same_state(fit_shards_in_two_threads(fit), fit_state(PCAHasher(4), ROWS))


def test_seeds_and_dtypes_of_process_0():
    """Without a seed, all processes use that of process 0. Parts of float32 and float64 are computed in float64."""

    def fit(rank):
        X = part_of(ROWS, rank).astype([np.float32, np.float64][rank])
        return ITQHasher(4).fit(X).decision_function(ROWS), VLAD(4).fit(part_of(BAGS, rank, 21)).codebook_

    (first, codebook), (second, other) = fit_shards_in_two_threads(fit)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(codebook, other)
    assert first.dtype == np.float64


def test_answers_and_other_fits_are_those_of_a_process():
    def fit(rank):
        model = PCAHasher(3).fit(part_of(ROWS, rank))
        return model.transform(part_of(ROWS, rank)), model.fit_transform(part_of(ROWS, rank))

    codes, again = zip(*fit_shards_in_two_threads(fit), strict=True)
    np.testing.assert_array_equal(np.concatenate(codes), PCAHasher(3).fit_transform(ROWS))
    np.testing.assert_array_equal(np.concatenate(again), np.concatenate(codes))


def test_frames_of_float64_after_those_of_float32():
    """The row at the border is not converted to float32, which does not hold its numbers."""

    def fit(rank):
        X = part_of(ROWS, rank)
        return SlowFeatures(3).fit(X * 1e60 if rank else X.astype(np.float32)).slowness_

    expected = np.concatenate([part_of(ROWS, 0).astype(np.float32), part_of(ROWS, 1) * 1e60])
    expected = SlowFeatures(3).fit(expected, groups=np.arange(230) >= 92).slowness_
    for found in fit_shards_in_two_threads(fit):
        assert_close(found, expected, rtol=1e-5)


def frames_or_pairs(rank):
    SlowFeatures(2).fit(np.stack([ROWS, ROWS], axis=1) if rank else ROWS)


def with_and_without_names(rank):
    PCAHasher(3).fit(pandas.DataFrame(ROWS, columns=[*"abcdef"]) if rank else ROWS)


def column_of_different_lengths(rank):
    PCAHasher(3).fit(pandas.Series([[1.0, 2.0], [1.0]]) if rank else ROWS)


def missing(rank):
    PCAHasher(3).fit(np.where(rank, np.nan, part_of(ROWS, rank)[:50]))


@pytest.mark.parametrize(
    ("fit", "messages"),
    [
        (column_of_different_lengths, ["process 1 of 2 failed", "X is a column of vectors, but row 1"]),
        (missing, ["process 1 of 2 failed, so the fit ends here as well. ValueError", "X contains NaN"]),
        (frames_or_pairs, ["process 1 does not continue that of process 0: only one of them contains pairs"] * 2),
        (with_and_without_names, ["process 1 does not continue that of process 0: it has other feature names"] * 2),
        (lambda rank: PCAHasher(3).fit(ROWS[:, rank:]), ["process 1 does not continue .* 5 features instead of 6"] * 2),
        (lambda rank: PCAHasher(3 + rank).fit(ROWS), ["processes 0 and 1 have different n_bits"] * 2),
        (lambda rank: [PCAHasher(3), SignHasher()][rank].fit(ROWS), ["have different estimator"] * 2),
        (lambda rank: PCAHasher(3).fit(ROWS[: 10 * rank]), ["0 sample", "process 0 of 2 failed"]),
        (lambda rank: PCAHasher(3).fit(iter([ROWS])), ["list_iterator, but PCAHasher needs the part"] * 2),
        (lambda rank: SlowFeatures(3).fit(ROWS[: 9 + rank], groups=np.arange(9)), ["process 1", "9 clip ids for 10"]),
        (lambda rank: ITQHasher(9).fit(ROWS), ["n_bits=9 is more than the 6 features"] * 2),
        (
            lambda rank: AutoPooling(3, solver="sgd").fit(ROWS),
            ["does not support distributed.shards=True.*moment"] * 2,
        ),
        (
            lambda rank: AutoPooling(3).fit(np.where(rank * (CLIPS == 2)[:, None], -1, ROWS), groups=CLIPS),
            ["process 1 of 2 failed.* row 46 has -1", "Negative values .* row 46 has -1"],
        ),
        (
            lambda rank: ConvolutionalFeatures(KMeans(2)).fit(ROWS),
            ["ConvolutionalFeatures cannot be fitted inside of dist"] * 2,
        ),
        (lambda rank: OverclusteringClassifier(KMeans(2)).fit(ROWS), ["OverclusteringClassifier cannot be fitted"] * 2),
    ],
)
def test_errors_reach_all_processes(fit, messages):
    for error, message in zip(fit_shards_in_two_threads(fit), messages, strict=True):
        with pytest.raises((ValueError, RuntimeError), match=message):
            raise error


def test_fits_that_continue_different_models_are_refused():
    def fit(rank):
        model = PCAHasher(3)
        with distributed():  # alone, because there is no process group
            model.fit(ROWS[rank:])
        return model.partial_fit(ROWS)

    for error in fit_shards_in_two_threads(fit):
        with pytest.raises(ValueError, match="processes 0 and 1 have different earlier fit"):
            raise error


def test_a_search_has_the_scores_of_a_process():
    """Each combination is fitted to the parts of all processes, and scored on the part of the process."""

    def search(rank, scoring, refit):
        own = GridSearchCV(PCAHasher(), {"n_bits": [2, 3]}, scoring=scoring, refit=refit, cv=2)
        return own.fit(part_of(ROWS, rank)).cv_results_["mean_test_score"]

    def rows(model, X, y=None):
        return len(X) * model.n_bits

    scores = fit_shards_in_two_threads(lambda rank: search(rank, rows, refit=False))
    assert_close(scores, [[92.0, 138.0], [138.0, 207.0]])

    def different(rank):
        return search(rank, lambda model, X, y=None: model.n_bits * (-1) ** rank, refit=True)

    for error in fit_shards_in_two_threads(different):
        with pytest.raises(ValueError, match="processes 0 and 1 have different n_bits"):
            raise error


def test_a_tensor_in_each_process():
    models = fit_shards_in_two_threads(lambda rank: PCAHasher(3).fit(torch.as_tensor(part_of(ROWS, rank))))
    assert_close(models[0].decision_function(ROWS), PCAHasher(3).fit(ROWS).decision_function(ROWS))
