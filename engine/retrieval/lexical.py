"""Keyword search: BM25 over one weighted bag of terms a product, in a tantivy index.

tantivy keeps compressed, memory-mapped postings and fixes k1 = 1.2, b = 0.75.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tantivy
from numpy.typing import NDArray
from tantivy import Occur
from tantivy import Query as Clause

from engine.analysis import ANALYZER, STOPWORDS, analyze
from engine.arrays import open_array
from engine.errors import SnapshotDamagedError, SnapshotError, SnapshotSchemaError
from engine.exclusion import EXCLUSION, MARK, Request, read_request
from engine.retrieval.bag import BAG, bag, both_of
from engine.retrieval.essential import K1, Counts, bounds_of, costs, essential
from engine.retrieval.index_files import mirrored, settle
from engine.types import Collected, Product, Ranking, Rows, RowSet, Scores

_SCORING = "tantivy bm25 k1=1.2 b=0.75"
_DECIDES = f"{ANALYZER}|{EXCLUSION}|{BAG}|{_SCORING}"
FINGERPRINT = hashlib.sha256(_DECIDES.encode()).hexdigest()
"""Of everything that decides a score: analyzer, exclusions, fields, weights, formula."""

_ROW, _TEXT = "row", "text"
_ABOUT, _BEST = "lexical.json", "best.npy"
_DAMAGE = (
    FileNotFoundError,
    NotADirectoryError,
    IsADirectoryError,
    ValueError,
    KeyError,
    TypeError,
)
_CURE = "Roll back with `daogou snapshots rollback`, or index the catalog again"
_HEAP = 1_000_000_000  # bytes of postings held, at most, before a segment is written

_MAX_TERMS = 64
_PROBED = 0.1  # of what a query takes may be spent on knowing which of its words tell
_MANY = 100_000  # postings from which that may pay
_ROUNDED = 1.0001  # more than rounding adds to a sum of scores
_SPARE = 64  # hits collected beside those asked for: seldom do more tie with the last place
_FEW = 2_000  # rows that are looked up one by one
_OFTEN = 5_000  # products that have a term, of which the best are kept
_MOST_KEPT = 50_000  # such terms
_KEPT = 100  # of the best of each
_ROW_COST = 8  # looking one allowed row up costs about as much as collecting this many hits


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
        self._index.reload()  # what was written is read from here on
        best = _find_best(self._index.searcher(), self._index.schema)
        np.save(self._folder / _BEST, best.rows)
        values = {"fingerprint": FINGERPRINT, "products": self._count, "best": best.scores}
        about.write_text(json.dumps(values), encoding="utf-8")
        settle(self._folder, about.stat().st_mode)

    def close(self) -> None:
        """End tantivy's writing threads; what was not finished is lost. May be called again.

        Left to garbage collection, they would write into a folder that is being swept.
        """
        self.__dict__.pop("_writer", None)


class LexicalIndex:
    """A finished lexical index, memory-mapped. Safe for concurrent searches."""

    def __init__(self, index: tantivy.Index, id_rank: NDArray[np.int32], best: _Best) -> None:
        self._best = best.scores
        self._best_rows: dict[str, NDArray[np.int32]] = dict(
            zip(best.scores, best.rows, strict=True)
        )
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
            with mirrored(folder) as mirror:  # says first what may not be read
                products, best = _read_about(folder)
                opened = tantivy.Index.open(str(mirror))
                opened.config_reader("manual")  # the files never change: nothing to watch for
                index = cls(opened, id_rank, best)
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

    def search_and_collect(
        self, query: str, depth: int, allowed: RowSet | None, *, most: int, share: float
    ) -> Collected:
        """As `LexicalRetriever` has it.

        Where many products have the words, those with the rarest first say which scores count; what
        cannot reach them is spared.
        """
        terms = self._terms(query)
        most = min(most, len(self._id_rank))
        if not terms or most < 1:
            return Collected(self._search(query, depth, allowed), Ranking.empty())
        first, spared = self._essential(terms, depth, share)
        collected = self._collect(self._with_any(terms, first), most)
        if len(collected) == most < len(self._id_rank):
            spared = max(spared, float(collected.scores[-1]))
        kept = collected if allowed is None else _among(collected, allowed)
        if not spared or _parted(kept, depth, spared):
            return Collected(kept.top(depth), collected)
        return Collected(self._search(query, depth, allowed), collected)

    def _essential(self, terms: Mapping[str, int], depth: int, share: float) -> tuple[int, float]:
        """How many terms, the rarest, to go through for what `search_and_collect` is to find.

        And more than a product without any of them can score.
        """
        held = np.fromiter(terms.values(), np.int64, len(terms))
        best = np.fromiter((self._best.get(term, np.inf) for term in terms), float, len(terms))
        bounds = np.minimum(bounds_of(held, self._searcher.num_docs), best * _ROUNDED)
        first = essential(held, bounds, self._least(terms, held, depth, share))
        return first, float(bounds[first:].sum())

    def _least(self, terms: Mapping[str, int], held: Counts, depth: int, share: float) -> float:
        """A score that the `depth` best at least have, and all with this share of the best score.

        By the products with the rarest terms; 0 where looking at those would gain little.
        """
        rarest = 1 + int(np.searchsorted(held, depth))  # this one alone brings as many
        total = held.sum()
        if not share or total < _MANY or rarest >= len(terms):
            return 0.0
        if costs(held)[rarest - 1] > _PROBED * total:
            return 0.0
        found = self._collect(self._with_any(terms, rarest), max(depth, 1))
        lowest = float(found.scores[-1]) if depth else np.inf
        return min(share * float(found.scores[0]), lowest)

    def _with_any(self, terms: Mapping[str, int], first: int) -> Clause:
        """Products with any of the first so many terms, scored by all, in their order."""
        clauses = [_term(self._schema, term) for term in terms]
        clause = Clause.boolean_query([(Occur.Should, each) for each in clauses[:first]])
        for each in clauses[first:]:
            clause = Clause.boolean_query([(Occur.Must, clause), (Occur.Should, each)])
        return clause

    def best_score(self, query: str) -> float:
        """The best score `search` gives any product, 0 where it finds none."""
        terms = self._terms(query)
        if not terms:
            return 0.0
        only = next(iter(terms))
        if len(terms) == 1 and only in self._best:
            return self._best[only]
        first, _ = self._essential(terms, 1, 1.0)
        return float(self._collect(self._with_any(terms, first), 1).scores[0])

    def typical(self, query: str, most: int) -> Rows:
        """Products among the best for the words, at most so many (100), best first.

        Where very many have the words, which of those as good as the last are among them is
        arbitrary: that saves looking at all of them, or again.
        """
        terms = self._terms(query)
        only = next(iter(terms), "")
        if len(terms) == 1 and only in self._best_rows:
            kept: Rows = self._best_rows[only][:most].astype(np.int64)
            return kept
        if sum(terms.values()) <= _MANY:
            return self._search(query, most, None).rows
        first, _ = self._essential(terms, most, 1.0)
        return self._collect(self._with_any(terms, first), most).rows

    def finds(self, query: str) -> bool:
        """Whether `search` finds any product."""
        return bool(self._terms(query))

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
        read = lru_cache(maxsize=None)(both_of)  # most texts are the same in all
        bags = (set(bag(other, read)) for other in altered)
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
        read = lru_cache(maxsize=None)(both_of)  # most texts are the same in all
        own = Counter(bag(product, read))
        alone = {term: self._score_term(term, row) for term in self._terms(query) if own[term]}
        scores = np.zeros(len(altered), dtype=np.float32)
        for place, other in enumerate(altered):
            left = Counter(bag(other, read))
            scores[place] = sum(
                score * _saturated(left[term]) / _saturated(own[term])
                for term, score in alone.items()
            )
        return scores

    def _score_term(self, term: str, row: int) -> float:
        """What one term adds to a row's score."""
        clause = _term(self._schema, term)
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
            if len(hits) < limit or limit >= size or _parted(kept, depth, hits.scores[-1]):
                return kept.top(depth)
            limit = min(size, 4 * limit)

    def _clause(self, query: str) -> Clause | None:
        """Any of the query's terms; None where it has none.

        tantivy adds the terms' scores in the order of the clauses, so a product's score is the same
        to the last bit however the search came to it.
        """
        terms = self._terms(query)
        return self._with_any(terms, len(terms)) if terms else None

    def _request(self, query: str) -> Request:
        """What the query wishes for and what it excludes."""
        return read_request(query, lambda term: self._searcher.doc_freq(_TEXT, term) > 0)

    def _terms(self, query: str) -> dict[str, int]:
        """The terms to look for and how many products have each, the rarest first, at most 64.

        No function words beside others. What the query excludes is looked for as what products say
        they do without.
        """
        request = self._request(query)
        terms = list(dict.fromkeys(analyze(request.wanted)))
        terms = [term for term in terms if term not in STOPWORDS] or terms
        terms += [MARK + term for term in dict.fromkeys(request.excluded)]
        held = ((term, self._searcher.doc_freq(_TEXT, term)) for term in terms)
        known = sorted((one for one in held if one[1]), key=itemgetter(1))
        return dict(known[:_MAX_TERMS])

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


