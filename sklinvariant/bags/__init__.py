"""Bags of local descriptors: `DescriptorSets` and the base of the estimators of bags."""

from sklinvariant.bags._bag_estimator import BAGS, BagEstimator
from sklinvariant.bags._descriptor_sets import DescriptorSets

__all__ = ["BAGS", "BagEstimator", "DescriptorSets"]
