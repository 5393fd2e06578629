"""Pairs of samples that should look alike: views, neighbours, consecutive frames, crops."""

from sklinvariant.pairs._crop_pairs import CropPairs, Pair
from sklinvariant.pairs._frames import UNIT_SAMPLE, clip_ids, consecutive_mask, warn_of_shuffled
from sklinvariant.pairs._graph_batches import GraphBatches, NeighborBatch
from sklinvariant.pairs._nearest_partners import nearest_partners
from sklinvariant.pairs._neighbor_graph import NeighborGraph, WithNeighbors, read_graph, search_graph
from sklinvariant.pairs._sample_pairs import (
    MOST_STEPS,
    ClusterBatch,
    GraphPairs,
    PartnerPairs,
    SamplePairBatches,
    ViewPairs,
    changed,
    default_views,
    explicit_pairs,
    same,
    shuffled,
    temporal_pairs,
)

__all__ = [
    "MOST_STEPS",
    "UNIT_SAMPLE",
    "ClusterBatch",
    "CropPairs",
    "GraphBatches",
    "GraphPairs",
    "NeighborBatch",
    "NeighborGraph",
    "Pair",
    "PartnerPairs",
    "SamplePairBatches",
    "ViewPairs",
    "WithNeighbors",
    "changed",
    "clip_ids",
    "consecutive_mask",
    "default_views",
    "explicit_pairs",
    "nearest_partners",
    "read_graph",
    "same",
    "search_graph",
    "shuffled",
    "temporal_pairs",
    "warn_of_shuffled",
]
