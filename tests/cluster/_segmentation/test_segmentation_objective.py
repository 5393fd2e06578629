"""The loss of pairs of crops against the mutual information of each head, and its lower bound."""

import numpy as np
import pytest
import torch
from tolerance import assert_close

from sklinvariant.cluster import IICSegmenter
from sklinvariant.cluster._segmentation._dense_mutual_information import dense_information
from sklinvariant.cluster._segmentation._segmentation_objective import DenseInformation
from sklinvariant.cluster._segmentation._segmentation_trunk import SegmentationNetwork
from sklinvariant.pairs import CropPairs
from sklinvariant.transforms import Flip


@pytest.mark.parametrize("average", ["information", "joint"])
@pytest.mark.parametrize("with_start", [False, True])
def test_loss_is_the_negative_information_of_the_heads(average, with_start):
    """Two main heads of 3 clusters, which may start from given scores, and an auxiliary head of 4."""
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(2, 9, 8, generator=generator, dtype=torch.float64) for _ in range(4)]
    scores = torch.randn(3, 9, 8, generator=generator, dtype=torch.float64)
    start = [lambda rows, columns: scores[:, rows, columns]] * 4 if with_start else None
    crops = CropPairs(images, Flip(), tile_size=9, batch_size=4, generator=generator, start=start)
    network = SegmentationNetwork.start(2, 3, [3, 3, 4], generator).double().eval()
    shift, scale = torch.tensor(0.5).double(), torch.tensor(2.0).double()
    objective = DenseInformation(network, 2, shift, scale, 1, average, 1.5)
    ((pair, _),) = crops
    turned = (pair.views != pair.images).flatten(1).any(1)
    assert 0 < turned.sum() < 4
    information = []
    for i, (one, two) in enumerate(
        zip(*(network.scores((x - shift) / scale) for x in (pair.images, pair.views)), strict=True)
    ):
        two = torch.where(turned[:, None, None, None], two.flip(3), two)
        added = scores if with_start and i < 2 else 0
        both = ((x + added).softmax(1) for x in (one, two))
        information.append(dense_information(*both, 1, average=average, entropy_weight=1.5))
    expected = -(information[0] + information[1]) / 2 - information[2]
    assert_close(objective(pair).detach(), expected.detach())


def test_the_loss_comes_with_the_ratio_to_its_lower_bound():
    """Images of one black and one white half, in two main clusters and one auxiliary cluster, whose entropy is 0."""
    images = np.zeros((4, 16, 16))
    images[:, :, 8:] = 1
    settings = {"half_window": 0, "n_overclusters": 1, "max_epochs": 20, "random_state": 0}
    model = IICSegmenter(2, **settings).fit(images)
    row = model.history_[-1]
    assert 0.95 < row["loss_ratio"] <= 1
    np.testing.assert_allclose(row["loss"], -2 * np.log(2) * row["loss_ratio"])  # -(2 λ - 1) ln k with λ = 1.5
