"""The serving models: the bi-encoder, the cross-encoder, and the runtime they share."""
