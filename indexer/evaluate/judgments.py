"""Queries and what people judged for them, read from the field's two plain formats."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.errors import EvaluationError
from engine.understand import clean

GRADES = range(4)
"""Grades a judgment may carry: those of `engine.types.Relevance`."""


@dataclass(frozen=True, slots=True)
class JudgedQueries:
    """What to ask, and which products people said answer it."""

    texts: Mapping[str, str]
    """Query id → text."""
    qrels: Mapping[str, Mapping[str, int]]
    """Query id → product id → grade."""
    notes: tuple[str, ...] = ()
    """What the reader chose on the way: it belongs beside the figures."""

    @property
    def ids(self) -> list[str]:
        """The queries that can be evaluated: those with a text and a judgment, as listed."""
        return [query_id for query_id in self.texts if self.qrels.get(query_id)]

    @property
    def without_text(self) -> list[str]:
        """Queries that are judged but have no text."""
        return [query_id for query_id in self.qrels if query_id not in self.texts]

    @property
    def without_judgments(self) -> list[str]:
        """Queries that have a text but no judgment."""
        return [query_id for query_id in self.texts if not self.qrels.get(query_id)]

    def only(self, wanted: Iterable[str], source: Path) -> JudgedQueries:
        """These queries alone, in their order here.

        Raises:
            EvaluationError: one of them, listed in the file `source`, is no query here.
        """
        chosen = set(wanted)
        unknown = sorted(chosen - self.texts.keys())
        if unknown:
            raise EvaluationError(
                f"{source}: {len(unknown)} of its ids are no query, the first is {unknown[0]!r}. "
                "List one id of the queries file in each line"
            )
        return JudgedQueries(
            {query_id: text for query_id, text in self.texts.items() if query_id in chosen},
            {query_id: grades for query_id, grades in self.qrels.items() if query_id in chosen},
            (*self.notes, f"only the queries listed in {source.name}"),
        )

    def without(self, unwanted: Collection[str], why: str) -> JudgedQueries:
        """All but these queries; `why` is noted where any was left out.

        Raises:
            EvaluationError: no query that can be evaluated would remain.
        """
        left_out = [query_id for query_id in self.ids if query_id in unwanted]
        if not left_out:
            return self
        if len(left_out) == len(self.ids):
            raise EvaluationError(f"all {len(left_out)} queries are {why}. Give others")
        kept = {one: text for one, text in self.texts.items() if one not in unwanted}
        return JudgedQueries(
            kept,
            {one: grades for one, grades in self.qrels.items() if one not in unwanted},
            (*self.notes, f"{len(left_out)} queries left out: {why}"),
        )


def read_judged_queries(queries: Path, qrels: Path) -> JudgedQueries:
    """The queries of a `query_id<TAB>text` file with the judgments of a TREC qrels file.

    Raises:
        EvaluationError: a line is malformed, an id comes twice, or two judgments disagree; the
            message names file and line.
    """
    return JudgedQueries(read_queries(queries), read_qrels(qrels))


def read_queries(path: Path) -> dict[str, str]:
    """Query id → text, of a UTF-8 file of `query_id<TAB>text` lines; blank lines are passed over.

    Raises:
        EvaluationError: a line has no id, no text or more columns, or an id comes twice.
    """
    texts: dict[str, str] = {}
    for place, line in _lines(path):
        columns = [_text(column, place).strip() for column in line.split(b"\t")]
        if len(columns) != 2 or not all(columns):
            raise EvaluationError(
                f"{place}: expected query_id<TAB>text, found {_text(line, place)!r}. Part the id "
                "from the text by one tab; for a published set give its --layout"
            )
        query_id, text = columns
        if query_id in texts:
            raise EvaluationError(f"{place}: query id {query_id!r} came before. Keep one of them")
        texts[query_id] = text
    return texts


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Query id → product id → grade, of a UTF-8 TREC qrels file.

    A judgment may be repeated, as long as its grade stays the same.

    Raises:
        EvaluationError: a line is malformed, a grade is outside 0 to 3, or two judgments disagree.
    """
    qrels: dict[str, dict[str, int]] = {}
    for place, line in _lines(path):
        # Bytes part at ASCII white space only: a product id may hold any other character.
        columns = [_text(column, place) for column in line.split()]
        if len(columns) != 4:
            raise EvaluationError(
                f"{place}: expected 'query_id 0 product_id grade', found {_text(line, place)!r}. "
                "Write four columns parted by spaces or tabs"
            )
        query_id, _, product_id, written = columns
        grade = _grade(written, place)
        known = qrels.setdefault(query_id, {}).setdefault(product_id, grade)
        if known != grade:
            raise EvaluationError(
                f"{place}: product {product_id!r} has grade {grade} for query {query_id!r}, but "
                f"{known} further up. Keep one of them"
            )
    return qrels


def read_ids(path: Path) -> list[str]:
    """The query ids of a file with one in each line; blank lines are passed over.

    Raises:
        EvaluationError: the file cannot be read or is not UTF-8.
    """
    return [_text(line, place).strip() for place, line in _lines(path)]


def check_query(text: str, place: str, longest: int) -> None:
    """See to it that a query can be asked, before any is.

    Args:
        text: what would be searched for.
        place: where it is from, for the message.
        longest: how many characters the engine searches.

    Raises:
        EvaluationError: it is longer, or has nothing that anyone sees.
    """
    if len(text) > longest:
        raise EvaluationError(
            f"{place} has {len(text):,} characters, at most {longest:,} are searched. "
            "Shorten it, or raise DAOGOU_MAX_QUERY_CHARS"
        )
    if not clean(text):
        raise EvaluationError(f"{place} is empty. Write it out, or take it out")


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """Each line that is not blank, with `file:line` for messages."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EvaluationError(
            f"{path} cannot be read ({error.strerror}). Check the path"
        ) from error
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if line.strip():
            yield f"{path}:{number}", line.rstrip(b"\r")


def _text(raw: bytes, place: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise EvaluationError(f"{place}: not UTF-8 ({error.reason}). Save it as UTF-8") from error


def _grade(written: str, place: str) -> int:
    if written not in {str(grade) for grade in GRADES}:
        raise EvaluationError(
            f"{place}: grade {written!r} is none of 0, 1, 2, 3. Map your grades to "
            "3 exact, 2 substitute, 1 complement, 0 irrelevant"
        )
    return int(written)
