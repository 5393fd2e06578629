"""Groups of the same photograph; `_duplicate_images` is the estimator."""
