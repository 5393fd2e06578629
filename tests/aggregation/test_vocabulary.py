"""Vocabularies learned from a stream of bags, and in parts."""

import numpy as np
import pytest
import torch
from examples import saved_copies, with_state
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from tolerance import assert_close

from sklinvariant import DescriptorSets
from sklinvariant.aggregation import VLAD, BagOfWords, FisherVector

MODELS = [BagOfWords(4, random_state=0), VLAD(4, assignment="soft", random_state=0), FisherVector(4, random_state=0)]
models = pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)


@pytest.fixture
def bags(global_random_seed):
    """400 bags of 0-9 descriptors around 4 centres that are far apart."""
    rng = np.random.RandomState(global_random_seed)
    return [20 * np.eye(5)[rng.randint(4, size=n)] + rng.normal(size=(n, 5)) for n in rng.randint(10, size=400)]


def _in_parts(model, bags, n_parts=8):
    model = clone(model)
    for i in np.array_split(np.arange(len(bags)), n_parts):
        model.partial_fit([bags[j] for j in i])
    return model


def _words(model):
    words = model.means_ if isinstance(model, FisherVector) else model.codebook_
    return words[words.argmax(1).argsort()]  # in the order of the centres


@models
def test_the_first_part_is_a_fit(model, bags):
    assert_close(clone(model).partial_fit(bags).transform(bags), clone(model).fit(bags).transform(bags))


@models
def test_parts_find_the_vocabulary_of_all_bags(model, bags):
    """Where the centres are far apart, codewords are means of their descriptors, up to the weights of the parts."""
    full, parts = clone(model).fit(bags), _in_parts(model, bags)
    assert_close(_words(parts), _words(full), rtol=0.02)
    assert parts._state["n_seen"] == sum(map(len, bags))
    assert parts.transform(bags).shape == full.transform(bags).shape
    if hasattr(full, "gamma_"):
        assert parts.gamma_ == pytest.approx(full.gamma_, rel=0.1)


@models
def test_later_parts_move_the_vocabulary(model, bags):
    """Parts of another distribution take over, although the units are those of the first call."""
    model = clone(model).partial_fit(bags)
    moved = [bag + 3 for bag in bags]
    distances = []
    for _ in range(12):
        model.partial_fit(moved)
        distances.append(np.abs(_words(model) - 3 - _words(clone(model).fit(bags))).max())
    assert distances[0] > distances[3] > distances[-1]
    assert distances[-1] < 0.7


@models
def test_a_model_goes_on_after_it_was_saved(model, bags, tmp_path):
    first = clone(model).partial_fit(bags[:200])
    copies = saved_copies(first, tmp_path / "model")
    expected = first.partial_fit(bags[200:]).transform(bags)
    for again in copies:
        assert_close(again.partial_fit(bags[200:]).transform(bags), expected)
    assert_close(clone(model).fit(bags[:200]).partial_fit(bags[200:]).transform(bags), expected)


@models
def test_a_stream_equals_the_bags(model, bags):
    parts = [bags[:3], [], [np.empty((0, 5))], bags[3:4], bags[4:]]
    expected = clone(model).fit(bags)
    assert_close(clone(model).fit(iter(parts)).transform(bags), expected.transform(bags))
    sets = (DescriptorSets.from_bags(part) for part in parts if part)
    assert_close(clone(model).fit(sets).transform(bags), expected.transform(bags))


@models
def test_a_stream_is_sampled(model, bags):
    sampled = clone(model).set_params(subsample=300).fit(iter([bags[:200], bags[200:]]))
    assert_close(_words(sampled), _words(clone(model).fit(bags)), rtol=0.05)
    with pytest.raises(ValueError, match="Set subsample"):
        clone(model).set_params(subsample=None).fit(iter([bags]))


@models
def test_parts_without_descriptors_change_nothing(model, bags):
    model = clone(model).fit(bags)
    state = model._state
    assert model.partial_fit([np.empty((0, 5))])._state is state


@models
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtypes_and_tensors(model, bags, dtype):
    arrays = [bag.astype(dtype) for bag in bags]
    expected = _in_parts(model, arrays)
    assert expected.transform(arrays).dtype == dtype
    tensors = _in_parts(model, [torch.from_numpy(array) for array in arrays])
    assert_close(tensors.transform(arrays), expected.transform(arrays))


@models
def test_errors_leave_the_model_as_it_was(model, bags):
    size = "n_components" if isinstance(model, FisherVector) else "n_codewords"
    with pytest.raises(ValueError, match="at least 4 are required"):
        clone(model).partial_fit(np.zeros((1, 3, 5)))
    model = clone(model).partial_fit(bags)
    state, bad = model._state, [bags[1], np.full((2, 5), np.nan)]
    with pytest.raises(ValueError, match="bag 1 contains NaN"):
        model.partial_fit(bad)
    with pytest.raises(ValueError, match=r"block 1 of X: bag 1 contains NaN"):
        model.fit(iter([bags, bad]))
    with pytest.raises(ValueError, match="descriptors of 3 features"):
        model.partial_fit(np.zeros((2, 2, 3)))
    with pytest.raises(ValueError, match="block 1 of X has 3 features"):
        model.fit(iter([bags, np.ones((2, 2, 3))]))
    with pytest.raises(ValueError, match=f"{size}=5 differs from 4"):
        model.set_params(**{size: 5}).partial_fit(bags)
    with pytest.raises(ValueError, match="saved by an earlier version"):
        with_state(model.set_params(**{size: 4}), n_seen=None).partial_fit(bags)
    assert model._state is state


def test_a_vocabulary_that_was_passed_is_kept(bags):
    words = 20 * np.eye(5)[:4] + 1
    model = _in_parts(BagOfWords(codebook=words), bags)
    assert_close(model.codebook_, words)
    model = VLAD(codebook=KMeans(4, random_state=0)).partial_fit(bags[:200])
    before = model.codebook_
    assert_close(model.partial_fit(bags[200:]).codebook_, before)
    mixture = GaussianMixture(4, covariance_type="diag", random_state=0)
    model = FisherVector(mixture=mixture).partial_fit(bags[:200])
    before = model.means_
    assert_close(model.partial_fit(bags[200:]).means_, before)


@models
@pytest.mark.parametrize("scale", [2.0**-400, 2.0**400])
def test_parts_at_extreme_scales(model, bags, scale):
    expected = _words(_in_parts(model, bags))
    assert_close(_words(_in_parts(model, [bag * scale for bag in bags])) / scale, expected, rtol=1e-5)
