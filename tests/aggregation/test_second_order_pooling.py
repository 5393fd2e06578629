"""Covariances of bags and their matrix square roots, compared with numpy and scipy bag by bag."""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from tolerance import assert_close

from sklinvariant import DescriptorSets, SecondOrderPooling


@pytest.fixture
def bags(global_random_seed):
    rng = np.random.RandomState(global_random_seed)
    return [rng.normal(size=(m, 3)) @ rng.normal(size=(3, 3)) + 1 for m in (5, 30, 40, 7, 7)]


def as_matrices(vectors, d):
    """The symmetric matrices whose upper triangles the vectors hold."""
    i, j = np.triu_indices(d)
    matrices = np.zeros((len(vectors), d, d))
    matrices[:, i, j] = matrices[:, j, i] = vectors / np.where(i == j, 1, 2**0.5)
    return matrices


@pytest.mark.parametrize("chunk_size", [None, 1, 50])
def test_the_square_root_of_the_covariance(bags, chunk_size):
    roots = as_matrices(SecondOrderPooling(normalize=False, chunk_size=chunk_size).fit_transform(bags), 3)
    for bag, root in zip(bags, roots, strict=True):
        assert_close(root, sqrtm(np.cov(bag.T, bias=True)).real, rtol=1e-6)


def test_powers_and_centring(bags):
    one = SecondOrderPooling(power=1, normalize=False).fit_transform(bags)
    assert_close(as_matrices(one, 3), np.stack([np.cov(bag.T, bias=True) for bag in bags]))
    raw = SecondOrderPooling(power=1, center=False, normalize=False).fit_transform(bags)
    assert_close(as_matrices(raw, 3), np.stack([bag.T @ bag / len(bag) for bag in bags]))
    quarter = as_matrices(SecondOrderPooling(power=0.25, normalize=False).fit_transform(bags), 3)
    assert_close(np.linalg.matrix_power(quarter, 4), as_matrices(one, 3), rtol=1e-6)


def test_scalar_products_are_those_of_the_matrices(bags):
    vectors = SecondOrderPooling().fit_transform(bags)
    assert_close(np.linalg.norm(vectors, axis=1), np.ones(5))
    matrices = as_matrices(vectors, 3)
    assert_close(vectors @ vectors.T, np.einsum("nij,mij->nm", matrices, matrices))


def test_bags_with_fewer_descriptors_than_features():
    rng = np.random.RandomState(0)
    few = [rng.normal(size=(m, 6)) for m in (1, 2, 3)]
    vectors = SecondOrderPooling().fit_transform(DescriptorSets.from_bags([*few, np.zeros((0, 6))]))
    assert_close(vectors[[0, 3]], np.zeros((2, 21)))  # one descriptor has no covariance
    for bag, root in zip(few[1:], as_matrices(vectors[1:3], 6), strict=True):
        covariance = np.cov(bag.T, bias=True)
        assert_close(root @ root, covariance / np.trace(covariance), atol=1e-7)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
@pytest.mark.parametrize("normalize", [True, False])
def test_units_of_the_descriptors(bags, scale, normalize):
    model = SecondOrderPooling(normalize=normalize)
    expected = model.fit_transform(bags) * (1 if normalize else scale)
    assert_close(model.fit_transform([(bag * scale).astype(np.float32) for bag in bags]), expected, rtol=1e-4)
