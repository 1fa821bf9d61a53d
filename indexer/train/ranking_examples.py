"""What a final ranking is fitted on: the features of each judged query's candidates."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from engine.answer import Probabilities
from engine.errors import TrainingError
from engine.normal import comparable
from engine.retrieval.features import Column
from engine.search import SearchEngine
from engine.types import Stage
from engine.understand import clean
from indexer.catalog.fields import is_absent, scalar_text, to_id
from indexer.catalog.rejects import RowFault
from indexer.evaluate.judgments import JudgedQueries

Matrix = NDArray[np.float64]

Scores = Mapping[str, Mapping[str, Probabilities]]
"""Query id → product id → class probabilities, shape (4,)."""

CUT = 10


@dataclass(frozen=True, slots=True)
class Example:
    """One query: what its candidates look like and what they are worth."""

    query_id: str
    query: str
    """Its text, in the form in which two spellings of it are the same."""
    catalog: str
    features: Mapping[str, Column]
    """By name, (n,) each."""
    grades: NDArray[np.int64]
    """0 to 3, -1 where nobody judged; shape (n,)."""
    tie: NDArray[np.int64]
    """Places by ascending product id: they decide among equal scores; shape (n,)."""
    candidates: int
    """The first so many are what a search ranks. The others are judged and were not found."""
    ideal: tuple[int, ...]
    """Grades of all the query's judgments, found or not."""

    @property
    def worth(self) -> Matrix:
        """Gain of each: its grade, 0 where nobody judged."""
        return np.maximum(self.grades, 0).astype(np.float64)


def ndcg(example: Example, scores: NDArray[Any]) -> float:
    """nDCG@10 of the candidates by these scores, shape (n,), by METRICS.md."""
    among = slice(0, example.candidates)
    order = np.lexsort((example.tie[among], -scores[among]))[:CUT]
    ideal = _dcg(np.sort(np.array(example.ideal, dtype=np.float64))[::-1][:CUT])
    return _dcg(example.worth[among][order]) / ideal if ideal else 0.0


def _dcg(gains: Matrix) -> float:
    return float((gains / np.log2(np.arange(2, len(gains) + 2))).sum())


def varying(examples: Sequence[Example], names: Sequence[str]) -> tuple[str, ...]:
    """The names of features that differ within some query: others say nothing of a ranking."""
    return tuple(
        name
        for name in names
        if any(np.ptp(each.features[name]) > 1e-6 for each in examples if len(each.grades))
    )


def fold_of(examples: Sequence[Example], folds: int, seed: int) -> NDArray[np.int64]:
    """A fold for each example; the same (catalog, query) is in the same one. Shape (examples,).

    Queries are the same by their text, whatever their ids.
    """
    first: dict[tuple[str, str], str] = {}
    for each in sorted(examples, key=lambda one: one.query_id):
        first.setdefault((each.catalog, each.query), each.query_id)
    keys = sorted((catalog, query_id) for (catalog, _), query_id in first.items())
    order = np.random.default_rng(seed).permutation(len(keys))
    fold = {key: int(place) % folds for key, place in zip(keys, order, strict=True)}
    found = [fold[each.catalog, first[each.catalog, each.query]] for each in examples]
    return np.array(found, dtype=np.int64)


def gather(
    engine: SearchEngine, judged: JudgedQueries, stage: Stage, known: Scores
) -> Iterator[tuple[Example, Mapping[str, float]]]:
    """Each judged query as the stage has to rank it, and its statistics.

    Args:
        engine: computes the features.
        judged: what to ask and what is relevant.
        stage: the stage to be ranked.
        known: class probabilities that stand for the reranker's.
    """
    snapshot = engine.snapshot
    for query_id in judged.ids:
        grades = judged.qrels[query_id]
        found = engine.features(
            judged.texts[query_id], beside=list(grades), stage=stage, known=known.get(query_id)
        )
        ids = [product.id for product in snapshot.products.fetch(found.rows)]
        example = Example(
            query_id=query_id,
            query=comparable(clean(judged.texts[query_id])),
            catalog=snapshot.manifest.source,
            features=found.values,
            grades=np.array([grades.get(one, -1) for one in ids], dtype=np.int64),
            tie=snapshot.id_rank[found.rows].astype(np.int64),
            candidates=found.head,
            ideal=tuple(grades.values()),
        )
        yield example, found.statistics


def read_unanswerable(path: Path | None) -> list[str]:
    """The texts of a file of queries, with or without ids; none where no file is named.

    Raises:
        TrainingError: the file cannot be read, or has no query.
    """
    if path is None:
        return []
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path} cannot be read ({error}). Write one query a line") from error
    texts = [text for line in lines if (text := line.rpartition("\t")[2].strip())]
    if not texts:
        raise TrainingError(f"{path} has no query. Write one a line, or leave --unanswerable out")
    return texts


def read_scores(path: Path) -> dict[str, dict[str, Probabilities]]:
    """Held-out class probabilities: query id → product id → shape (4,).

    Args:
        path: Parquet or .npz with columns query_id, product_id, p0, p1, p2, p3 (grade 0 to 3).
            Ids may be numbers; rows without one are passed over.

    Raises:
        TrainingError: the file cannot be read, lacks a column, an id is no id, or a row does not
            sum to 1.
    """
    names = ["query_id", "product_id", "p0", "p1", "p2", "p3"]
    try:
        if path.suffix == ".npz":
            with path.open("rb") as opened, np.load(opened) as file:
                columns = [file[name].tolist() for name in names]
        else:
            import pyarrow.parquet as pq  # noqa: PLC0415 - slow to load

            table = pq.read_table(path, columns=names)
            columns = [table[name].to_pylist() for name in names]
        rows = list(zip(*columns, strict=True))
        classes = np.array([row[2:] for row in rows], dtype=np.float32).reshape(-1, 4)
    except (OSError, EOFError, KeyError, TypeError, ValueError, BadZipFile, zlib.error) as error:
        raise TrainingError(
            f"{path} holds no class probabilities ({error}). Write columns {', '.join(names)}"
        ) from error
    if not np.allclose(classes.sum(axis=1), 1, atol=1e-2):
        raise TrainingError(f"{path}: p0 to p3 of a row must sum to 1. Write probabilities")
    found: dict[str, dict[str, Probabilities]] = {}
    try:
        for (query_id, product_id, *_), own in zip(rows, classes, strict=True):
            if not (is_absent(query_id) or is_absent(product_id)):
                asked = scalar_text("query_id", query_id).strip()
                found.setdefault(asked, {})[to_id(product_id)] = own
    except RowFault as fault:
        raise TrainingError(f"{path}: an id is none ({fault}). Write ids as text") from fault
    return found
