"""The bi-encoder: texts to unit vectors whose dot product is their similarity.

Sentence-BERT, Reimers & Gurevych 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.errors import ModelError
from engine.models.folder import EncoderInfo, read_model_info
from engine.models.runtime import Session
from engine.models.tokenizer import load_tokenizer
from engine.models.tokens import PASSAGE_TOKENS
from engine.types import Vectors

SHIPPED_ENCODER = Path(__file__).parent / "shipped" / "encoder"
"""The encoder that comes with daogou."""


class TransformerEncoder:
    """An `Encoder` over an exported model folder. May be called from many threads at once."""

    def __init__(
        self,
        folder: Path,
        info: EncoderInfo,
        *,
        threads: int = 0,
        tokens: bool = False,
        kept: Path | None = None,
    ) -> None:
        self.info = info
        self._tokenizer = load_tokenizer(folder, info.max_length)
        self._session = Session(
            folder, max_length=info.max_length, threads=threads, tokens=tokens, kept=kept
        )
        if self._session.width != info.dim:
            raise ModelError(
                f"{folder} says its vectors have {info.dim} numbers, its graph gives "
                f"{self._session.width}. "
                "Export the model again with `daogou export encoder`."
            )

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.info.dim

    @property
    def fingerprint(self) -> str:
        """Hex digest of weights, tokenizer, pooling, lengths, prefixes and passage template."""
        return self.info.fingerprint

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Vectors of queries, shape (len(texts), dim), float32, unit length."""
        return self._encode(texts, self.info.query_prefix)

    def begin_query(self, text: str) -> Callable[[], Vectors]:
        """As `encode_queries` of one text, but only begun: what is returned waits for its end."""
        return self._session.begin([self._tokenizer.encode(self.info.query_prefix + text)])

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Vectors of passages, shape (len(texts), dim), float32, unit length."""
        return self._encode(texts, self.info.passage_prefix)

    def read_passages(self, texts: Sequence[str]) -> tuple[Vectors, list[NDArray[np.float32]]]:
        """Vectors as `encode_passages` gives them, and the first tokens of each passage.

        Of a passage's tokens, the last layer of at most `PASSAGE_TOKENS`; (tokens, width) each.
        Only for an encoder that was loaded with `tokens`.
        """
        prefix = self.info.passage_prefix
        sequences = self._tokenizer.encode_batch([prefix + text for text in texts])
        return self._session.read(sequences, PASSAGE_TOKENS)

    def _encode(self, texts: Sequence[str], prefix: str) -> Vectors:
        return self._session.run(self._tokenizer.encode_batch([prefix + text for text in texts]))


def load_encoder(
    folder: Path, *, threads: int = 0, tokens: bool = False, kept: Path | None = None
) -> TransformerEncoder:
    """The encoder in a model folder.

    Args:
        folder: as `daogou export encoder` writes it; `SHIPPED_ENCODER` is one.
        threads: CPU threads in all; 0 takes every core.
        tokens: to be asked for the tokens of passages too.
        kept: folder of compiled models, kept between starts; None keeps none.

    Raises:
        ModelError: the folder is missing, holds another kind of model, or is damaged; with
            `tokens`, it is no BERT.
    """
    info = read_model_info(folder, kind="encoder")
    return TransformerEncoder(folder, info, threads=threads, tokens=tokens, kept=kept)
