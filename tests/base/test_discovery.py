"""The list of all estimators."""

import sklinvariant


def test_all_estimators():
    names = [name for name, _ in sklinvariant.all_estimators()]
    assert names == sorted(names)
    assert {"BagOfWords", "DensePatches", "LearnedVLAD"} <= set(names)
    assert all(cls.__module__.startswith("sklinvariant.") for _, cls in sklinvariant.all_estimators())
