"""Passages as token vectors: how many are read and kept, and how."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.types import ReadPassages

READ_TOKENS = 128
"""Of a passage by the encoder that ships, the rest being cut off."""

PASSAGE_TOKENS = 48
"""Of these the first are kept for the reranker, which reads all passages as so long."""

QUERY_TOKENS = 32
"""Of a query by a reranker of ours."""


def quantise(tokens: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Tokens (n, width) as int8 and their scales (n,): a number is its int8 times the scale."""
    scales = (np.abs(tokens).max(axis=1, initial=1e-9) / 127).astype(np.float32)
    return np.rint(tokens / scales[:, None]).astype(np.int8), scales


def pack(passages: Sequence[NDArray[np.float32]]) -> ReadPassages:
    """Tokens (n, width) of each passage as a model would get them, had they been kept."""
    kept = [quantised * scales[:, None] for quantised, scales in map(quantise, passages)]
    shape = len(kept), PASSAGE_TOKENS, kept[0].shape[1]
    hidden, mask = np.zeros(shape, dtype=np.float32), np.zeros(shape[:2], dtype=np.int64)
    for row, tokens in enumerate(kept):
        hidden[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
    return ReadPassages(hidden, mask)
