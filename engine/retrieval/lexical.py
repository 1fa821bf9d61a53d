"""Keyword search: BM25 over one weighted bag of terms a product, in a tantivy index.

A field of weight w stands w times in the product's bag (BM25F with one length normalisation;
Robertson, Zaragoza and Taylor 2004), so a term has one posting list whatever fields hold it.
tantivy keeps compressed, memory-mapped postings and fixes k1 = 1.2, b = 0.75.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import tantivy
from numpy.typing import NDArray
from tantivy import Occur
from tantivy import Query as Clause

from engine.analysis import ANALYZER, STOPWORDS, analyze
from engine.errors import SnapshotDamagedError, SnapshotError, SnapshotSchemaError
from engine.exclusion import EXCLUSION, MARK, Request, absent, read_request
from engine.types import AttributeValue, Product, Ranking, Rows, RowSet, Scores

_WEIGHTS = {"title": 5, "brand": 2, "color": 2}  # every other text counts once
_SCORING = "tantivy bm25 k1=1.2 b=0.75"
_K1 = 1.2
_BAG = "2"  # raise it with any change to which texts a product's bag holds
_DECIDES = f"{ANALYZER}|{EXCLUSION}|{_BAG}|{_WEIGHTS}|{_SCORING}"
FINGERPRINT = hashlib.sha256(_DECIDES.encode()).hexdigest()
"""Of everything that decides a score: analyzer, exclusions, fields, weights, formula."""

_ROW, _TEXT = "row", "text"
_ABOUT = "lexical.json"
_DAMAGE = (
    FileNotFoundError,
    NotADirectoryError,
    IsADirectoryError,
    ValueError,
    KeyError,
    TypeError,
)
_CURE = "Roll back with `daogou snapshots rollback`, or index the catalog again"
_HEAP = 256_000_000  # bytes of postings held before a segment is written

_REPEATED = 80  # characters: brands, shelves and attributes that many products have alike
_MAX_TERMS = 64
_SPARE = 64  # hits collected beside those asked for: seldom do more tie with the last place
_FEW = 2_000  # rows that are looked up one by one
_ROW_COST = 8  # looking one allowed row up costs about as much as collecting this many hits


def _attribute_text(name: str, value: AttributeValue) -> str:
    """Name and value; a flag that is off says nothing."""
    if isinstance(value, bool):
        return name if value else ""
    words = value if isinstance(value, list) else [value]
    return " ".join([name, *map(str, words)])


def _plain_texts(product: Product) -> Iterator[str]:
    """The texts of weight 1."""
    yield from product.category
    yield from product.bullet_points
    yield product.description
    yield from (_attribute_text(name, value) for name, value in product.attributes.items())
    yield product.sku
    yield product.gtin


def _bag(product: Product, read: Callable[[str], Sequence[str]]) -> list[str]:
    """The product's terms, each as often as its fields weigh; `read` gives those of a text."""
    terms = [term for text in _plain_texts(product) for term in read(text)]
    for field, weight in _WEIGHTS.items():
        terms += [*read(getattr(product, field))] * weight
    return terms


def terms_of(product: Product) -> str:
    """The product's terms as `LexicalBuilder` takes them."""
    return " ".join(_bag(product, _both))


def _both(text: str) -> list[str] | tuple[str, ...]:
    """The terms of a text, and those of what it says is not there."""
    return _both_known(text) if len(text) <= _REPEATED else _both_of(text)


def _both_of(text: str) -> list[str]:
    return analyze(text) + absent(text)


@lru_cache(maxsize=65_536)
def _both_known(text: str) -> tuple[str, ...]:
    return tuple(_both_of(text))


