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


def test_walks_have_all_lengths():
    """Along a line, where partners are the next samples, a walk ends as many samples later as it has steps."""
    samples = torch.arange(2000.0)[:, None]
    line = PartnerPairs(samples, (torch.arange(2000) + 1).clamp_max(1999)[:, None], torch.Generator().manual_seed(0))
    index = torch.arange(1000).repeat(3)
    lengths = line.walk(index, 5) - index
    assert lengths.bincount(minlength=6).tolist()[0] == 0
    assert all(500 <= count <= 700 for count in lengths.bincount().tolist()[1:])
    assert (line.walk(index, 1) == index + 1).all()
