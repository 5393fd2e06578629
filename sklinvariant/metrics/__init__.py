"""How well a search, or a code, does."""
