"""Answers a shopper: the pure library behind the API and the command line."""
