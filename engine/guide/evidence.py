"""Which piece of a text answers a question, and whether any does.

A small head on the encoder's frozen outputs: vectors and tokens are read once, the head is a few
matrix products in numpy. Beside it, where the ranker was trained with one, the reranker, whose
upper layers are changed by matrices of low rank, reads the question across each piece. A folder:

evidence.json   sizes, the features' centre and scale, the answerable-or-not fit, provenance
weights.npz     the head's matrices, float16
adapters.npz    what is added to the reranker's layers, float16
"""

from __future__ import annotations

import json
import math
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from engine.analysis import analyze
from engine.arrays import HEADERS
from engine.errors import ModelError
from engine.models.graph import Adapters
from engine.types import Vectors

SHIPPED_EVIDENCE = Path(__file__).parents[1] / "models" / "shipped" / "evidence"
"""The evidence ranker that comes with daogou, fitted on the encoder beside it."""
FOLDER = "evidence"
"""Where a snapshot keeps one of its own."""
INFO_FILE, WEIGHTS_FILE, ADAPTERS_FILE = "evidence.json", "weights.npz", "adapters.npz"
_K1, _B = 1.2, 0.75
_SOFT = 10.0  # sharpness of the soft minimum over the question's tokens
_BESIDE = {"cosine": 1.0, "tokens_mean": 1.0, "bm25": 0.5}
"""Standardised columns that are added to the head's score: that standardised too, and twice as
much; or, beside a reranker, its log-odds and the head's as they are, learnt on one scale."""
_CURE = "Train it again: daogou train evidence"

Column = NDArray[np.float32]

FEATURES = (
    "cosine", "tokens_mean", "tokens_min", "tokens_three", "back_mean", "back_max", "tokens_soft",
    "back_three", "bm25", "overlap", "length", "digits",
    "z_cosine", "z_tokens_mean", "z_tokens_soft", "z_back_mean", "z_bm25", "z_overlap", "z_length",
)  # fmt: skip
"""What the head reads beside the two vectors; z_ is standardised within the question."""


class TokenEncoder(Protocol):
    """An encoder that also gives its tokens."""

    def read_passages(self, texts: Sequence[str]) -> tuple[Vectors, list[NDArray[np.float32]]]:
        """Vectors (n, dim), and the last layer's tokens of each text, (tokens, dim)."""


@dataclass(frozen=True, slots=True)
class Read:
    """A question and its pieces as the encoder sees them."""

    question: NDArray[np.float32]  # (dim,)
    pieces: Vectors  # (n, dim)
    features: NDArray[np.float32]  # (n, FEATURES)
    across: Column | None = None
    """What the adapted reranker says of each piece, (n,); None where it was not asked."""
    tokens: tuple[NDArray[np.float16], ...] = ()
    """Of each piece, (tokens, dim), where they are kept: to train the reranker's adapters."""

    def column(self, name: str) -> Column:
        """One feature, (n,)."""
        found: Column = self.features[:, FEATURES.index(name)]
        return found


def compute(
    question: str,
    pieces: Sequence[str],
    vectors: Vectors,
    tokens: Sequence[NDArray[np.float32]],
    across: Column | None = None,
) -> Read:
    """What the head reads, of what the encoder made of a question and the pieces, in this order.

    `across` is kept beside it.
    """
    asked, vectors = vectors[0], vectors[1:]
    asked_tokens, tokens = tokens[0], tokens[1:]
    query = _unit(asked_tokens)
    inner = query[1:-1] if len(query) > 2 else query  # without [CLS] and [SEP]
    met = np.array([_met(inner, query, _unit(one)) for one in tokens], dtype=np.float32)
    named: dict[str, Column] = {"cosine": vectors @ asked}
    names = FEATURES[1:8]
    named |= {name: met[:, place] for place, name in enumerate(names)}
    named["bm25"], named["overlap"] = _words(question, pieces)
    named["length"] = np.log1p([len(piece) for piece in pieces]).astype(np.float32)
    named["digits"] = np.array(
        [any(char.isdigit() for char in piece) for piece in pieces], dtype=np.float32
    )
    for name in FEATURES[12:]:
        named[name] = _standardised(named[name.removeprefix("z_")])
    table = np.column_stack([named[name] for name in FEATURES])
    return Read(asked, vectors, table, across)