class LexicalBuilder:
    """Writes a lexical index, one product at a time, in constant memory.

    One writing thread: the same products in the same order give the same ranking anywhere.
    """

    def __init__(self, folder: Path) -> None:
        schema = tantivy.SchemaBuilder()
        schema.add_unsigned_field(_ROW, indexed=True, fast=True)
        schema.add_text_field(_TEXT, tokenizer_name="terms", index_option="freq")
        folder.mkdir(parents=True, exist_ok=True)
        index = tantivy.Index(schema.build(), str(folder), reuse=False)
        terms = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build()
        index.register_tokenizer("terms", terms)
        index.config_reader("manual")  # else it would read, and lock, what `finish` has closed
        self._folder = folder
        self._index = index
        self._writer = index.writer(_HEAP, num_threads=1)
        self._count = 0

    def add(self, row: int, terms: str) -> None:
        """Index what `terms_of` gives of a product under its row."""
        document = tantivy.Document()
        document.add_unsigned(_ROW, row)
        document.add_text(_TEXT, terms)
        self._writer.add_document(document)
        self._count += 1

    def finish(self) -> None:
        """Write, merge and close the index. Its files do not change after."""
        self._writer.commit()
        self._writer.wait_merging_threads()
        about = self._folder / _ABOUT
        values = {"fingerprint": FINGERPRINT, "products": self._count}
        about.write_text(json.dumps(values), encoding="utf-8")
        settle(self._folder, about.stat().st_mode)

    def close(self) -> None:
        """End tantivy's writing threads; what was not finished is lost. May be called again.

        Left to garbage collection, they would write into a folder that is being swept.
        """
        self.__dict__.pop("_writer", None)


