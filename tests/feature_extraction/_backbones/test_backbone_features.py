"""One vector for each image: rows as they are, the class token, or the mean of the cells."""

import numpy as np
import pytest
import torch
from examples import small_cnn
from sklearn.cluster import KMeans
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tolerance import assert_close
from torch import nn

from sklinvariant import BackboneFeatures, BackbonePatches


@pytest.fixture
def images():
    return np.random.RandomState(0).rand(6, 8, 8, 3).astype(np.float32)


class Tokens(nn.Module):
    """A class token, two register tokens and 4 x 4 patches."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 2, 2)
        self.cls_token = nn.Parameter(torch.full((1, 1, 3), 7.0))
        self.reg_token = nn.Parameter(torch.full((1, 2, 3), -7.0))

    def forward(self, x):
        first = torch.cat([self.cls_token, self.reg_token], 1).expand(len(x), -1, -1)
        return torch.cat([first + x.mean((1, 2, 3))[:, None, None], self.conv(x).flatten(2).transpose(1, 2)], 1)


def test_the_class_token_is_the_vector_and_the_patches_are_the_map(images):
    network = Tokens()
    rows = BackboneFeatures(network).fit_transform(images)
    assert_close(rows, np.repeat(7 + images.mean((1, 2, 3))[:, None], 3, axis=1))
    cells = BackbonePatches(network).fit_transform(images)
    assert_close(cells.values, BackbonePatches(network.conv).fit_transform(images).values)


def test_the_mean_of_the_cells_of_a_map(images):
    network = nn.Conv2d(3, 4, 3)
    cells = np.asarray(BackbonePatches(network).fit_transform(images))
    assert_close(BackboneFeatures(network).fit_transform(images), cells.mean(1))


def test_rows_are_returned_as_they_are(images):
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    expected = network(torch.as_tensor(images).permute(0, 3, 1, 2)).detach()
    features = BackboneFeatures(network, batch_size=4).fit(images)
    assert_close(features.transform(images), expected.numpy())
    assert list(features.get_feature_names_out()) == [f"backbonefeatures{i}" for i in range(5)]
    assert isinstance(features.transform(torch.as_tensor(images)), torch.Tensor)


def test_a_layer(images):
    network = small_cnn()
    expected = BackboneFeatures(network[:1]).fit_transform(images[..., :2])
    assert_close(BackboneFeatures(network, layer="0").fit_transform(images[..., :2]), expected)


def test_images_of_different_sizes(images):
    network = nn.Conv2d(3, 4, 3)
    different = [images[0], images[1, :5], images[2, :, :6]]
    rows = BackboneFeatures(network, image_size=8).fit_transform(different)
    alone = [BackboneFeatures(network, image_size=8).fit_transform(image[None])[0] for image in different]
    assert_close(rows, np.stack(alone))
    with pytest.raises(ValueError, match=r"the images differ in size: .*\. Set image_size"):
        BackboneFeatures(network).fit(different).transform(different)


def test_a_pipeline_with_a_clusterer(images):
    model = make_pipeline(BackboneFeatures(nn.Conv2d(3, 4, 3)), StandardScaler(), KMeans(2, n_init=1, random_state=0))
    assert model.fit_predict(images).shape == (6,)