def _unit(tokens: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = tokens / np.maximum(
        np.linalg.norm(tokens, axis=1, keepdims=True), 1e-6
    )
    return unit


def _met(
    inner: NDArray[np.float32], query: NDArray[np.float32], piece: NDArray[np.float32]
) -> tuple[float, ...]:
    """How each token of one text is met by its likest of the other (Khattab and Zaharia 2020)."""
    forth = (inner @ piece.T).max(axis=1)
    back = (query @ piece.T).max(axis=0)
    soft = -math.log(float(np.exp(-_SOFT * forth).mean())) / _SOFT
    lowest = np.sort(forth)[:3].mean()
    return (
        float(forth.mean()), float(forth.min()), float(lowest), float(back.mean()),
        float(back.max()), soft, float(np.sort(back)[-3:].mean()),
    )  # fmt: skip


def _words(question: str, pieces: Sequence[str]) -> tuple[Column, Column]:
    """BM25 of the question's terms among these pieces alone, and the share of them found."""
    terms = list(dict.fromkeys(analyze(question)))
    counts = [Counter(analyze(piece)) for piece in pieces]
    lengths = np.array([max(count.total(), 1) for count in counts], dtype=np.float64)
    times = np.array([[count[term] for term in terms] for count in counts], dtype=np.float64)
    times = times.reshape(len(pieces), len(terms))
    holding = (times > 0).sum(axis=0)
    rarity = np.log(1 + (len(pieces) - holding + 0.5) / (holding + 0.5))
    norm = _K1 * (1 - _B + _B * lengths / lengths.mean())
    score = (rarity * times * (_K1 + 1) / (times + norm[:, None])).sum(axis=1)
    return score.astype(np.float32), ((times > 0).sum(axis=1) / max(len(terms), 1)).astype(
        np.float32
    )


def _standardised(values: Column) -> Column:
    spread = float(values.std())
    scaled: Column = (values - values.mean()) / (spread + 1e-6)
    return scaled


class EvidenceInfo(BaseModel):
    """What an evidence ranker says of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["evidence"] = "evidence"
    schema_version: Literal[1] = 1
    name: str
    encoder: str
    """Fingerprint of the encoder it was fitted on."""
    reranker: str = ""
    """Fingerprint of the reranker that its adapters change; empty where it has none."""
    features: tuple[str, ...] = FEATURES
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    answerable: tuple[float, ...]
    """Weights of the best piece's head score, its cosine and, with a reranker, what that says; and
    the bias: logistic."""
    threshold: float
    """Below it the catalog does not say."""
    provenance: dict[str, str] = {}


class EvidenceRanker:
    """Scores pieces of text as answers. Safe to use from many threads."""

    def __init__(
        self,
        info: EvidenceInfo,
        weights: Mapping[str, NDArray[Any]],
        adapters: Adapters | None = None,
    ) -> None:
        self.info = info
        self.adapters = adapters or {}
        """What is added to the layers of the reranker that `info` names."""
        self._weights = {name: part.astype(np.float32) for name, part in weights.items()}

    def head(self, given: Read) -> NDArray[np.float32]:
        """The head's own score of each piece, (n,): log-odds that it answers."""
        weights = self._weights
        table = (given.features - np.array(self.info.centre, np.float32)) / np.array(
            self.info.scale, np.float32
        )
        left = 10 * (given.question @ weights["question"])  # (h,)
        right = 10 * (given.pieces @ weights["piece"])  # (n, h)
        inner = np.concatenate([left * right, np.abs(left - right), table], axis=1)
        hidden = _gelu(inner @ weights["inner"] + weights["inner_bias"])  # (n, inner)
        score = hidden @ weights["outer"] + table @ weights["linear"] + weights["bias"]
        return np.asarray(score, dtype=np.float32)

    def rank(self, given: Read) -> NDArray[np.float32]:
        """One score a piece for their order, higher is better, (n,)."""
        total = np.zeros(len(given.pieces), dtype=np.float32)
        for _, adds in self.parts(given).values():
            total += adds
        return total

    def parts(self, given: Read) -> Mapping[str, tuple[Column, Column]]:
        """What `rank` adds up: by feature, the value of each piece and what it adds, (n,) each."""
        head = self.head(given)
        found = {"head": (head, np.float32(2.0) * _standardised(head))}
        if given.across is not None:
            odds = {"head": head, "across": given.across}
            found = {name: (column, column - column.mean()) for name, column in odds.items()}
        for name, weight in _BESIDE.items():
            column = given.column(name)
            found[name] = column, np.float32(weight) * _standardised(column)
        return found

    def answerable(self, given: Read) -> float:
        """How likely one of the pieces answers, 0 to 1."""
        if not len(given.pieces):
            return 0.0
        return answerable(self.info.answerable, self.statistics(given))

    def statistics(self, given: Read) -> tuple[float, ...]:
        """What `answerable` reads: the best head score, cosine and word of the reranker."""
        return tuple(float(column.max()) for column in self._speaking(given))

    def each(self, given: Read) -> NDArray[np.float32]:
        """How likely each piece answers, (n,): `answerable` of it alone."""
        found = zip(*(column.tolist() for column in self._speaking(given)), strict=True)
        return np.array([answerable(self.info.answerable, one) for one in found], np.float32)

    def _speaking(self, given: Read) -> list[Column]:
        """What tells whether a piece answers, (n,) each."""
        across = [] if given.across is None else [given.across]
        return [self.head(given), given.column("cosine"), *across]

    def says(self, probability: float) -> bool:
        """Whether so likely an answer is to be given."""
        return probability >= self.info.threshold


def answerable(fit: Sequence[float], statistics: Sequence[float]) -> float:
    """The logistic of the weighed statistics."""
    odds = sum(weight * value for weight, value in zip(fit, statistics, strict=False)) + fit[-1]
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, odds))))


