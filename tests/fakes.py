"""Deterministic stand-ins for the models: no weights, same seams."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.types import Vectors


def words(text: str) -> list[str]:
    """Lower-case words, a plural s cut off."""
    return [word.removesuffix("s") for word in re.findall(r"\w+", text.casefold())]


class FakeEncoder:
    """An `Encoder` that hashes words into buckets: texts that share words are similar."""

    def __init__(self, dim: int = 256) -> None:
        self.dim = dim
        self.fingerprint = hashlib.sha256(f"fake encoder {dim}".encode()).hexdigest()

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self._encode(texts)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        return self._encode(texts)

    def _encode(self, texts: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            row[0] = 0.01  # a text of no words has a direction too
            for word in words(text):
                digest = hashlib.sha256(word.encode("utf-8", "replace")).digest()
                row[1 + int.from_bytes(digest[:4], "big") % (self.dim - 1)] += 1.0
        unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


class FakeReranker:
    """A `Reranker` that counts how many of the query's words the passage has."""

    def __init__(self) -> None:
        self.fingerprint = hashlib.sha256(b"fake reranker").hexdigest()

    def classify(self, queries: Sequence[str], passages: Sequence[str]) -> NDArray[np.float32]:
        pairs = list(zip(queries, passages, strict=True))
        shares = np.array([_share(*pair) for pair in pairs], dtype=np.float32)  # (pairs,)
        centres = np.array([0.0, 0.3, 0.6, 1.0], dtype=np.float32)  # grade 0 to 3
        weights = np.exp(-20.0 * np.square(shares[:, None] - centres))  # (pairs, 4)
        probabilities: NDArray[np.float32] = weights / weights.sum(axis=1, keepdims=True)
        return probabilities


def _share(query: str, passage: str) -> float:
    asked = set(words(query))
    return len(asked & set(words(passage))) / max(1, len(asked))
