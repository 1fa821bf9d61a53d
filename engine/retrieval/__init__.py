"""Finds products: lexical and dense retrieval, their fusion, and the filters over both."""
