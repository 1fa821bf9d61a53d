"""Measures what the engine is worth, with the code that serves it."""
