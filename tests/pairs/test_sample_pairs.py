"""Partners of samples: nearest neighbours, next frames, auxiliary samples."""

import torch

from sklinvariant.pairs._nearest_partners import nearest_partners
from sklinvariant.pairs._sample_pairs import PartnerPairs, ViewPairs, same, temporal_pairs


def test_pairs_without_auxiliary_samples():
    samples = torch.arange(6.0)[:, None]
    auxiliary = torch.tensor([False, True, False, False, False, True])
    partners = nearest_partners(samples, 2, auxiliary)
    assert not auxiliary[partners[~auxiliary]].any()
    assert sorted(partners[0].tolist()) == [2, 3]
    assert PartnerPairs(samples, partners, None).without(auxiliary).tolist() == [0, 2, 3, 4]
    in_time = temporal_pairs(samples, [0, 0, 0, 1, 1, 1], same, None)
    assert in_time.rows[in_time.without(auxiliary)].tolist() == [3]
    assert ViewPairs(samples, same, None).without(auxiliary).tolist() == [0, 2, 3, 4]