def _term(schema: tantivy.Schema, term: str) -> Clause:
    """Products with a term, scored by it."""
    return Clause.term_query(schema, _TEXT, term, "freq")


def _saturated(times: int) -> float:
    """How much a term counts that stands so often in a text of average length."""
    return times / (times + K1)


class _Best(NamedTuple):
    """The best products for each term that many have: looking for them takes long."""

    scores: dict[str, float]
    """Of the very best by term."""
    rows: NDArray[np.int32]
    """The best by the same terms, (terms, kept)."""


def _find_best(searcher: tantivy.Searcher, schema: tantivy.Schema) -> _Best:
    """The best of every term that `_OFTEN` products have."""
    frequent = searcher.terms_with_prefix(_TEXT, "", limit=_MOST_KEPT)  # most frequent first
    scores: dict[str, float] = {}
    rows = []
    for term, products in frequent:
        if products >= _OFTEN:
            hits = searcher.search(_term(schema, term), _KEPT, count=False).hits
            scores[term] = float(hits[0][0])
            rows.append(searcher.fast_field_values(_ROW, [address for _, address in hits]))
    return _Best(scores, np.array(rows, dtype=np.int32).reshape(len(rows), _KEPT))


def _read_about(folder: Path) -> tuple[int, _Best]:
    """How many products the index says it holds, and the best it keeps.

    Refuses one of another version.
    """
    about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
    if about["fingerprint"] != FINGERPRINT:
        raise SnapshotSchemaError(
            f"{folder}: keyword index made by another version of daogou. "
            "Index the catalog again: daogou index"
        )
    scores = {term: float(score) for term, score in dict(about.get("best", {})).items()}
    if not scores:  # none is so frequent, or the index is of before 2026-11-28
        return int(about["products"]), _Best(scores, np.empty((0, _KEPT), dtype=np.int32))
    rows = open_array(folder / _BEST, np.int32, 2, rows=len(scores), width=_KEPT)
    return int(about["products"]), _Best(scores, rows)


def _parted(kept: Ranking, depth: int, rest: float) -> bool:
    """Whether what was not collected, and scores so much at most, is not of the `depth` best."""
    return len(kept) >= depth > 0 and bool(kept.scores[depth - 1] > rest)


def _among(ranking: Ranking, allowed: RowSet) -> Ranking:
    kept = allowed.mask[ranking.rows]
    return Ranking(ranking.rows[kept], ranking.scores[kept])
