"""Errors for optional packages that are missing."""

import json

import pytest

from sklinvariant.base import how_to_install, need_extra


def test_an_installed_package_is_imported():
    assert need_extra("json", "a test") is json


def test_the_error_names_the_command_for_installed_packages_and_for_checkouts():
    with pytest.raises(ImportError) as caught:
        need_extra("not_a_module", "a test", "faiss")
    assert str(caught.value) == f"a test needs not_a_module: {how_to_install('faiss')}"
    assert how_to_install("faiss") == 'pip install "sklinvariant[faiss]" (in a checkout: pip install ".[faiss]")'