def _gelu(values: Column) -> Column:
    """Gaussian error linear unit, its tanh form (Hendrycks and Gimpel 2016)."""
    inner = math.sqrt(2 / math.pi) * (values + 0.044715 * np.power(values, 3))
    result: Column = (0.5 * values * (1 + np.tanh(inner))).astype(np.float32)
    return result


def load_evidence(folder: Path) -> EvidenceRanker:
    """The evidence ranker in a folder.

    Raises:
        ModelError: missing, damaged, or of another version.
    """
    path = folder / INFO_FILE
    try:
        info = EvidenceInfo.model_validate_json(path.read_bytes())
        with HEADERS, (folder / WEIGHTS_FILE).open("rb") as file, np.load(file) as arrays:
            weights = dict(arrays)
        adapters = _load_adapters(folder / ADAPTERS_FILE) if info.reranker else {}
    except (OSError, ValidationError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ModelError(f"{folder} holds no evidence ranker that can be read. {_CURE}") from error
    if info.features != FEATURES:
        raise ModelError(f"{path} reads features that this daogou does not compute. {_CURE}")
    return EvidenceRanker(info, weights, adapters)


def _load_adapters(path: Path) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    with HEADERS, path.open("rb") as file, np.load(file) as arrays:
        parts = {name: part.astype(np.float32) for name, part in arrays.items()}
    names = {name.rpartition("/")[0] for name in parts}
    return {name: (parts[f"{name}/outer"], parts[f"{name}/inner"]) for name in sorted(names)}


def save_evidence(
    folder: Path,
    info: EvidenceInfo,
    weights: Mapping[str, NDArray[np.float32]],
    adapters: Adapters | None = None,
) -> None:
    """Write an evidence ranker into an existing folder."""
    halved: dict[str, Any] = {name: part.astype(np.float16) for name, part in weights.items()}
    np.savez(folder / WEIGHTS_FILE, **halved)
    if adapters:
        pairs = [(f"{name}/outer", outer) for name, (outer, _) in adapters.items()]
        pairs += [(f"{name}/inner", inner) for name, (_, inner) in adapters.items()]
        parts: dict[str, Any] = {name: part.astype(np.float16) for name, part in pairs}
        np.savez(folder / ADAPTERS_FILE, **parts)
    (folder / INFO_FILE).write_text(json.dumps(info.model_dump(), indent=1), encoding="utf-8")
