"""Entries of docstrings that are written once and substituted."""

import inspect
import re
from dataclasses import KW_ONLY
from typing import Self

import numpy as np
import pytest

from sklinvariant.base import Documented, Parameters, all_estimators, declared, documented_by
from sklinvariant.base._calls import COMPUTING


class Base(Documented):
    """Base.

    Attributes
    ----------
    coef_ : array
        Weights.
    """

    _shared_docs = """
        X : array of shape (n, d)
            Samples.
        """
    _errors_of_fit = """
        RuntimeError
            If it fails.
        """

    def predict(self, X, k=3):
        """Predict.

        Parameters
        ----------
        k : int, default=3
            Neighbours.
        """


class Child(Base):
    """Child.

    Attributes
    ----------
    n_iter_ : int
        Number of iterations.

    Notes
    -----
    None.
    """

    def fit(self, X, y=None, weight=None) -> Self:
        """Fit.

        Parameters
        ----------
        weight : array or None, default=None
            Weights.

        Raises
        ------
        ValueError
            If X is empty.
        """

    def predict(self, X, k=5, weight=None):
        """Predict quickly."""

    @classmethod
    def read(cls, path) -> Self:
        """Read."""

    def score(self, X, y):
        """Score."""


def test_a_method_gets_the_parameters_result_and_errors_that_it_leaves_out():
    assert Child.fit.__doc__ == (
        "Fit.\n\nParameters\n----------\nX : array of shape (n, d)\n    Samples.\ny : None\n    Ignored.\n"
        "weight : array or None, default=None\n    Weights.\n\nReturns\n-------\nself\n\nRaises\n------\n"
        "ValueError\n    If X is empty.\nRuntimeError\n    If it fails."
    )


def test_other_methods_are_documented_as_in_the_base_class_and_in_fit():
    assert Child.predict.__doc__ == (
        "Predict quickly.\n\nParameters\n----------\nX : array of shape (n, d)\n    Samples.\nk : int, default=5\n"
        "    Neighbours.\nweight : array or None, default=None\n    Weights."
    )
    assert Child.read.__doc__ == "Read.\n\nReturns\n-------\nChild"


def test_a_method_returns_what_that_of_the_base_class_returns():
    class First(Documented):
        """First."""

        def transform(self, X):
            """Transform.

            Returns
            -------
            array of shape (n, d)
            """

    class Second(First):
        """Second."""

        def transform(self, X):
            """Transform quickly."""

    class Third(First):
        """Third."""

        def transform(self, X):
            """Transform to a list.

            Returns
            -------
            list
            """

    assert Second.transform.__doc__ == "Transform quickly.\n\nReturns\n-------\narray of shape (n, d)"
    assert Third.transform.__doc__ == "Transform to a list.\n\nReturns\n-------\nlist"


def test_a_required_y_is_not_documented_as_ignored():
    assert "y : " not in Child.score.__doc__


def test_a_class_has_the_attributes_of_its_bases_after_its_own():
    assert Child.__doc__ == (
        "Child.\n\nAttributes\n----------\nn_iter_ : int\n    Number of iterations.\ncoef_ : array\n    Weights.\n\n"
        "Notes\n-----\nNone."
    )


def test_a_dataclass_documents_inherited_parameters_and_all_defaults():
    @declared
    class Settings(Parameters):
        """Settings.

        Parameters
        ----------
        device : str
            Where.
        limit : float
            How much.
        """

        _: KW_ONLY
        device: str = "auto"
        limit: float = np.inf

    @declared
    class Estimator(Settings):
        """Estimator.

        Parameters
        ----------
        n : int
            How many.

        Notes
        -----
        None.
        """

        n: int = 3

    assert Estimator.__doc__ == (
        'Estimator.\n\nParameters\n----------\nn : int, default=3\n    How many.\ndevice : str, default="auto"\n'
        "    Where.\nlimit : float, default=np.inf\n    How much.\n\nNotes\n-----\nNone."
    )


def test_a_function_is_documented_as_another_function_or_by_text():
    def first(a, b=1):
        """First.

        Parameters
        ----------
        a, b : int
            Numbers.
        """

    @documented_by(first, "\nc : str\n    Letter.")
    def second(b, *, c="x"):
        """Second."""

    assert second.__doc__ == (
        'Second.\n\nParameters\n----------\na, b : int\n    Numbers.\nc : str, default="x"\n    Letter.'
    )


def test_a_required_parameter_has_no_default():
    def first(a=1, b=2):
        """First.

        Parameters
        ----------
        a : int, default=1
            Number.
        b : int, default=2
            Number.
        """

    @documented_by(first)
    def second(a, b=3):
        """Second."""

    assert second.__doc__ == (
        "Second.\n\nParameters\n----------\na : int\n    Number.\nb : int, default=3\n    Number."
    )


def test_a_class_is_documented_as_its_base_with_the_name_of_a_default_function():
    class First:
        """First.

        Parameters
        ----------
        n : int
            Number.
        rule : callable
            Rule.
        """

        def __init__(self, n, rule):
            pass

    @documented_by(First)
    class Second(First):
        """Second."""

        def __init__(self, rule=len, other=inspect.cleandoc, n=2):
            pass

    assert Second.__doc__ == (
        "Second.\n\nParameters\n----------\nrule : callable, default=len\n    Rule.\nn : int, default=2\n    Number."
    )


@pytest.mark.parametrize(("name", "cls"), all_estimators())
def test_methods_of_estimators_document_all_parameters(name, cls):
    for method in sorted(COMPUTING):
        if not hasattr(cls, method) or not getattr(cls, method).__module__.startswith("sklinvariant."):
            continue
        documented = inspect.getdoc(getattr(cls, method))
        for parameter in list(inspect.signature(getattr(cls, method)).parameters)[1:]:
            assert re.search(rf"\b{parameter}\b", documented.partition("Parameters\n")[2]), f"{method}({parameter})"


@pytest.mark.parametrize(("name", "cls"), all_estimators())
def test_types_name_no_attributes(name, cls):
    """In reStructuredText, a word that ends with an underscore refers to a link, which does not exist."""
    types = re.findall(r"^\w+ : (.*)$", inspect.getdoc(cls), flags=re.MULTILINE)
    assert types
    assert not [text for text in types if re.search(r"(?<!`)\b\w+_\b(?!`)", text)]
