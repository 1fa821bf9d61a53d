"""Which words of a query name what: the product, its maker, a colour, a size, for whom.

A linear-chain conditional random field (Lafferty, McCallum and Pereira 2001) over a window of word
vectors. A word's vector is the mean of its character n-grams' rows in a hashed table (Bojanowski et
al. 2017) beside the mean of its WordPieces' rows: the shipped encoder's input embeddings, projected
to a few numbers. All of it is a few small matrix products in numpy. A folder:

spans.json    the types, the sizes, the tokenizer it was fitted on, provenance
weights.npz   the matrices; tables as small integers with one scale
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from tokenizers import Tokenizer

from engine.arrays import HEADERS
from engine.checksums import sha256_of
from engine.errors import ModelError
from engine.guide.chain import OUTSIDE, Chances, Floats, allowed, best_path, runs
from engine.models.encoder import SHIPPED_ENCODER
from engine.models.folder import TOKENIZER_FILE
from engine.models.tokenizer import load_tokenizer
from engine.models.tokens import READ_TOKENS

SHIPPED_SPANS = Path(__file__).parents[1] / "models" / "shipped" / "spans"
"""The span tagger that comes with daogou."""
INFO_FILE, WEIGHTS_FILE = "spans.json", "weights.npz"
MOST_WORDS = 64
"""Words of a query that are read; what comes after them is in no span."""

_GRAMS = range(2, 6)
_MOST_CHARS = 40  # of a word, for its n-grams
_MOST_PIECES = 16
_KEPT_WORDS = 20_000  # whose vectors are kept: 300 bytes each
_TABLES = {"grams", "pieces"}
_PARTS = _TABLES | {
    "grams_scale", "pieces_scale", "edge", "inner", "inner_bias", "outer", "bias", "linear",
    "begin", "follow", "end",
}  # fmt: skip
_WORD = re.compile(r"\S+")
_MARKS = ',;:!?."“”()'
_CURE = "Train it again: daogou train spans"


@dataclass(frozen=True, slots=True)
class Span:
    """A run of words that names one thing."""

    text: str
    """As typed."""
    start: int
    """Where in the query it begins."""
    stop: int
    type: str
    confidence: float
    """The probability, by the model, of just this span with just this type."""


class SpansInfo(BaseModel):
    """What a span tagger says of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["spans"] = "spans"
    schema_version: Literal[1] = 1
    name: str
    types: tuple[str, ...]
    window: int
    """Words on either side of a word that are read with it."""
    tokenizer: str
    """SHA-256 of the tokenizer whose pieces have rows."""
    provenance: dict[str, str] = {}

    @property
    def labels(self) -> tuple[str, ...]:
        """Outside, and of each type its beginning and its inside."""
        return (OUTSIDE, *(f"{place}-{name}" for name in self.types for place in "BI"))


def words_in(query: str) -> list[tuple[str, int, int]]:
    """The words that are tagged, and where each begins and ends, without marks around it."""
    found = []
    for match in _WORD.finditer(query):
        word = match.group()
        bare = without_marks(word)
        start = match.start() + word.index(bare)
        found.append((bare, start, start + len(bare)))
    return found[:MOST_WORDS]


def without_marks(word: str) -> str:
    """The word without punctuation around it; a word of punctuation alone stays."""
    return word.strip(_MARKS) or word


def folded(word: str) -> str:
    """What is read of a word; what is no text (half a character) becomes a question mark."""
    return without_marks(word).casefold().encode("utf-8", "replace").decode("utf-8")


def grams_of(word: str, rows: int) -> list[int]:
    """Rows of a word in a hashed table: itself, its form, its length, its character n-grams."""
    marked = f"<{word[:_MOST_CHARS]}>"
    signs = [marked, f"form {form_of(word)}", f"length {min(len(word), 12)}"]
    signs += [
        marked[start : start + size]
        for size in _GRAMS
        for start in range(len(marked) - size + 1)
        if len(marked) > size
    ]
    return [zlib.crc32(sign.encode("utf-8")) % rows for sign in signs]


@lru_cache(maxsize=4096)
def form_of(word: str) -> str:
    """What kinds of characters a word has, runs as one: `3.5mm` is `0.0a`."""
    kinds = ("0" if one.isdigit() else "a" if one.isalpha() else one for one in word)
    return re.sub(r"(.)\1+", r"\1", "".join(kinds))[:8]


