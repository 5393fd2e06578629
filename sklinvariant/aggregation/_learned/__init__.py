"""Aggregations that are learned together with a linear model; `_learned_aggregation` is their base."""
