"""Aggregation of bags of local descriptors to vectors, with or without learning from labels."""

from sklinvariant.aggregation._bag_of_words import BagOfWords
from sklinvariant.aggregation._fisher_vector import FisherVector
from sklinvariant.aggregation._gem_pooling import GeMPooling
from sklinvariant.aggregation._learned._learned_aggregation import LearnedAggregation
from sklinvariant.aggregation._learned._learned_bag_of_words import LearnedBoW
from sklinvariant.aggregation._learned._learned_fisher_vector import LearnedFisherVector
from sklinvariant.aggregation._learned._learned_vlad import LearnedVLAD
from sklinvariant.aggregation._second_order_pooling import SecondOrderPooling
from sklinvariant.aggregation._vlad import VLAD

__all__ = [
    "VLAD",
    "BagOfWords",
    "FisherVector",
    "GeMPooling",
    "LearnedAggregation",
    "LearnedBoW",
    "LearnedFisherVector",
    "LearnedVLAD",
    "SecondOrderPooling",
]
