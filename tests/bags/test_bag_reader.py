"""What the reader of bags accepts as bags."""

import numpy as np
import pandas as pd
import pytest
import torch
from tolerance import assert_close

from sklinvariant.aggregation import BagOfWords


def test_flat_rows(ragged):
    X = np.random.RandomState(0).normal(size=(6, 12))
    flat = BagOfWords(3, descriptor_dim=4, random_state=0).fit_transform(X)
    assert_close(flat, BagOfWords(3, random_state=0).fit_transform(X.reshape(6, 3, 4)))
    with pytest.raises(ValueError, match="descriptor_dim=5"):
        BagOfWords(3, descriptor_dim=5).fit(X)


def _objects(bags):
    array = np.empty(len(bags), dtype=object)
    array[:] = bags
    return array


@pytest.mark.parametrize(
    "hold",
    [
        tuple,
        _objects,
        lambda bags: _objects([bags[0].tolist(), *bags[1:]]),
        lambda bags: [pd.DataFrame(bag) for bag in bags],
        lambda bags: pd.Series(bags),
        lambda bags: [bag.tolist() for bag in bags],
        lambda bags: [bag.astype(object) for bag in bags],
    ],
)
def test_whatever_holds_the_bags(ragged, hold):
    bags = [bag for bag in ragged if len(bag)]
    model = BagOfWords(3, random_state=0)
    assert_close(model.fit_transform(hold(bags)), model.fit_transform(bags))


def test_an_object_array_of_equal_bags():
    """numpy converts such a list to a three-dimensional array."""
    bags = np.array([np.eye(3), np.eye(3)], dtype=object)
    np.testing.assert_allclose(BagOfWords(3).fit_transform(bags), np.full((2, 3), 1 / 3))


@pytest.mark.parametrize("shape", [(5, 3), (5, 2, 3)])
def test_sparse_tensors_are_refused(shape):
    with pytest.raises(TypeError, match="dense"):
        BagOfWords(3).fit(torch.ones(shape).to_sparse())


@pytest.mark.parametrize("as_list", [False, True])
def test_tensors_that_require_grad(as_list):
    X = torch.rand(4, 5, 3, requires_grad=True)
    got = BagOfWords(3, random_state=0).fit_transform(list(X) if as_list else X)
    assert_close(got, BagOfWords(3, random_state=0).fit_transform(X.detach()))


def test_precision_of_lists_of_rows():
    X = np.random.RandomState(0).randint(0, 20, (30, 3))
    assert BagOfWords(3).fit_transform(X.tolist()).dtype == np.float32
    assert BagOfWords(3).fit_transform((X / 3).tolist()).dtype == np.float64
    assert BagOfWords(3).fit_transform(X > 9).dtype == np.float32