class LexicalIndex:
    """A finished lexical index, memory-mapped. Safe for concurrent searches."""

    def __init__(self, index: tantivy.Index, id_rank: NDArray[np.int32]) -> None:
        self._schema = index.schema
        self._searcher = index.searcher()
        self._id_rank = id_rank

    @classmethod
    def open(cls, folder: Path, id_rank: NDArray[np.int32]) -> LexicalIndex:
        """The index in the folder; `id_rank[row]` is a product id's place in ascending id order.

        Raises:
            SnapshotDamagedError: the folder holds no index, a damaged one or one of other products.
            SnapshotSchemaError: written by another version of analyzer, fields or scoring.
            SnapshotError: this user may not read it, or there is no room for temporary files.
        """
        try:
            products = _products_written(folder)
            with mirrored(folder) as mirror:
                opened = tantivy.Index.open(str(mirror))
                opened.config_reader("manual")  # the files never change: nothing to watch for
                index = cls(opened, id_rank)
        except _DAMAGE as error:
            raise SnapshotDamagedError(
                f"{folder}: not a keyword index ({error}). {_CURE}"
            ) from error
        except OSError as error:
            raise SnapshotError(
                f"{folder}: the keyword index cannot be read ({error}). "
                "Let the user who serves it read the whole store"
            ) from error
        if not products == index._searcher.num_docs == len(id_rank):
            raise SnapshotDamagedError(
                f"{folder}: {index._searcher.num_docs:,} products in the keyword index, "
                f"{products:,} written, {len(id_rank):,} in the snapshot. {_CURE}"
            )
        return index

    @property
    def fingerprint(self) -> str:
        """Hex digest of everything that decides a score: analyzer, fields, weights, formula."""
        return FINGERPRINT

    def search(
        self, queries: Sequence[str], depth: int, allowed: RowSet | None = None
    ) -> list[Ranking]:
        """The best `depth` products of each query that match at least one term.

        With `allowed`, exactly the ranking without it, minus the rows outside the set, then cut.
        Very long queries count their 64 rarest terms.
        """
        return [self._search(query, depth, allowed) for query in queries]

    def above(self, query: str, least: float, most: int) -> Ranking:
        """The products that `search` gives at least this score (above 0), the best `most` of them.

        Only products with a telling term are looked at: all that a product without one may score is
        less (the essential lists of MaxScore, Turtle and Flood 1995). Of "3 inch maple veneer" that
        spares most that have "3" and "inch".
        """
        terms = self._terms(query)
        clause = self._any(terms)
        telling = self._telling(terms, least)
        if clause is None or not telling or most < 1:
            return Ranking.empty()
        if len(telling) < len(terms):
            only = Clause.const_score_query(self._any(telling), 0.0)
            clause = Clause.boolean_query([(Occur.Must, only), (Occur.Must, clause)])
        found = self._collect(clause, min(most, len(self._id_rank)))
        return found.top(int((found.scores >= np.float32(least)).sum()))

    def _telling(self, terms: Sequence[str], least: float) -> list[str]:
        """The terms of which a product needs one to score so much, in their order."""
        size = self._searcher.num_docs
        held = np.array([self._searcher.doc_freq(_TEXT, term) for term in terms], dtype=np.float64)
        # BM25's weight of a term, which saturation never reaches; and a little for its rounding.
        bounds = np.log1p((size - held + 0.5) / (held + 0.5)) * (_K1 + 1) * 1.001
        order = np.argsort(bounds, kind="stable")
        spared = set(order[np.cumsum(bounds[order]) < least].tolist())
        return [term for place, term in enumerate(terms) if place not in spared]

    def finds(self, query: str) -> bool:
        """Whether `search` finds any product."""
        return any(self._searcher.doc_freq(_TEXT, term) for term in self._terms(query))

    def score(self, query: str, rows: Rows) -> Scores:
        """The scores `search` would give these rows, 0 without a match; shape (len(rows),)."""
        distinct, places = np.unique(rows, return_inverse=True)
        scores = np.zeros(len(distinct), dtype=np.float32)
        clause = self._clause(query)
        if clause is not None and len(distinct):
            found = self._within(clause, distinct)
            scores[np.searchsorted(distinct, found.rows)] = found.scores
        return scores[places]

    def excluded(self, query: str) -> tuple[str, ...]:
        """The terms that a product shall not have, each once."""
        return tuple(dict.fromkeys(self._request(query).excluded))

    def refused(self, query: str, rows: Rows) -> NDArray[np.bool_]:
        """Which of these rows have what the query excludes, and do not say that they do without.

        Of words that are excluded together a product has to have all; shape (len(rows),).
        """
        excluded = self.excluded(query)
        found = np.full(len(rows), bool(excluded))
        for term in excluded:
            if found.any():
                found[found] &= self._has(term, rows[found])
        for term in excluded:
            if found.any():
                found[found] &= ~self._has(MARK + term, rows[found])
        return found

    def refused_altered(self, query: str, altered: Sequence[Product]) -> NDArray[np.bool_]:
        """The same of products with these texts; shape (len(altered),)."""
        excluded = set(self.excluded(query))
        if not excluded:
            return np.zeros(len(altered), dtype=np.bool_)
        marked = {MARK + term for term in excluded}
        read = lru_cache(maxsize=None)(_both_of)  # most texts are the same in all
        bags = (set(_bag(other, read)) for other in altered)
        return np.array(
            [excluded <= bag and marked.isdisjoint(bag) for bag in bags], dtype=np.bool_
        )

    def _has(self, term: str, rows: Rows) -> NDArray[np.bool_]:
        """Which of these rows have a term."""
        clause = Clause.term_query(self._schema, _TEXT, term, "basic")
        return np.isin(rows, self._within(clause, np.unique(rows)).rows)

    def score_altered(
        self, query: str, row: int, product: Product, altered: Sequence[Product]
    ) -> Scores:
        """The scores a row's product would have, were its texts those of each; (len(altered),).

        Its length counts as it is, as if what is gone had been blotted out. Exact where a term
        stands as often as in the product or not at all; between, it saturates as in a text of
        average length.
        """
        read = lru_cache(maxsize=None)(_both_of)  # most texts are the same in all
        own = Counter(_bag(product, read))
        alone = {term: self._score_term(term, row) for term in self._terms(query) if own[term]}
        scores = np.zeros(len(altered), dtype=np.float32)
        for place, other in enumerate(altered):
            left = Counter(_bag(other, read))
            scores[place] = sum(
                score * _saturated(left[term]) / _saturated(own[term])
                for term, score in alone.items()
            )
        return scores

    def _score_term(self, term: str, row: int) -> float:
        """What one term adds to a row's score."""
        clause = Clause.term_query(self._schema, _TEXT, term, "freq")
        found = self._within(clause, np.array([row], dtype=np.int64))
        return float(found.scores[0]) if len(found) else 0.0

    def _search(self, query: str, depth: int, allowed: RowSet | None) -> Ranking:
        clause = self._clause(query)
        size = len(self._id_rank)
        passing = size if allowed is None else len(allowed)
        if clause is None or not passing or depth < 1:
            return Ranking.empty()
        limit = min(size, depth + _SPARE if passing == size else 2 * depth * size // passing)
        while True:
            if allowed is not None and passing * _ROW_COST <= limit:
                return self._within(clause, allowed.rows).top(depth)
            hits = self._collect(clause, limit)
            kept = hits if allowed is None else _among(hits, allowed)
            exhausted = len(hits) < limit or limit >= size
            # Rows that tie with the last place may be uncollected unless a lower score was seen.
            if exhausted or (len(kept) >= depth and hits.scores[-1] < kept.scores[depth - 1]):
                return kept.top(depth)
            limit = min(size, 4 * limit)

    def _clause(self, query: str) -> Clause | None:
        """Any of the query's terms; None where it has none.

        tantivy adds the terms' scores in the order of the clauses, so a product's score is the same
        to the last bit however the search came to it.
        """
        return self._any(self._terms(query))

    def _any(self, terms: Sequence[str]) -> Clause | None:
        clauses = [Clause.term_query(self._schema, _TEXT, term, "freq") for term in terms]
        return Clause.boolean_query([(Occur.Should, each) for each in clauses]) if clauses else None

    def _request(self, query: str) -> Request:
        """What the query wishes for and what it excludes."""
        return read_request(query, lambda term: self._searcher.doc_freq(_TEXT, term) > 0)

    def _terms(self, query: str) -> list[str]:
        """The distinct terms to look for: no function words beside others, at most 64.

        What the query excludes is looked for as what products say they do without.
        """
        request = self._request(query)
        terms = list(dict.fromkeys(analyze(request.wanted)))
        terms = [term for term in terms if term not in STOPWORDS] or terms
        terms += [MARK + term for term in dict.fromkeys(request.excluded)]
        if len(terms) > _MAX_TERMS:
            frequency = {term: self._searcher.doc_freq(_TEXT, term) for term in terms}
            terms = [term for term in terms if frequency[term]]
            terms = sorted(terms, key=frequency.__getitem__)[:_MAX_TERMS]
        return terms

    def _within(self, clause: Clause, rows: Rows) -> Ranking:
        """The ranking of exactly these rows."""
        wanted = rows.tolist()
        if len(wanted) <= _FEW:  # three times as quick as a set
            each = [Clause.term_query(self._schema, _ROW, row, "basic") for row in wanted]
            only = Clause.boolean_query([(Occur.Should, one) for one in each])
        else:
            only = Clause.term_set_query(self._schema, _ROW, wanted)
        both = [(Occur.Must, Clause.const_score_query(only, 0.0)), (Occur.Must, clause)]
        return self._collect(Clause.boolean_query(both), len(rows))

    def _collect(self, clause: Clause, limit: int) -> Ranking:
        """The `limit` best hits; which of those tied at the end are among them is arbitrary."""
        hits = self._searcher.search(clause, limit, count=False).hits
        addresses = [address for _, address in hits]
        rows = np.array(self._searcher.fast_field_values(_ROW, addresses), dtype=np.int64)
        scores = np.array([score for score, _ in hits], dtype=np.float32)
        return Ranking.sort(rows, scores, self._id_rank)


def _saturated(times: int) -> float:
    """How much a term counts that stands so often in a text of average length."""
    return times / (times + _K1)


def _products_written(folder: Path) -> int:
    """How many products the index says it holds; refuses one of another version."""
    about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
    if about["fingerprint"] != FINGERPRINT:
        raise SnapshotSchemaError(
            f"{folder}: keyword index made by another version of daogou. "
            "Index the catalog again: daogou index"
        )
    return int(about["products"])


def settle(folder: Path, mode: int) -> None:
    """Drop tantivy's locks, and let everybody read who may read the other files."""
    for lock in folder.glob("*.lock"):
        lock.unlink()
    # tantivy lets only the writing user read some; who serves may be another.
    for path in folder.iterdir():
        path.chmod(mode)


@contextlib.contextmanager
def mirrored(folder: Path) -> Iterator[Path]:
    """A temporary folder of links to the files of this one.

    tantivy makes a lock file beside any index it opens, but a snapshot never changes: it may be
    another user's, or on a read-only disk. All files are mapped at opening; then the links may go.
    """
    paths = [path.absolute() for path in folder.iterdir() if path.suffix != ".lock"]
    for path in paths:
        path.open("rb").close()  # tantivy's error would not tell forbidden from damaged
    try:
        mirror = Path(tempfile.mkdtemp(prefix="daogou-"))
    except OSError as error:
        raise SnapshotError(
            f"no folder for temporary files ({error}). Name one that can be written: TMPDIR=FOLDER"
        ) from error
    try:
        for path in paths:
            (mirror / path.name).symlink_to(path)
        yield mirror
    finally:
        # tantivy's watching thread makes one lock file as it starts, perhaps during the first.
        for _ in range(2):
            shutil.rmtree(mirror, ignore_errors=True)


def _among(ranking: Ranking, allowed: RowSet) -> Ranking:
    kept = allowed.mask[ranking.rows]
    return Ranking(ranking.rows[kept], ranking.scores[kept])
