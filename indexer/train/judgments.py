"""What people, machines and shoppers said of (query, product) pairs → lists to train on.

Spellings of one query (case, spaces, Unicode form) are one list. Pairs whose product the catalog
lacks are left out and counted by file in `left_out`, if one is given.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import CatalogError
from engine.normal import comparable
from engine.text import passage
from engine.types import Product, Relevance
from engine.understand import clean
from indexer.catalog.fields import CONVERTERS, cell_text, is_absent, to_id
from indexer.catalog.layouts import find_layout
from indexer.catalog.rejects import RowFault
from indexer.catalog.rows.columnar import read_parquet
from indexer.catalog.rows.delimited import read_delimited
from indexer.catalog.rows.files import damage_as_catalog_error, file_format
from indexer.catalog.rows.jsonlines import read_jsonlines
from indexer.catalog.rows.table import Table
from indexer.evaluate.judgments import read_judged_queries
from indexer.evaluate.layouts import ESCI_LOCALE
from indexer.train.lists import Candidate, Origin, QueryList

_GRADES = {
    spelling: int(relevance)
    for relevance in Relevance
    for spelling in (relevance.name, relevance.name[0], str(int(relevance)))
}
_OWN_TEXT = {
    name: column for name, column in find_layout("esci").columns.items() if name != "id"
}  # field of Product → column that may bring it
_TRAINED_ON = {"product_locale": ESCI_LOCALE, "split": "train"}

_WORTH = {"clicked": 1.5, "carted": 2.25, "purchased": 3.0}
_STRENGTH = {"clicked": 1, "carted": 2, "purchased": 4, "rated": 4, "dismissed": 2, "skipped": 0.1}
_RATED_ONLY = 1.5  # between the grades, for the stars to decide
_ENOUGH = 3.0  # evidence, in clicks, that a grade is half trusted with
_CLIP = 5.0  # an act seldom seen counts as no more than this many

_THREE_VALUED: Mapping[str, Mapping[float, float]] = {"ePQA": {0: 0.0, 1: 1.5, 2: 3.0}}
_TWO_VALUED: Mapping[float, float] = {0: 0.0, 1: 3.0}


def from_qrels(
    catalog: str,
    passages: Mapping[str, str],
    queries: Path,
    qrels: Path,
    *,
    classes: bool,
    left_out: Counter[str] | None = None,
) -> list[QueryList]:
    """The lists of people's judgments: `query_id<TAB>text` lines and TREC qrels.

    Args:
        catalog: its name.
        passages: product id → what the models read of it.
        queries: file of texts.
        qrels: file of grades, 0 to 3.
        classes: whether the grades are the classes of `Relevance`, not ratings.
        left_out: takes how many pairs the catalog has no product for.

    Raises:
        EvaluationError: a line of either file cannot be read, or judgments disagree.
    """
    judged = read_judged_queries(queries, qrels)
    lists = _Lists(catalog, passages, qrels, left_out)
    for query_id in judged.ids:
        for product_id, grade in judged.qrels[query_id].items():
            place = f"{qrels}, query {query_id!r}"
            lists.add(judged.texts[query_id], product_id, grade, Origin.JUDGED, place)
    return lists.made(classes=classes)


def from_labels(
    catalog: str,
    passages: Mapping[str, str],
    table: Path,
    *,
    origin: Origin,
    weight: float = 1.0,
    left_out: Counter[str] | None = None,
) -> list[QueryList]:
    """The lists of a table of judged pairs: Parquet, CSV, TSV or JSON Lines.

    Columns: `query`, `product_id`, and `label` or `esci_label`: E, S, C, I, the class's name, or
    its grade 0 to 3. A column `set` names the catalog; rows of others are passed over, and so are
    ESCI's of a `split` other than train, which are there to measure, or of another
    `product_locale` than is measured. Products that the catalog lacks are taken from
    `product_title`, `product_description`, `product_bullet_point`, `product_brand` and
    `product_color`, where the table has them.

    Raises:
        CatalogError: the file cannot be read, lacks a column, has a row that cannot be used or
            labels one pair in two ways, or no row is of this catalog, or of what of ESCI is
            trained on; it names file, row, field.
    """
    lists = _Lists(catalog, passages, table, left_out)
    others: set[str] = set()
    rows = 0
    for place, row in _rows(table, ("query", "product_id"), ("label", "esci_label")):
        rows += 1
        named = row.get("set")
        if named is not None and named != catalog:
            others.add(str(named))
            continue
        if any(row.get(column, wanted) != wanted for column, wanted in _TRAINED_ON.items()):
            continue
        grade = _labelled(row, place)
        own = _own_passage(row, place)
        query, product_id = _text(row, "query", place), _id(row, place)
        lists.add(query, product_id, grade, origin, place, weight=weight, own=own)
    if rows and not others and not lists.used:
        wanted = " and ".join(f"{column} {value!r}" for column, value in _TRAINED_ON.items())
        raise CatalogError(
            f"{table}: no row is of {wanted}, where it has these columns. Name a table to train "
            "on, or take the columns out"
        )
    if rows and not lists.used:
        raise CatalogError(
            f"{table}, field set: no row is of the catalog {catalog!r}, but of "
            f"{', '.join(sorted(others))}. Name the catalog as the table does"
        )
    return lists.made(classes=True)


def from_records(
    catalog: str,
    passages: Mapping[str, str],
    table: Path,
    *,
    eta: float = 1.0,
    left_out: Counter[str] | None = None,
) -> list[QueryList]:
    """Graded, weighted lists from a shop's purchases and feedback.

    Columns: `query`, `product_id`; optional counts or booleans `clicked`, `carted`, `purchased`,
    `dismissed`; `rated`, 1 to 5 stars; `position` it was shown at, from 1; `session`, the same for
    what was shown on one page (without it, the rows of a query are one page). Of the rows of a
    pair, with n(act) the sum of its counts:

        n(act)     strength · Σ count · min(position ** eta, 5)   for clicked, carted, purchased
                   strength · Σ count                             for rated, dismissed, skipped
        strength   clicked 1, carted 2, purchased 4, rated 4, dismissed 2, skipped 0.1
        best       purchased 3, carted 2.25, clicked 1.5: the most that was done; only rated 1.5
        liked      best + 0.75 · (mean stars - 3), kept within 0 and 3
        grade      liked · (n - n(dismissed) - n(skipped)) / n,   n the sum over all acts
        weight     n / (n + 3)

    Acts are weighted by the inverse propensity of a place being looked at, clipped (Joachims et
    al. 2017). A product left alone above the lowest act of its page was seen and skipped: a faint
    negative (skip-above, Joachims 2002). Below it, or on a page without acts, nothing is known,
    and nothing is said. The lists only rank: clicks do not tell a substitute from an exact match.

    Raises:
        CatalogError: the file cannot be read, lacks a column, or has a row that cannot be used;
            it names file, row and field.
    """
    evidence: dict[str, dict[str, _Evidence]] = defaultdict(lambda: defaultdict(_Evidence))
    spelled: dict[str, str] = {}
    pages: dict[tuple[str, str], list[tuple[float, bool, _Evidence]]] = defaultdict(list)
    for place, row in _rows(table, ("query", "product_id")):
        text = _query(_text(row, "query", place), place)
        query = comparable(text)
        spelled.setdefault(query, text)
        found = evidence[query][_id(row, place)]
        position = _position(row, place)
        acted = found.add(row, min(max(position, 1.0) ** eta, _CLIP), place)
        session = "" if is_absent(row.get("session")) else str(row["session"])
        pages[query, session].append((position, acted, found))
    for page in pages.values():
        lowest = max((position for position, acted, _ in page if acted), default=0.0)
        chosen = {id(found) for _, acted, found in page if acted}
        passed = {id(found): found for at, _, found in page if 0 < at < lowest}
        for found in [one for key, one in passed.items() if key not in chosen]:
            found.counts["skipped"] += 1
    lists = _Lists(catalog, passages, table, left_out)
    for query, products in evidence.items():
        for product_id, found in products.items():
            if found.known:
                lists.add(
                    spelled[query], product_id, found.grade, Origin.RECORDS, str(table),
                    weight=found.weight,
                )  # fmt: skip
    return lists.made(classes=False)


def from_evidence(
    table: Path, *, catalog: str = "evidence", leave_out: Collection[str] = ()
) -> list[QueryList]:
    """The lists of questions with texts that answer them or do not: one a question.

    Columns: `set`, `qid`, `question`, `candidate`, `label` (0, 1; in ePQA 2 answers and 1 is
    related). The candidate alone is the passage: where the product's title is known, all of a
    question's candidates share it, and it would only take their room. The lists rank: an answer
    is no class of product.

    Args:
        table: the file.
        catalog: what to call the collection.
        leave_out: sets not to read.

    Raises:
        CatalogError: the file cannot be read, lacks a column, or has a row that cannot be used.
    """
    lists: dict[tuple[str, str], tuple[str, list[Candidate]]] = {}
    for place, row in _rows(table, ("set", "qid", "question", "candidate", "label")):
        named, qid = _text(row, "set", place), _text(row, "qid", place)
        if named in leave_out:
            continue
        grades = _THREE_VALUED.get(named, _TWO_VALUED)
        grade = grades.get(_number(row, "label", place))
        if grade is None or is_absent(row.get("label")):
            raise CatalogError(
                f"{place}, field label: {row.get('label')!r} is no label of {named}. "
                f"Write one of {', '.join(map(str, grades))}"
            )
        question = _query(_text(row, "question", place), place)
        _, found = lists.setdefault((named, qid), (question, []))
        text = " ".join(_text(row, "candidate", place).split())
        if all(text != known.passage for known in found):
            name = f"{named}/{qid}/{len(found) + 1}"
            found.append(Candidate(name, text, Origin.EVIDENCE, table.name, grade))
    return [
        QueryList(question, catalog, tuple(found), classes=False)
        for question, found in lists.values()
    ]


class _Lists:
    """Gathers the candidates of each query, in the order of the file."""

    def __init__(
        self,
        catalog: str,
        passages: Mapping[str, str],
        source: Path,
        left_out: Counter[str] | None,
    ) -> None:
        self._catalog = catalog
        self._passages = passages
        self._source = source.name
        self._left_out = Counter[str]() if left_out is None else left_out
        self._found: dict[str, tuple[str, dict[str, Candidate]]] = {}
        self.used = False
        """Whether any pair was of this catalog, even if it lacks the product."""

    def add(
        self,
        query: str,
        product_id: str,
        grade: float,
        origin: Origin,
        place: str,
        *,
        weight: float = 1.0,
        own: str = "",
    ) -> None:
        """Take in one pair; `own` is the product's passage where the catalog has none.

        Raises:
            CatalogError: the pair has another grade already.
        """
        self.used = True
        text = self._passages.get(product_id, own)
        if not text:
            self._left_out[self._source] += 1
            return
        query = _query(query, place)
        _, candidates = self._found.setdefault(comparable(query), (query, {}))
        made = Candidate(product_id, text, origin, self._source, float(grade), weight=weight)
        if candidates.setdefault(product_id, made).grade != made.grade:
            raise CatalogError(
                f"{place}: product {product_id!r} has grade {grade:g} for {query!r}, but "
                f"{candidates[product_id].grade:g} further up. Keep one of them"
            )

    def made(self, *, classes: bool) -> list[QueryList]:
        """The lists, none empty."""
        return [
            QueryList(query, self._catalog, tuple(candidates.values()), classes)
            for query, candidates in self._found.values()
        ]


@dataclass(slots=True)
class _Evidence:
    """What shoppers did with one product after one query."""

    counts: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """By act, weighted by inverse propensity."""
    stars: float = 0.0
    """Sum over the ratings."""

    def add(self, row: Mapping[str, Any], inverse_propensity: float, place: str) -> bool:
        """Count a row; whether the shopper did anything."""
        acted = False
        for act in (*_WORTH, "dismissed"):
            count = _number(row, act, place)
            acted = acted or count > 0
            self.counts[act] += count * (inverse_propensity if act in _WORTH else 1.0)
        stars = _number(row, "rated", place)
        if stars and not 1 <= stars <= 5:
            raise CatalogError(
                f"{place}, field rated: {row['rated']!r} is no rating. Write 1 to 5 stars, or "
                "leave it empty"
            )
        self.counts["rated"] += stars > 0
        self.stars += stars
        return acted or stars > 0

    @property
    def known(self) -> bool:
        """Whether anything can be said of the product."""
        return any(self.counts.values())

    @property
    def _total(self) -> float:
        return sum(_STRENGTH[act] * count for act, count in self.counts.items())

    @property
    def grade(self) -> float:
        """0 to 3, as `from_records` says."""
        liked = max((_WORTH[act] for act in _WORTH if self.counts[act]), default=_RATED_ONLY)
        if self.counts["rated"]:
            liked += 0.75 * (self.stars / self.counts["rated"] - 3)
        against = sum(_STRENGTH[act] * self.counts[act] for act in ("dismissed", "skipped"))
        return min(max(liked, 0.0), 3.0) * (self._total - against) / self._total

    @property
    def weight(self) -> float:
        """0 to 1, growing with evidence."""
        return self._total / (self._total + _ENOUGH)


def _rows(
    path: Path, needed: tuple[str, ...], either: tuple[str, ...] = ()
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each row of a table with `file, row n` for messages.

    Raises:
        CatalogError: the file cannot be read, lacks a column, or a row is broken.
    """
    with damage_as_catalog_error(path):
        path.stat()
        with closing(_open(path)) as opened:
            missing = [name for name in needed if name not in opened.columns]
            if either and not set(either) & set(opened.columns):
                missing.append(" or ".join(either))
            if missing:
                raise CatalogError(
                    f"{path} has no column {missing[0]}. Rename the one that holds it"
                )
            for row in opened.rows:
                place = f"{path}, row {row.number}"
                if row.fault:
                    raise CatalogError(
                        f"{place}, field {row.fault.field or 'unknown'}: {row.fault.reason} "
                        f"({row.fault}). Correct the row or take it out"
                    )
                yield place, row.values


