"""Metrics for retrieval, clustering, binary codes and the invariance of features."""

from sklinvariant.metrics._bits import bit_activations, bit_correlation, bit_entropy, code_entropy
from sklinvariant.metrics._clustering import (
    clustering_accuracy,
    make_clustering_scorer,
    many_to_one_accuracy,
    match_clusters,
)
from sklinvariant.metrics._equivariance import equivariance_error
from sklinvariant.metrics._invariance import invariance_score, make_invariance_scorer
from sklinvariant.metrics._ranking import exact_ranking
from sklinvariant.metrics._retrieval import average_precision, mean_average_precision, recall_at_k, ukbench_score
from sklinvariant.metrics._scorers import make_retrieval_scorer

__all__ = [
    "average_precision",
    "bit_activations",
    "bit_correlation",
    "bit_entropy",
    "clustering_accuracy",
    "code_entropy",
    "equivariance_error",
    "exact_ranking",
    "invariance_score",
    "make_clustering_scorer",
    "make_invariance_scorer",
    "make_retrieval_scorer",
    "many_to_one_accuracy",
    "match_clusters",
    "mean_average_precision",
    "recall_at_k",
    "ukbench_score",
]
