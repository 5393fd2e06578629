"""The modules of `NestedInvariancePooler`; their answers are tested in ``test_modules_of_estimators.py``."""

import numpy as np
import pytest
import torch

from sklinvariant import BagOfWords, ConvolutionalFeatures, DensePatches, NestedInvariancePooler, to_module
from sklinvariant.transforms import ColorJitter, Compose, Rotation

IMAGES = np.random.RandomState(0).rand(3, 12, 12).astype(np.float32)


def pooler(backbone=None, **settings):
    backbone = backbone or ConvolutionalFeatures(BagOfWords(4, random_state=0), patch_size=3, random_state=0)
    return NestedInvariancePooler(backbone, **{"transforms": {"rotation": Rotation(n_steps=4)}, **settings}).fit(IMAGES)


def test_a_module_is_invariant_too():
    module = to_module(pooler(stages=[("translation", 1), ("rotation", 1)]))
    with torch.no_grad():
        upright, turned = (module(torch.from_numpy(x.copy())) for x in (IMAGES, np.rot90(IMAGES, axes=(1, 2))))
    torch.testing.assert_close(upright, turned, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fill": 0.5}, 'fill=0.5 cannot be exported. Set fill to "mean"'),
        ({"transforms": {"rotation": Compose([Rotation(), ColorJitter()])}}, "not geometric"),
    ],
)
def test_what_cannot_be_exported(settings, message):
    with pytest.raises(ValueError, match=message):
        to_module(pooler(**settings))


def test_images_of_another_size():
    """`transform` resizes them, which a module does not do without distortion."""
    module = to_module(pooler(image_size=20))
    with pytest.raises(ValueError, match=r"images are 12 x 12 pixels, but this module computes views of 20 x 20"):
        module(torch.from_numpy(IMAGES))


def test_a_foreign_backbone():
    with pytest.raises(ValueError, match="backbone=DensePatches cannot be converted"):
        to_module(pooler(DensePatches(4)))
