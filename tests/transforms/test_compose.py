"""Compositions: one transformation after the other, with one interpolation."""

import numpy as np
import pytest
from tolerance import assert_close

from sklinvariant.transforms import ColorJitter, Compose, Crop, Flip, Rotation, Scale, Shear


def test_composition_is_one_after_the_other(images):
    """The matrices are multiplied exactly. The images agree except for interpolating once instead of three times."""
    parts = [Rotation(20, fill="edge"), Scale(0.7, 0.9, fill="edge"), Shear(10, fill="edge")]
    chain = Compose(parts)
    params = chain.sample(5, 0)
    one, two, three = params[:, :1], params[:, 1:2], params[:, 2:]
    assert_close(chain.matrix(params), parts[2].matrix(three) @ parts[1].matrix(two) @ parts[0].matrix(one))
    slow = parts[2].apply(parts[1].apply(parts[0].apply(images, one), two), three)
    centre = np.s_[:, 8:-8, 8:-8]
    np.testing.assert_allclose(chain.apply(images, params)[centre], slow[centre], atol=0.02)


def test_what_has_no_fill_takes_that_of_its_chain(images):
    parts = [Rotation(20, fill="reflect", interpolation="bicubic"), Flip(), Crop(interpolation="bicubic")]
    told = Compose(parts, fill="reflect", interpolation="bicubic")
    assert_close(Compose(parts)(images, 0), told(images, 0))
    assert_close(
        Compose([Compose(parts[1:]), parts[0]])(images, 0), Compose(told.transforms[1:] + parts[:1])(images, 0)
    )


@pytest.mark.parametrize("inner", [slice(0, 2), slice(1, 3), slice(0, 3)])
def test_nested_with_photometric(inner, images):
    """A nested composition is equivalent to its parts."""
    parts = [Rotation(20, fill="edge"), ColorJitter(), Flip()]
    nested = Compose([*parts[: inner.start], Compose(parts[inner]), *parts[inner.stop :]])
    params = nested.sample(5, 0)
    assert_close(nested.apply(images, params), Compose(parts).apply(images, params))
    with pytest.raises(ValueError, match="matrices and an inverse exist only for geometric"):
        nested.matrix(params)


def test_orbit_of_a_composition():
    orbit = Compose([Scale(), Rotation()]).orbit([2, 3])
    assert_close(orbit, [[0.5, 0], [0.5, 120], [0.5, 240], [1, 0], [1, 120], [1, 240]])
