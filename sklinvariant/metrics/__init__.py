"""Metrics of retrieval and of binary codes."""

from sklinvariant.metrics._bits import bit_activation, bit_correlation, bit_entropy, code_entropy
from sklinvariant.metrics._ranking import ranking
from sklinvariant.metrics._retrieval import (
    average_precision,
    mean_average_precision,
    mean_average_precision_scorer,
    recall_at_k,
    relevance_of,
    ukbench_score,
)

__all__ = [
    "average_precision",
    "bit_activation",
    "bit_correlation",
    "bit_entropy",
    "code_entropy",
    "mean_average_precision",
    "mean_average_precision_scorer",
    "ranking",
    "recall_at_k",
    "relevance_of",
    "ukbench_score",
]
