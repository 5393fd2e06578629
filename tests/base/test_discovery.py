"""The list of all estimators."""

import sklinvariant
from sklinvariant.base import Reader


def test_all_estimators():
    names = [name for name, _ in sklinvariant.all_estimators()]
    assert names == sorted(names)
    assert {"BagOfWords", "DensePatches", "LearnedVLAD"} <= set(names)
    assert all(cls.__module__.startswith("sklinvariant.") for _, cls in sklinvariant.all_estimators())


def test_no_estimator_is_a_reader():
    for name, cls in sklinvariant.all_estimators():
        assert not issubclass(cls, Reader), f"{name} should have a reader, not be one"
