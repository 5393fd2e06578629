"""Views of samples, and features averaged over them."""

import numpy as np
import pytest
import torch
from tolerance import assert_close

from sklinvariant.cluster._cluster_network import ClusterNetwork
from sklinvariant.cluster._few_labels._class_network import ClassNetwork
from sklinvariant.cluster._few_labels._view_features import fixed_views, mean_features
from sklinvariant.cluster._scaling import Scaling
from sklinvariant.transforms import ColorJitter, Compose, Rotation, Translation


@pytest.mark.parametrize(
    "views",
    [
        Compose([Rotation(15), Translation(0.1)], fill="edge"),
        ColorJitter(0.4, 0.4),
        lambda x, generator: x + torch.rand(x.shape, generator=generator),
    ],
)
def test_views_of_a_sample_do_not_depend_on_the_others(views):
    samples = torch.rand(5, 6, 6, 1, generator=torch.Generator().manual_seed(0))
    seen = list(fixed_views(samples, views, 3, 0))
    assert len(seen) == 3
    assert torch.equal(seen[0], samples)
    assert not torch.allclose(seen[1], seen[2], atol=0.01)
    for whole, alone in zip(seen, fixed_views(samples[3:], views, 3, 0), strict=True):
        assert_close(whole[3:], alone)


def test_features_are_averaged_over_views():
    samples, generator = torch.rand(5, 6, 6, 1, generator=torch.Generator().manual_seed(0)), torch.Generator()
    scaling = Scaling.of(samples, None)
    network = ClassNetwork(ClusterNetwork.build("mlp", (6, 6, 1), 1, 2, None, generator=generator, scaling=scaling))
    views = Rotation(15, fill="edge")
    with torch.no_grad():
        features = [network.eval().features(seen).numpy() for seen in fixed_views(samples, views, 3, 7)]
    assert_close(mean_features(network, samples, views, 3, 7), np.mean(features, axis=0))
