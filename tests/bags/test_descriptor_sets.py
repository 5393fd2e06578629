"""DescriptorSets: an array of bags, also for scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.model_selection import KFold, cross_val_predict, train_test_split
from tolerance import assert_close, assert_same_labels

from sklinvariant import BagOfWords, DescriptorSets, LearnedBoW


def test_indexing_keeps_the_type(ragged):
    bags = DescriptorSets.from_bags(ragged)
    for key in (slice(2, 5), slice(None, None, 2), [0, 3, 3], np.array([-1, 0]), np.arange(9) % 2 == 0, []):
        picked = bags[key]
        assert isinstance(picked, DescriptorSets)
        expected = [ragged[i] for i in np.arange(9)[key if len(np.shape(key)) == 0 or len(key) else slice(0)]]
        assert len(picked) == len(expected)
        for bag, other in zip(picked, expected, strict=True):
            np.testing.assert_array_equal(bag, other)
    np.testing.assert_array_equal(bags[-1], ragged[-1])
    with pytest.raises(IndexError):
        bags[9]
    with pytest.raises(IndexError):
        bags[0, 1]


def test_a_slice_is_a_view(ragged):
    bags = DescriptorSets.from_bags(ragged)
    assert np.shares_memory(bags[1:4].values, bags.values)


@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor])
def test_uniform_bags(make):
    array = make(np.arange(24.0).reshape(4, 3, 2))
    bags = DescriptorSets.from_bags(array)
    assert bags.shape == (4, 3, 2)
    np.testing.assert_array_equal(np.asarray(bags), np.asarray(array))
    assert bags == DescriptorSets.from_bags(list(array))
    assert bags != bags[:3]


def test_object_array_and_concatenate(ragged):
    array = np.empty(len(ragged), dtype=object)
    array[:] = ragged
    bags = DescriptorSets.from_bags(array)
    assert bags == DescriptorSets.concatenate([bags[:4], bags[4:]])
    assert np.asarray(bags).dtype == object


def test_tensors_and_arrays_together(ragged):
    mixed = [torch.tensor(bag, requires_grad=True) if i % 2 else bag for i, bag in enumerate(ragged)]
    bags = DescriptorSets.from_bags(mixed)
    assert isinstance(bags.values, np.ndarray)
    assert bags == DescriptorSets.from_bags(ragged)
    for parts in ([bags[:4], bags[4:].to("cpu")], [bags[:4].to("cpu"), bags[4:]], [ragged[:4], bags[4:]]):
        joined = DescriptorSets.concatenate(parts)
        assert isinstance(joined.values, np.ndarray)
        assert joined == bags
    halves = [torch.ones(2, 3, dtype=torch.bfloat16), np.zeros((1, 3), dtype=np.float32)]
    assert DescriptorSets.from_bags(halves).dtype == np.float32


def test_nothing_to_concatenate(ragged):
    with pytest.raises(ValueError, match="parts is empty"):
        DescriptorSets.concatenate([])
    with pytest.raises(ValueError, match=r"same number of features, got \[3, 4\]"):
        DescriptorSets.concatenate([ragged, np.zeros((2, 2, 3))])


def test_save_and_load_memory_mapped(ragged, tmp_path):
    bags = DescriptorSets.from_bags(ragged)
    bags.save(tmp_path / "bags")
    again = DescriptorSets.load(tmp_path / "bags")
    assert again == bags
    assert isinstance(again.values, np.memmap)


def test_only_a_set_is_replaced(ragged, tmp_path):
    bags = DescriptorSets.from_bags(ragged)
    for names in (["values.npy"], ["offsets.npy"], ["offsets.npy", "values.npy"]):
        folder = tmp_path / "-".join(names)
        folder.mkdir()
        (folder / "notes.txt").write_text("not replaced")
        for name in names:
            np.save(folder / name, np.arange(12.0).reshape(4, 3))
        with pytest.raises(FileExistsError, match=r"no complete set of bags.*Pass another folder, or remove these"):
            bags.save(folder)
        assert all(np.load(folder / name).shape == (4, 3) for name in names)
        for name in names:
            (folder / name).unlink()
        bags.save(folder)
        bags[:3].save(folder)
        assert DescriptorSets.load(folder) == bags[:3]
        assert len(list(folder.iterdir())) == 3


def test_a_set_of_the_first_release_is_replaced(ragged, tmp_path):
    bags = DescriptorSets.from_bags(ragged)
    np.save(tmp_path / "values.npy", bags.values)  # without the offsets at the end
    np.save(tmp_path / "offsets.npy", bags.offsets)
    bags[:2].save(tmp_path)
    assert DescriptorSets.load(tmp_path) == bags[:2]


def test_to_device(ragged, device):
    bags = DescriptorSets.from_bags(ragged).to(device)
    assert bags.values.device.type == device
    assert bags[1:3].values.device.type == device


def test_splitting(two_classes):
    X, y = two_classes
    bags = DescriptorSets.from_bags(X)
    train, test, _, _ = train_test_split(bags, y, random_state=0)
    assert len(train) == 30
    assert isinstance(test, DescriptorSets)
    model = LearnedBoW(4, max_epochs=2, random_state=0)
    as_bags = cross_val_predict(model, bags, y, cv=KFold(2))
    proba = cross_val_predict(model, X, y, cv=KFold(2), method="predict_proba")
    assert_same_labels(as_bags, cross_val_predict(model, X, y, cv=KFold(2)), proba)


@pytest.mark.parametrize(
    ("bags", "message"),
    [
        ([], "bags is empty"),
        (None, "bags is None"),
        ([np.zeros((2, 3)), np.zeros((2, 4))], "bag 1 has 4 features, but bag 0 has 3"),
        ([np.zeros((2, 3)), np.zeros(3)], "bag 1 must be of shape"),
        ([np.zeros((2, 3)), np.array([["a", "b", "c"]])], "bag 1 must hold real numbers"),
        (np.zeros((2, 3)), r"shape \(n, m, d\)"),
    ],
)
def test_bad_bags(bags, message):
    with pytest.raises(ValueError, match=message):
        DescriptorSets.from_bags(bags)


@pytest.mark.parametrize("offsets", [[0, 2], [1, 4], [0, 3, 2, 4], [0.0, 4.0], [[0, 4]], []])
def test_bad_offsets(offsets):
    with pytest.raises(ValueError, match="offsets"):
        DescriptorSets(np.zeros((4, 2)), offsets)


def test_not_finite_names_the_bag(ragged):
    ragged[3][2, 1] = np.nan
    with pytest.raises(ValueError, match="bag 3 contains NaN"):
        DescriptorSets.from_bags(ragged).check_finite()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e5m2, torch.float32, torch.float64])
@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_no_kind_of_float_escapes_the_check(dtype, bad):
    values = torch.full((6, 2), 60000.0).to(dtype)  # the sum of which overflows in half precision
    bags = DescriptorSets(values, [0, 2, 6])
    assert bags.check_finite() is bags
    values[3, 1] = bad
    with pytest.raises(ValueError, match="bag 1 contains NaN"):
        bags.check_finite()


def test_long_doubles_are_computed_in_double(ragged):
    long = [bag.astype(np.longdouble) for bag in ragged]
    got = BagOfWords(3, random_state=0).fit_transform(long)
    assert_close(got, BagOfWords(3, random_state=0).fit_transform(ragged))
