"""Judgments of published sets, read in the files' own layout.

Adding a set is one reader and one line in `READERS`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow
import pyarrow.parquet

from engine.errors import EvaluationError
from indexer.catalog.fields import cell_text
from indexer.catalog.rejects import RowFault
from indexer.evaluate.judgments import JudgedQueries, read_judged_queries

_WANDS_GRADES = {"Exact": 3, "Partial": 2, "Irrelevant": 0}
_ESCI_GRADES = {"E": 3, "S": 2, "C": 1, "I": 0}
_ESCI_COLUMNS = ("query_id", "query", "product_id", "esci_label")


ESCI_LOCALE = "us"
"""The locale of ESCI that is measured and trained on."""


def read_layout(layout: str, queries: Path, qrels: Path | None) -> JudgedQueries:
    """The queries and judgments of `queries` and `qrels`, written as `layout` has them.

    Raises:
        EvaluationError: the layout is unknown, or a file is missing or not in it.
    """
    if layout not in READERS:
        raise EvaluationError(f"layout {layout!r} is unknown. Choose one of: {', '.join(READERS)}")
    return READERS[layout](queries, qrels)


def _read_trec(queries: Path, qrels: Path | None) -> JudgedQueries:
    if qrels is None:
        raise EvaluationError("the judgments are missing. Give them with --qrels FILE")
    return read_judged_queries(queries, qrels)


def read_wands(queries: Path, labels: Path | None) -> JudgedQueries:
    """WANDS: `query.csv` and `label.csv`, tab-separated (Chen et al. 2022).

    Exact is grade 3, Partial 2, Irrelevant 0.

    Raises:
        EvaluationError: a column is missing, a label unknown, or a query id comes twice.
    """
    if labels is None:
        raise EvaluationError("the judgments are missing. Give label.csv with --qrels")
    texts: dict[str, str] = {}
    for place, (query_id, text) in _tab_separated(queries, ("query_id", "query")):
        if query_id in texts:
            raise EvaluationError(f"{place}: query id {query_id!r} came before. Keep one of them")
        texts[query_id] = text
    judged = _tab_separated(labels, ("query_id", "product_id", "label"))
    rows = (
        (query_id, product_id, _graded(label, _WANDS_GRADES, place))
        for place, (query_id, product_id, label) in judged
    )
    qrels, note = _merged(rows)
    return JudgedQueries(texts, qrels, note)


def read_esci(
    examples: Path, _: Path | None = None, *, locale: str = ESCI_LOCALE, split: str = "test"
) -> JudgedQueries:
    """ESCI: the examples file, one row a judgment, queries included (Reddy et al. 2022).

    Rows of other locales and splits are passed over, where the file has those columns.

    Raises:
        EvaluationError: not Parquet, a column missing, a cell empty, a label unknown, or no row
            left.
    """
    chosen = {"product_locale": locale, "split": split}
    texts: dict[str, str] = {}
    triples: list[tuple[str, str, int]] = []
    for number, row in enumerate(_parquet_rows(examples, chosen), start=1):
        if any(row.get(column, value) != value for column, value in chosen.items()):
            continue
        place = f"{examples}, row {number}"
        query_id, query, product_id, label = (_cell(row, name, place) for name in _ESCI_COLUMNS)
        grade = _graded(label, _ESCI_GRADES, place)
        texts.setdefault(query_id, query)
        triples.append((query_id, product_id, grade))
    if not triples:
        raise EvaluationError(f"{examples} has no row of locale {locale!r} and split {split!r}")
    qrels, note = _merged(triples)
    return JudgedQueries(texts, qrels, (f"ESCI, locale {locale}, split {split}", *note))


READERS: dict[str, Callable[[Path, Path | None], JudgedQueries]] = {
    "trec": _read_trec,
    "wands": read_wands,
    "esci": read_esci,
}
"""Layout → its reader, which takes what --queries and --qrels name."""


def _merged(
    rows: Iterable[tuple[str, str, int]],
) -> tuple[dict[str, dict[str, int]], tuple[str, ...]]:
    """Qrels of (query, product, grade) rows; where two disagree the lower grade stands, noted.

    Published sets are taken as they are: a disagreement in them is no error of the caller's.
    """
    qrels: dict[str, dict[str, int]] = {}
    disagreements = 0
    for query_id, product_id, grade in rows:
        grades = qrels.setdefault(query_id, {})
        known = grades.setdefault(product_id, grade)
        disagreements += known != grade
        grades[product_id] = min(known, grade)
    if not disagreements:
        return qrels, ()
    return qrels, (f"{disagreements} judgments contradict another: the lower grade stands",)


def _graded(label: str, grades: dict[str, int], place: str) -> int:
    if label not in grades:
        raise EvaluationError(
            f"{place}: label {label!r} is none of {', '.join(grades)}. Check --layout"
        )
    return grades[label]


def _tab_separated(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
    """These columns of each row, with `file:line` for messages."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, delimiter="\t")
            _require(columns, rows.fieldnames or (), path)
            for row in rows:
                values = [row[column] for column in columns]
                if not all(values):
                    raise EvaluationError(f"{path}:{rows.line_num}: an empty column. Fill it")
                yield f"{path}:{rows.line_num}", values
    except OSError as error:
        raise EvaluationError(
            f"{path} cannot be read ({error.strerror}). Check the path"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise EvaluationError(
            f"{path} is not tab-separated UTF-8 ({error}). Check --layout"
        ) from error


def _parquet_rows(path: Path, optional: Iterable[str]) -> Iterator[dict[str, object]]:
    """The rows of ESCI's examples, a batch in memory at a time."""
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            _require(_ESCI_COLUMNS, names, path)
            present = [name for name in (*_ESCI_COLUMNS, *optional) if name in names]
            for batch in file.iter_batches(columns=present):
                yield from batch.to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise EvaluationError(
            f"{path} is no readable Parquet file ({error}). Check the path and --layout"
        ) from error


def _cell(row: Mapping[str, object], name: str, place: str) -> str:
    """A cell that must hold text, or a number that stands for it."""
    try:
        return cell_text(row, name)
    except RowFault as fault:
        raise EvaluationError(f"{place}, field {name}: {fault}") from fault


def _require(needed: tuple[str, ...], present: Iterable[str], path: Path) -> None:
    missing = [column for column in needed if column not in set(present)]
    if missing:
        raise EvaluationError(
            f"{path} has no column {', '.join(missing)}. Check --layout, or rename the columns"
        )
