"""Features of pretrained networks: `_backbone_features` and `_backbone_patches` are the estimators."""
