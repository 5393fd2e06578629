"""What a network answers for all samples and pairs, in parts of any size."""

import numpy as np
import pytest
import torch
from tolerance import assert_close

from sklinvariant.cluster import _evaluation
from sklinvariant.cluster._cluster_network import ClusterNetwork
from sklinvariant.cluster._evaluation import at_once, compute, draws_for, measure
from sklinvariant.cluster._scaling import Scaling
from sklinvariant.ops._chunks import MOST_SAMPLES, NETWORK_BYTES
from sklinvariant.pairs import PartnerPairs

SAMPLES = torch.randn(30, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture(params=[1, 7, 1000])
def network(request, monkeypatch):
    monkeypatch.setattr(_evaluation, "samples_at_once", lambda *_: request.param)
    scaling, generator = Scaling.of(SAMPLES, None), torch.Generator().manual_seed(0)
    return ClusterNetwork.build("mlp", (4,), 5, 3, None, generator=generator, scaling=scaling).double().eval()


def test_joints_are_sums_over_pairs(network):
    """The joint over some pairs, against outer products one by one."""
    partners = torch.randint(30, (30, 1), generator=torch.Generator().manual_seed(1))
    pairs = torch.arange(0, 30, 2)
    joint = measure(network, PartnerPairs(SAMPLES, partners, torch.Generator()), pairs, 2)
    probabilities = network.heads(network.features(SAMPLES)).detach().numpy()
    for head in range(5):
        z = probabilities[:, head]
        P = 2 * sum(np.outer(z[i], z[partners[i, 0]]) for i in pairs.tolist())
        assert_close(joint[head], P)


def test_answers_are_those_for_all_samples(network):
    with torch.no_grad():
        assert_close(compute(network, SAMPLES, lambda features: features), network.features(SAMPLES))


def test_fewer_large_images_are_processed_at_a_time():
    assert at_once(torch.empty(10, 4)) == MOST_SAMPLES
    small, large = (at_once(torch.empty(1, side, side, 3)) for side in (256, 512))
    assert 4 * large <= small <= 4 * (large + 1)
    assert large * 512 * 512 * 3 * 4 <= NETWORK_BYTES
    assert at_once(torch.empty(1, 256, 256, 3, dtype=torch.uint8)) == small  # whose floats are processed


def test_few_pairs_are_drawn_several_times():
    assert [draws_for(torch.arange(n)) for n in (10, 10_000, 20_000, 50_000)] == [20, 2, 1, 1]
