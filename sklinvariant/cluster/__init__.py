"""Clusters learned by invariant information: of images, of rows, of pixels."""

from sklinvariant.cluster._iic_segmenter import IICSegmenter

__all__ = ["IICSegmenter"]
