"""The start from merged small clusters."""

import numpy as np
import torch
from sklearn.metrics import adjusted_rand_score

from sklinvariant import IICClusterer
from sklinvariant.cluster import _merged_start
from sklinvariant.cluster._merged_start import merged_labels, pretrain_heads, stabilities_of_merging
from sklinvariant.cluster._scaling import Scaling
from sklinvariant.pairs._nearest_partners import nearest_partners
from sklinvariant.pairs._sample_pairs import PartnerPairs


def test_the_start_is_right_already(blobs):
    """Small clusters of k-means, merged by what they tell of each other in pairs, before the network learns."""
    X, y = blobs
    samples = torch.tensor(X)
    source = PartnerPairs(samples, nearest_partners(samples, 5), torch.Generator().manual_seed(0), most_steps=3)
    labels = merged_labels(source, torch.arange(90), 3, 2, entropy_weight=2.0)
    assert labels.shape == (90, 2)
    for head in range(2):
        assert adjusted_rand_score(y, labels[:, head]) > 0.9
    network = IICClusterer(3, n_heads=2)._start(samples, Scaling.of(samples, None), torch.Generator().manual_seed(0))
    pretrain_heads(
        network, source, torch.arange(90), labels, optimizer=torch.optim.Adam, learning_rate=0.003, batch_size=90
    )
    network.eval()
    assert (network.heads(network.features(samples)).argmax(2) == labels).double().mean() > 0.95


def test_long_walks_keep_a_large_class_whole(unequal):
    """The samples of a large class seldom meet in short walks, so that its halves look like two classes."""
    X, y = unequal
    samples = torch.tensor(X)
    partners = nearest_partners(samples, 10)

    def scores(most_steps):
        source = PartnerPairs(samples, partners, torch.Generator().manual_seed(0), most_steps=most_steps)
        labels = merged_labels(source, torch.arange(len(y)), 3, 2, entropy_weight=1.0)
        return [adjusted_rand_score(y, head) for head in labels.T]

    assert min(scores(3)) > 0.95  # pairs of neighbours, which long walks replace
    assert max(scores(1)) < 0.7  # pairs that are given


def test_more_clusters_than_usual_parts(monkeypatch):
    monkeypatch.setattr(_merged_start, "_MOST_PARTS", 20)
    rng = np.random.RandomState(0)
    y = np.arange(150) % 30
    samples = torch.tensor(rng.normal(size=(30, 8))[y] + 1e-3 * rng.normal(size=(150, 8)))
    source = PartnerPairs(samples, nearest_partners(samples, 4), torch.Generator().manual_seed(0), most_steps=3)
    labels = merged_labels(source, torch.arange(150), 30, 1, entropy_weight=1.0)
    assert len(labels.unique()) > 25
    assert adjusted_rand_score(y, labels[:, 0]) > 0.9


def test_mergings_into_the_right_number_of_clusters_agree(global_random_seed):
    rng = np.random.RandomState(global_random_seed)
    samples = torch.tensor(20 * np.eye(4)[np.arange(160) % 4] + rng.normal(size=(160, 4)))
    generator = torch.Generator().manual_seed(0)
    source = PartnerPairs(samples, nearest_partners(samples, 5), generator, most_steps=3)
    found = stabilities_of_merging(source, torch.arange(160), range(2, 8), entropy_weight=1.0)
    assert found.argmax() == 2  # 4 clusters
    assert found[2] > 0.99 > max(np.delete(found, 2))