def _open(path: Path) -> Table:
    match file_format(path):
        case "parquet":
            return read_parquet(path)
        case "jsonl":
            return read_jsonlines(path)
        case "csv":
            return read_delimited(path)
        case "tsv":
            return read_delimited(path, "\t")
        case _:
            raise CatalogError(
                f"{path} is no table by its name. Readable: .csv, .tsv, .jsonl and .parquet"
            )


def _text(row: Mapping[str, Any], name: str, place: str) -> str:
    """A cell that must hold text."""
    try:
        return cell_text(row, name)
    except RowFault as fault:
        raise CatalogError(f"{place}, field {name}: {fault}") from fault


def _labelled(row: Mapping[str, Any], place: str) -> int:
    """The grade of a row's label, in whatever spelling."""
    column = "label" if is_absent(row.get("esci_label")) else "esci_label"
    label = _text(row, column, place).strip().removesuffix(".0").upper()
    if label not in _GRADES:
        raise CatalogError(
            f"{place}, field {column}: {row[column]!r} is no label. Write E, S, C or I, "
            "exact, substitute, complement or irrelevant, or a grade from 0 to 3"
        )
    return _GRADES[label]


def _id(row: Mapping[str, Any], place: str) -> str:
    """The product id, as the catalog reader reads it."""
    try:
        return to_id(_text(row, "product_id", place))
    except RowFault as fault:
        raise CatalogError(f"{place}, field product_id: {fault}. Write the catalog's id") from fault


