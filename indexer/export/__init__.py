"""A checkpoint of any origin → a serving model that needs no torch."""
