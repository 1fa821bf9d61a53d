"""Queries with labelled spans → the tagger that reads what a query names."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from engine.checksums import FileEntry
from engine.errors import CatalogError, TrainingError
from engine.guide.chain import OUTSIDE, runs
from engine.guide.spans import (
    INFO_FILE,
    WEIGHTS_FILE,
    SpansInfo,
    SpanTagger,
    save_spans,
    tokenizer_of,
)
from engine.models.encoder import SHIPPED_ENCODER
from engine.models.tokenizer import load_tokenizer
from indexer.folders import CARD, replaceable, replaced

FEWEST = 50
"""Queries without which nothing is learned."""
_FOLDS = 5
_TEMPERATURES = (0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.6)
_SCORING = {"outer", "bias", "linear", "begin", "end", "follow"}
_LABEL = re.compile(r"O|[BI]-\s*\S.*")
_SECONDS = 0.014
_SECONDS_READING = 60  # of the encoder's reading its own vocabulary


@dataclass(frozen=True, slots=True)
class Labelled:
    """A query whose words are labelled."""

    words: tuple[str, ...]
    labels: tuple[str, ...]
    """One a word: `O`, or `B-` or `I-` and a type."""

    @property
    def spans(self) -> set[tuple[int, int, str]]:
        """First word, word after the last, type."""
        return set(runs(self.labels))


class _Line(BaseModel):
    tokens: list[str]
    labels: list[str]


def read_labelled(path: Path) -> list[Labelled]:
    """The queries of a JSON Lines file: `tokens` and `labels` of each, as many, BIO.

    Raises:
        CatalogError: the file cannot be read, has no query, or a line is no labelled query.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # JSON may hold other line ends
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"{path} cannot be read: {error}") from error
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            one = _Line.model_validate_json(line)
        except ValidationError as error:
            raise CatalogError(
                f"{path}, line {number}: not a query with tokens and labels. "
                'Write {"tokens": ["red", "kettle"], "labels": ["B-color", "B-core_product_type"]}'
            ) from error
        odd = [label for label in one.labels if not _LABEL.fullmatch(label)]
        if odd or not one.tokens or len(one.tokens) != len(one.labels):
            why = f"{odd[0]!r} is no label" if odd else "a label is needed for each token"
            raise CatalogError(f"{path}, line {number}: {why}. Labels are O, B-TYPE and I-TYPE")
        found.append(Labelled(tuple(one.tokens), tuple(one.labels)))
    if not found:
        raise CatalogError(f"{path} has no query. Write one with its labels in each line")
    return found


def types_of(queries: Sequence[Labelled]) -> tuple[str, ...]:
    """The types that occur, in alphabetical order."""
    return tuple(sorted({label[2:] for one in queries for label in one.labels if label != OUTSIDE}))


