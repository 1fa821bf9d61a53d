"""The cross-encoder: how likely a passage is to be each class of `Relevance` for a query."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from engine.errors import ModelError
from engine.models.folder import RerankerInfo, read_model_info
from engine.models.graph import Adapters
from engine.models.runtime import Batch, Session
from engine.models.tokenizer import load_tokenizer
from engine.types import ReadPassages, Relevance

SHIPPED_RERANKER = Path(__file__).parent / "shipped" / "reranker"
"""The reranker that comes with daogou, over the encoder beside it."""

READOUT = (-1.0, -1.0 / 3.0, 1.0 / 3.0, 1.0)
"""Weights of the four logits, in the order of `Relevance`, in one score to rank by."""

_QUERY_STEP = 4
"""Lengths of queries are padded to a multiple of this. A pair always has the same shape, as all
passages have one length: nothing moves with its company, and shorter is quicker."""
_MOST_PASSAGES = 40  # in one batch: more are no faster


class _Served:
    """An exported cross-encoder, loaded: what both kinds have in common."""

    def __init__(
        self,
        folder: Path,
        info: RerankerInfo,
        *,
        threads: int = 0,
        adapters: Adapters | None = None,
        kept: Path | None = None,
    ) -> None:
        self.info = info
        self._columns = _columns(folder, info.labels)
        self._tokenizer = load_tokenizer(folder, info.max_length)
        self._session = Session(
            folder, max_length=info.max_length, threads=threads, adapters=adapters, kept=kept
        )
        _check_width(folder, self._session)

    @property
    def fingerprint(self) -> str:
        """Hex digest of all that decides what it gives, the encoder it reads included."""
        return self.info.fingerprint

    def _probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (pairs, 4) as class probabilities, in the order of `Relevance`."""
        return softmax(logits[:, self._columns] / self.info.temperature)


class PairReranker(_Served):
    """A cross-encoder that reads query and passage as one text: any classifier of Hugging Face."""

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
        pairs = list(zip(queries, passages, strict=True))
        logits = self._session.run(self._tokenizer.encode_batch(pairs))
        return self._probabilities(logits)


class TokenReranker(_Served):
    """A cross-encoder of ours: it reads the query, and what the encoder made of the passages."""

    def classify_read(self, query: str, passages: ReadPassages) -> NDArray[np.float32]:
        """Class probabilities of each passage for one query.

        Args:
            query: what was asked.
            passages: as the snapshot keeps them.

        Returns:
            Shape (passages, 4), columns in the order of `Relevance` (grade 0 to 3), rows sum to 1.
        """
        return self._probabilities(self._logits(query, passages))

    def score_read(self, query: str, passages: ReadPassages) -> NDArray[np.float32]:
        """One number a passage, (passages,): `READOUT` of its logits, higher is better."""
        logits = self._logits(query, passages)[:, self._columns]
        return logits @ np.array(READOUT, dtype=np.float32)

    def _logits(self, query: str, passages: ReadPassages) -> NDArray[np.float32]:
        count = len(passages.mask)
        if not count:
            return np.empty((0, len(Relevance)), dtype=np.float32)
        asked = query_inputs(self._tokenizer, query)
        size = min(_MOST_PASSAGES, -(-count // self._session.streams))
        return self._session.run_batches(
            count,
            (
                Batch(
                    np.arange(start, min(start + size, count)),
                    asked
                    | {
                        "passages": passages.hidden[start : start + size],
                        "passage_mask": passages.mask[start : start + size],
                    },
                )
                for start in range(0, count, size)
            ),
        )


def query_inputs(tokenizer: Tokenizer, query: str) -> dict[str, NDArray[np.int64]]:
    """Token ids and mask of a query, (1, length) each, as the graph takes them."""
    ids = tokenizer.encode(query).ids
    length = -(-len(ids) // _QUERY_STEP) * _QUERY_STEP
    padded, mask = np.zeros((2, 1, length), dtype=np.int64)
    padded[0, : len(ids)], mask[0, : len(ids)] = ids, 1
    return {"input_ids": padded, "attention_mask": mask}


def load_reranker(
    folder: Path, *, threads: int = 0, kept: Path | None = None
) -> PairReranker | TokenReranker:
    """The reranker in a model folder.

    Args:
        folder: as `daogou export reranker` writes it.
        threads: CPU threads in all; 0 takes every core.
        kept: folder of compiled models, kept between starts; None keeps none.

    Raises:
        ModelError: the folder is missing, holds another kind of model, or is damaged.
    """
    info = read_model_info(folder, kind="reranker")
    reranker = TokenReranker if info.encoder else PairReranker
    return reranker(folder, info, threads=threads, kept=kept)


def load_adapted(folder: Path, adapters: Adapters, *, threads: int = 0) -> TokenReranker:
    """The reranker of ours in a model folder, with something added to its linear layers.

    Raises:
        ModelError: the folder holds no such reranker, or it lacks one of the layers.
    """
    info = read_model_info(folder, kind="reranker")
    if not info.encoder:
        raise ModelError(f"{folder} reads texts in pairs: it has no layers to adapt")
    return TokenReranker(folder, info, threads=threads, adapters=adapters)


def _check_width(folder: Path, session: Session) -> None:
    if session.width != len(Relevance):
        raise ModelError(
            f"the graph in {folder} gives {session.width} logits, not ESCI's 4. "
            "Export a four-class cross-encoder with `daogou export reranker`."
        )


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
