"""Bags of local descriptors: `DescriptorSets` and their reader."""

from sklinvariant.bags._bag_reader import BagReader
from sklinvariant.bags._descriptor_sets import DescriptorSets

__all__ = ["BagReader", "DescriptorSets"]