def _query(text: str, place: str) -> str:
    """The words as the engine passes them to the models."""
    cleaned = clean(text)
    if not cleaned:
        raise CatalogError(f"{place}, field query: no words. Fill it or take the row out")
    return cleaned


def _number(row: Mapping[str, Any], name: str, place: str) -> float:
    """A cell that holds a number or yes and no, at least 0; 0 where it is empty."""
    value = row.get(name)
    if is_absent(value):
        return 0.0
    text = str(value).strip().casefold()
    try:
        number = float({"true": "1", "false": "0"}.get(text, text))
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise CatalogError(
            f"{place}, field {name}: {value!r} is no number from 0 up. "
            "Write a number, true or false, or leave it empty"
        )
    return number


def _position(row: Mapping[str, Any], place: str) -> float:
    """The place it was shown at; 0 where it is not known."""
    if is_absent(row.get("position")):
        return 0.0
    position = _number(row, "position", place)
    if position < 1:
        raise CatalogError(
            f"{place}, field position: {row['position']!r} is no place. Count from 1, or leave it "
            "empty"
        )
    return position


def _own_passage(row: Mapping[str, Any], place: str) -> str:
    """The passage of the product that the row itself describes; empty where it does not."""
    given = {
        name: row[column] for name, column in _OWN_TEXT.items() if not is_absent(row.get(column))
    }
    if "title" not in given:
        return ""
    fields: dict[str, Any] = {}
    for name, value in given.items():
        try:
            fields[name] = CONVERTERS[name](value)
        except RowFault as fault:
            raise CatalogError(
                f"{place}, field {_OWN_TEXT[name]}: {fault}. Correct the row or take it out"
            ) from fault
    return passage(Product(id="", **fields))
