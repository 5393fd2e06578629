"""Pictures of fitted estimators (matplotlib)."""

from sklinvariant.inspection._codebook_display import CodebookDisplay

__all__ = ["CodebookDisplay"]
