"""Bags of local descriptors: `DescriptorSets` and the base of their estimators."""

from sklinvariant.bags._bag_estimator import BAGS, BagEstimator
from sklinvariant.bags._bag_reader import BagReader
from sklinvariant.bags._descriptor_sets import DescriptorSets

__all__ = ["BAGS", "BagEstimator", "BagReader", "DescriptorSets"]
