"""The shopping guide: what else the models of a snapshot can do for a shopper than search."""
