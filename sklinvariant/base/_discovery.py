"""Discovery of all public estimators, for tests and documentation."""

import importlib
import inspect

from sklearn.base import BaseEstimator

import sklinvariant


def all_estimators() -> list[tuple[str, type]]:
    """Every public estimator of the package.

    Returns
    -------
    list of (name, class)
        Sorted by name.

    Examples
    --------
    >>> from sklinvariant import all_estimators
    >>> dict(all_estimators())["LearnedBoW"]
    <class 'sklinvariant.aggregation._learned._learned_bag_of_words.LearnedBoW'>
    """
    return [(name, thing) for name, thing in public_classes() if hasattr(thing, "fit")]


def public_classes() -> list[tuple[str, type]]:
    """Estimators and other public classes with scikit-learn's parameters, such as transforms: sorted (name, class)."""
    found = {}
    for room in sklinvariant.PUBLIC_ROOMS:
        module = importlib.import_module(f"sklinvariant.{room}")
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            if inspect.isclass(thing) and issubclass(thing, BaseEstimator):
                found[name] = thing
    return sorted(found.items())
