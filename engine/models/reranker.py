"""The cross-encoder: how likely a passage is to be each class of `Relevance` for a query."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.errors import ModelError
from engine.models.folder import RerankerInfo, read_model_info
from engine.models.runtime import Session
from engine.models.tokenizer import PairTokenizer, load_tokenizer
from engine.types import Relevance


class TransformerReranker:
    """A `Reranker` over an exported model folder. May be called from many threads at once."""

    def __init__(self, folder: Path, info: RerankerInfo, *, threads: int = 0) -> None:
        self.info = info
        self._columns = _columns(folder, info.labels)
        self._tokenizer = PairTokenizer(
            load_tokenizer(folder, info.max_length), info.max_length, info.passage_length
        )
        self._session = Session(folder, max_length=info.max_length, threads=threads)
        if self._session.width != len(Relevance):
            raise ModelError(
                f"the graph in {folder} gives {self._session.width} logits, not ESCI's 4. "
                "Export a four-class cross-encoder with `daogou export reranker`."
            )

    @property
    def fingerprint(self) -> str:
        """Hex digest of weights, tokenizer, maximum length, calibration and passage template."""
        return self.info.fingerprint

    def classify(self, queries: Sequence[str], passages: Sequence[str]) -> NDArray[np.float32]:
        """Class probabilities of each (query, passage) pair.

        Args:
            queries: one a pair.
            passages: one a pair.

        Returns:
            Shape (pairs, 4), columns in the order of `Relevance` (grade 0 to 3), rows sum to 1:
            softmax of the logits over the calibration temperature (Guo et al. 2017).

        Raises:
            ValueError: queries and passages differ in number.
        """
        logits = self._session.run(self._tokenizer.encode(queries, passages))
        return softmax(logits[:, self._columns] / self.info.temperature)  # (pairs, 4)


def load_reranker(folder: Path, *, threads: int = 0) -> TransformerReranker:
    """The reranker in a model folder.

    Args:
        folder: as `daogou export reranker` writes it.
        threads: CPU threads in all; 0 takes every core.

    Raises:
        ModelError: the folder is missing, holds another kind of model, or is damaged.
    """
    info = read_model_info(folder, kind="reranker")
    return TransformerReranker(folder, info, threads=threads)


def _columns(folder: Path, labels: Sequence[str]) -> list[int]:
    """For each class of `Relevance` in order, which logit is its."""
    expected = [relevance.name.lower() for relevance in Relevance]
    if sorted(labels) != sorted(expected):
        raise ModelError(
            f"the labels of {folder} are {', '.join(labels)}, not "
            f"{', '.join(expected)} in some order. "
            "Export a four-class cross-encoder with `daogou export reranker`."
        )
    return [list(labels).index(name) for name in expected]


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row of logits as probabilities; shape kept."""
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float32] = exponents / exponents.sum(axis=1, keepdims=True)
    return probabilities
