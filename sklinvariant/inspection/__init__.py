"""Visualisation of fitted estimators with matplotlib."""

from sklinvariant.inspection._bit_activation_display import BitActivationDisplay
from sklinvariant.inspection._cluster_display import ClusterDisplay
from sklinvariant.inspection._cluster_gallery_display import ClusterGalleryDisplay
from sklinvariant.inspection._codebook_display import CodebookDisplay
from sklinvariant.inspection._mosaic import around_grey, mosaic
from sklinvariant.inspection._palette import palette
from sklinvariant.inspection._pooling_region_display import PoolingRegionDisplay
from sklinvariant.inspection._retrieval_display import RetrievalDisplay
from sklinvariant.inspection._segmentation_display import SegmentationDisplay
from sklinvariant.inspection._simplex_display import SimplexDisplay
from sklinvariant.inspection._style import style

__all__ = [
    "BitActivationDisplay",
    "ClusterDisplay",
    "ClusterGalleryDisplay",
    "CodebookDisplay",
    "PoolingRegionDisplay",
    "RetrievalDisplay",
    "SegmentationDisplay",
    "SimplexDisplay",
    "around_grey",
    "mosaic",
    "palette",
    "style",
]
