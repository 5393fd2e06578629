"""Pictures of fitted estimators (matplotlib)."""

from sklinvariant.inspection._bit_activation_display import BitActivationDisplay
from sklinvariant.inspection._cluster_display import ClusterDisplay
from sklinvariant.inspection._codebook_display import CodebookDisplay
from sklinvariant.inspection._pooling_region_display import PoolingRegionDisplay
from sklinvariant.inspection._retrieval_display import RetrievalDisplay

__all__ = ["BitActivationDisplay", "ClusterDisplay", "CodebookDisplay", "PoolingRegionDisplay", "RetrievalDisplay"]