class SpanTagger:
    """Finds the spans of queries. Safe to use from many threads."""

    def __init__(
        self, info: SpansInfo, weights: Mapping[str, NDArray[Any]], tokenizer: Tokenizer
    ) -> None:
        self.info = info
        self.weights = weights
        """As they are stored: see `save_spans`."""
        self._weights = {
            name: part.astype(np.float32) for name, part in weights.items() if name not in _TABLES
        }
        self._grams = _table(weights, "grams")  # (rows, dim)
        self._pieces = _table(weights, "pieces")  # (vocabulary, dim)
        self.tokenizer = tokenizer
        """Whose pieces have rows."""
        self._labels = info.labels
        begins, follows = allowed(info.labels)
        self._begins = self._weights["begin"] + begins  # (labels,)
        self._follows = self._weights["follow"] + follows  # (labels, labels)
        self._ends = self._weights["end"]  # (labels,)
        self._known: LRUCache[str, Floats] = LRUCache(_KEPT_WORDS)
        self._lock = Lock()

    def tag(self, query: str) -> list[Span]:
        """The likeliest spans of a query, in their order; none of a query without words."""
        words = words_in(query)
        found = []
        for first, last, kind, confidence in self.tag_words([word for word, _, _ in words]):
            start, stop = words[first][1], words[last - 1][2]
            found.append(Span(query[start:stop], start, stop, kind, confidence))
        return found

    def tag_words(self, words: Sequence[str]) -> list[tuple[int, int, str, float]]:
        """The likeliest spans: first word, word after the last, type, and how sure that is."""
        if not words:
            return []
        scores = self._scores(words)
        labels = [
            self.info.labels[place]
            for place in best_path(scores, self._begins, self._follows, self._ends)
        ]
        chance = Chances(scores, self._begins, self._follows, self._ends)
        found = []
        for first, last, kind in runs(labels):
            begin = 1 + 2 * self.info.types.index(kind)
            sure = chance.of_span(first, last, begin, begin + 1)
            found.append((first, last, kind, round(sure, 4)))
        return found

    def _scores(self, words: Sequence[str]) -> Floats:
        """What each word in its window says for each label, (words, labels)."""
        weights, window = self._weights, self.info.window
        before, after = weights["edge"]
        rows = [before] * window + [self._vector(word) for word in words] + [after] * window
        side = np.stack(rows)  # (words + 2 window, dim)
        seen = np.concatenate(
            [side[start : start + len(words)] for start in range(2 * window + 1)], axis=1
        )  # (words, (2 window + 1) dim)
        inner = np.maximum(seen @ weights["inner"] + weights["inner_bias"], 0)
        scores: Floats = inner @ weights["outer"] + seen @ weights["linear"] + weights["bias"]
        return scores

    def _vector(self, word: str) -> Floats:
        """The vector of a word, whatever stands beside it, (dim,)."""
        read = folded(word)
        with self._lock:
            known = self._known.get(read)
        if known is not None:
            return known
        pieces = self.tokenizer.encode(read, add_special_tokens=False).ids[:_MOST_PIECES]
        grams = self._grams[grams_of(read, len(self._grams))].mean(axis=0)
        mean = self._pieces[pieces].mean(axis=0) if pieces else np.zeros_like(self._pieces[0])
        vector: Floats = np.concatenate([grams, mean])
        with self._lock:
            self._known[read] = vector
        return vector


def _table(weights: Mapping[str, NDArray[Any]], name: str) -> Floats:
    """A table of whole numbers, in what they stand for."""
    table: Floats = weights[name].astype(np.float32) * weights[f"{name}_scale"].astype(np.float32)
    return table


def load_spans(folder: Path) -> SpanTagger:
    """The span tagger in a folder.

    Raises:
        ModelError: missing, damaged, of another version, or fitted on another tokenizer.
    """
    try:
        info = SpansInfo.model_validate_json((folder / INFO_FILE).read_bytes())
        with HEADERS, np.load(BytesIO((folder / WEIGHTS_FILE).read_bytes())) as arrays:
            weights = dict(arrays)
    except (OSError, EOFError, ValueError, BadZipFile, zlib.error) as error:
        raise ModelError(f"{folder} holds no span tagger that can be read. {_CURE}") from error
    if tokenizer_of(SHIPPED_ENCODER) != info.tokenizer:
        raise ModelError(f"{folder} reads the pieces of another tokenizer than daogou's. {_CURE}")
    if missing := _PARTS - weights.keys():
        raise ModelError(f"{folder / WEIGHTS_FILE} lacks {', '.join(sorted(missing))}. {_CURE}")
    return SpanTagger(info, weights, load_tokenizer(SHIPPED_ENCODER, READ_TOKENS))


@cache
def shipped_tagger() -> SpanTagger:
    """The span tagger that comes with daogou, read once.

    Raises:
        ModelError: it cannot be read.
    """
    return load_spans(SHIPPED_SPANS)


def tokenizer_of(encoder: Path) -> str:
    """What names an encoder's tokenizer: the file's SHA-256."""
    return sha256_of(encoder / TOKENIZER_FILE)


def save_spans(folder: Path, info: SpansInfo, weights: Mapping[str, NDArray[Any]]) -> None:
    """Write a span tagger into an existing folder."""
    given: dict[str, Any] = dict(weights)
    np.savez_compressed(folder / WEIGHTS_FILE, **given)
    (folder / INFO_FILE).write_text(json.dumps(info.model_dump(), indent=1), encoding="utf-8")
