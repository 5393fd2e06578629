"""All public estimators, so that no test and no page forgets one."""

import importlib
import inspect
import pkgutil

from sklearn.base import BaseEstimator, ClassifierMixin, ClusterMixin, RegressorMixin, TransformerMixin

import sklinvariant

_KINDS = {
    "classifier": ClassifierMixin,
    "regressor": RegressorMixin,
    "cluster": ClusterMixin,
    "transformer": TransformerMixin,
}


def all_estimators(type_filter=None):
    """Every public estimator of the package.

    Parameters
    ----------
    type_filter : {"classifier", "regressor", "cluster", "transformer"} or None, default=None
        Keep those of one kind, told by their scikit-learn mixin.

    Returns
    -------
    list of (name, class)
        Sorted by name.

    Examples
    --------
    >>> from sklinvariant import all_estimators
    >>> dict(all_estimators())["LearnedBoW"]
    <class 'sklinvariant.aggregation._learned_bag_of_words.LearnedBoW'>
    """
    if type_filter is not None and type_filter not in _KINDS:
        raise ValueError(f"type_filter is {type_filter!r}; it can be None or one of {', '.join(_KINDS)}")
    kind = _KINDS.get(type_filter, BaseEstimator)
    found = {}
    for info in pkgutil.iter_modules(sklinvariant.__path__):
        if info.name.startswith("_") or not info.ispkg:
            continue
        module = importlib.import_module(f"sklinvariant.{info.name}")
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            if inspect.isclass(thing) and issubclass(thing, BaseEstimator) and issubclass(thing, kind):
                found[name] = thing
    return sorted(found.items())