def folds(
    queries: Sequence[Labelled], count: int, seed: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Places of the queries inside and outside of each fold; the same words are on one side."""
    keys = [" ".join(sorted(word.casefold() for word in one.words)) for one in queries]
    groups = np.unique(keys, return_inverse=True)[1]
    drawn = np.random.default_rng(seed).integers(0, count, int(groups.max()) + 1)[groups]
    for fold in range(count):
        yield np.flatnonzero(drawn != fold), np.flatnonzero(drawn == fold)


def train_spans(
    queries: Sequence[Labelled], *, name: str, seed: int = 0, known: NDArray[np.float32]
) -> SpanTagger:
    """The tagger fitted on these queries.

    How sure it is is fitted on a fifth of them, by a tagger that had not seen it.

    Args:
        queries: labelled.
        name: of the tagger.
        seed: of the training.
        known: what the encoder makes of its vocabulary: `read_vocabulary`.

    Raises:
        TrainingError: there are too few queries.
    """
    from indexer.train.spans_model import fit  # noqa: PLC0415 - torch is slow to load

    check_enough(queries)
    info = SpansInfo(
        name=name, types=types_of(queries), window=2, tokenizer=tokenizer_of(SHIPPED_ENCODER)
    )
    tokenizer = load_tokenizer(SHIPPED_ENCODER, 16)
    inside, outside = next(folds(queries, _FOLDS, seed))
    part = fit([queries[place] for place in inside], info, known, seed=seed)
    unseen = [queries[place] for place in outside]
    best = min(
        _TEMPERATURES,
        key=lambda one: surprise(SpanTagger(info, cooled(part, one), tokenizer), unseen),
    )
    weights = cooled(fit(queries, info, known, seed=seed), best)
    info = info.model_copy(update={"provenance": {"temperature": f"{best:g}"}})
    return SpanTagger(info, weights, tokenizer)


def cooled(weights: Mapping[str, NDArray[Any]], temperature: float) -> dict[str, NDArray[Any]]:
    """The weights with all scores divided by a temperature (Guo et al. 2017): no label changes."""
    return {
        name: (part / temperature).astype(part.dtype) if name in _SCORING else part
        for name, part in weights.items()
    }


def surprise(tagger: SpanTagger, queries: Sequence[Labelled]) -> float:
    """Mean log loss of the confidence that the spans found are right; 0 where none is found."""
    losses = [
        -math.log(min(max(sure if (first, last, kind) in one.spans else 1 - sure, 1e-3), 1.0))
        for one in queries
        for first, last, kind, sure in tagger.tag_words(one.words)
    ]
    return sum(losses) / max(len(losses), 1)


def check_enough(queries: Sequence[Labelled]) -> None:
    """Raises TrainingError where there are too few queries."""
    if len(queries) < FEWEST:
        raise TrainingError(f"{len(queries)} labelled queries: at least {FEWEST} are needed")


def outline(queries: Sequence[Labelled]) -> Iterator[str]:
    """What a training on these queries would read, and about how long it would take."""
    spans = Counter(kind for one in queries for _, _, kind in one.spans)
    yield f"{len(queries):,} queries, {spans.total():,} spans of {len(spans)} types"
    yield from (f"  {kind}: {count:,}" for kind, count in spans.most_common())
    minutes = (_SECONDS_READING + _SECONDS * len(queries)) / 60
    yield f"About {minutes:.1f} minutes of training on one core."


def write_spans(
    queries: Path,
    out: Path,
    *,
    seed: int = 0,
    threads: int = 0,
    known: NDArray[np.float32] | None = None,
) -> SpansInfo:
    """Train on the queries of a file and write into `out`; what the tagger says of itself.

    `known` is as for `train_spans`, read from the shipped encoder if left out.

    Raises:
        CatalogError: the queries cannot be read.
        SettingsError: something else than a span tagger is in `out`.
        TrainingError: there are too few.
    """
    from indexer.train.spans_model import read_vocabulary  # noqa: PLC0415 - torch is slow to load

    out = replaceable(out, INFO_FILE, WEIGHTS_FILE)
    labelled = read_labelled(queries)
    check_enough(labelled)
    began = monotonic()
    if known is None:
        known = read_vocabulary(SHIPPED_ENCODER, threads)
    tagger = train_spans(labelled, name=out.name, seed=seed, known=known)
    provenance = {
        "queries": f"{len(labelled):,}",
        "file": FileEntry.of(queries).sha256,
        "seed": str(seed),
        "trained": f"{datetime.now(UTC):%Y-%m-%d} in {monotonic() - began:.0f} s",
        **tagger.info.provenance,
    }
    info = tagger.info.model_copy(update={"provenance": provenance})
    with replaced(out) as folder:
        save_spans(folder, info, tagger.weights)
        (folder / CARD).write_text(_card(info, folder, labelled), encoding="utf-8")
    return info


def _card(info: SpansInfo, folder: Path, queries: Sequence[Labelled]) -> str:
    """The model card (Mitchell et al. 2019)."""
    learnt = info.provenance
    spans = Counter(kind for one in queries for _, _, kind in one.spans)
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in spans.most_common())
    files = {name: FileEntry.of(folder / name) for name in (WEIGHTS_FILE, INFO_FILE)}
    rows = "\n".join(
        f"| {name} | {one.size:,} bytes, {one.sha256} |" for name, one in files.items()
    )
    return f"""# {info.name}, span tagger of daogou

Reads which words of a query name the product, its maker, a colour, a size, and so on. Read by
`daogou serve` and `daogou search`: its spans are looked up in the catalog's own values.

## What it is

| | |
|---|---|
| model | linear-chain conditional random field over a window of {2 * info.window + 1} words |
| a word is | the mean of its character n-grams (hashed) and of its WordPieces |
| types | {", ".join(info.types)} |
| tokenizer, SHA-256 | {info.tokenizer} |

## Where it comes from

| | |
|---|---|
| base | the WordPieces of daogou-encoder-1 (sentence-transformers/all-MiniLM-L6-v2, Apache-2.0) |
| queries | {learnt["queries"]} labelled, SHA-256 {learnt["file"]} |
| spans | {kinds} |
| trained | {learnt["trained"]}, seed {learnt["seed"]} |
| temperature | {learnt["temperature"]}, on a fifth of the queries, unseen |
| repeat | daogou train spans --queries FILE --out DIR --seed {learnt["seed"]} |

## Files

| | |
|---|---|
{rows}

## Limits

It reads English shopping queries in the types it was shown, at most 64 words of each. What it says
of a word is a guess until the catalog's values confirm it: nothing it says alone becomes a filter.
What its base learned from its training text, unfairness included, it kept. Measure it with
`daogou evaluate spans --queries FILE`.
"""
