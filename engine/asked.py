"""Vectors of queries: begun before they are needed, and kept for those asked again.

Who turns a page, sorts or filters asks for the same words; and reading a query for what it states
takes about as long as encoding it, so that both run side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock, local

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from engine.protocols import EagerEncoder, Encoder
from engine.types import Vectors

_KEPT, _UNDER_WAY = 2_000, 64  # queries: 3 MB, 0.1 MB
_MOST_CHARS = 1_000  # longer ones are neither kept nor begun


class QueryVectors:
    """The vectors of one encoder's queries. Safe to use from many threads."""

    def __init__(self, encoder: Callable[[], Encoder], *, keep: bool) -> None:
        """Prepare; the encoder is asked for with the first query.

        Without `keep`, a query is held until its thread has asked for one.
        """
        self._encoder = encoder
        self._lasting = keep
        self._begun = local()
        self._kept: LRUCache[str, _Vector] = LRUCache(_KEPT if keep else _UNDER_WAY)
        self._lock = Lock()

    def of(self, texts: Sequence[str]) -> Vectors:
        """As `Encoder.encode_queries`; one text alone may be known, and is kept."""
        if len(texts) != 1:
            return self._encoder().encode_queries(texts)
        (text,) = texts
        vector = self._known(text)
        if vector is None:
            vector = _Vector(lambda: self._encoder().encode_queries([text]))
            self._keep(text, vector)
        try:
            return vector.get()[None, :]
        except BaseException:
            self._forget(text)  # it would fail again
            raise
        finally:
            if not self._lasting:
                for past in (text, *vars(self._begun).pop("texts", ())):
                    self._forget(past)

    def begin(self, text: str) -> None:
        """Begin what `of` will be asked for, where it is not known and the encoder can."""
        encoder = self._encoder()
        if (
            isinstance(encoder, EagerEncoder)
            and len(text) <= _MOST_CHARS
            and self._known(text) is None
        ):
            self._keep(text, _Vector(encoder.begin_query(text)))
            if not self._lasting:
                vars(self._begun).setdefault("texts", []).append(text)

    def _known(self, text: str) -> _Vector | None:
        with self._lock:
            return self._kept.get(text)

    def _keep(self, text: str, vector: _Vector) -> None:
        if len(text) <= _MOST_CHARS:
            with self._lock:
                self._kept[text] = vector

    def _forget(self, text: str) -> None:
        with self._lock:
            self._kept.pop(text, None)


class _Vector:
    """One query's, from when it is first asked for."""

    def __init__(self, finish: Callable[[], Vectors]) -> None:
        self._finish = finish
        self._found: NDArray[np.float32] | None = None
        self._lock = Lock()

    def get(self) -> NDArray[np.float32]:
        """The vector, (dim,)."""
        with self._lock:
            if self._found is None:
                self._found = self._finish()[0]
                del self._finish  # and the request that it holds
            return self._found
