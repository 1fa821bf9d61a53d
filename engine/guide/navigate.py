"""To the right shelf: a search read, spelt and placed, and ways on where it leads nowhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from threading import Lock

from cachetools import LRUCache, cached

from engine.guide.explain import Explanation
from engine.guide.relax import Relaxation, relax_filter, wordings
from engine.guide.spelling import Correction, Speller
from engine.guide.understanding import SURE, QueryReader, Statement, without
from engine.models.tokenizer import load_tokenizer
from engine.models.tokens import READ_TOKENS
from engine.retrieval.filters import allowed_rows
from engine.retrieval.phrases import words_of
from engine.retrieval.shelves import Shelf
from engine.retrieval.suggestions import Completion
from engine.snapshot import Snapshot
from engine.types import And, Filter, SearchResult
from engine.understand import clean

Search = Callable[[str, Filter | None], SearchResult]
"""One page for words and a filter, all else being as asked."""

_SHELVES = 5  # shown with an answer
_LEAST_ON_SHELF = 3  # of an answer's best products
_MOST_OF_PARENT = 0.8  # where a shelf below has so much of one, the one is not named
_RELATED = 4
_KEPT = 2_000  # queries, and what was read of them: 2 KB each
_KNOWN_WORDS = 20_000  # of which is kept whether the catalog has them: 150 bytes each


@dataclass(frozen=True, slots=True)
class NearShelf:
    """A shelf where an answer's best products stand."""

    shelf: Shelf
    best: int
    """How many of the best stand there."""


@dataclass(frozen=True, slots=True)
class Navigation:
    """What goes with a page of results."""

    did_you_mean: str | None = None
    """The query in the catalog's spelling, where that differs."""
    corrected: bool = False
    """Whether that was searched for instead of what was typed."""
    read: str = ""
    """The words that were read, cleaned and respelt where that is sure: what statements have their
    places in. They are searched for without what became a filter."""
    understood: tuple[Statement, ...] = ()
    shelves: tuple[NearShelf, ...] = ()
    """Most of the best products first."""
    related: tuple[str, ...] = ()
    """Longer queries that begin like this one."""
    relaxations: tuple[Relaxation, ...] = ()
    """Where nothing is found, or nothing fits: ways to find something."""


@dataclass(frozen=True, slots=True)
class Navigated:
    """A page of results, and what goes with it."""

    result: SearchResult
    navigation: Navigation
    explanations: tuple[Explanation, ...] = ()
    """Of each hit, where they were asked for."""


_UNREAD: tuple[Correction | None, Sequence[Statement]] = (None, ())


class Navigator:
    """Reads queries by one snapshot. Safe to use from many threads."""

    def __init__(self, snapshot: Snapshot, max_chars: int, *, keep: bool = True) -> None:
        """Prepare; without `keep`, no query is remembered, single words and names are."""
        self._snapshot = snapshot
        self._max_chars = max_chars
        kept = _KEPT if keep else 0
        self._reader = QueryReader(snapshot)
        # A page turned, sorted or filtered is of the same words, and words come again and again.
        self._read = cached(LRUCache(kept), lock=Lock())(self._read_anew)
        self._related = cached(LRUCache(kept), lock=Lock())(self._find_related)
        self._known = cached(LRUCache(_KNOWN_WORDS), lock=Lock())(snapshot.lexical.finds)

    @cached_property
    def _speller(self) -> Speller:
        suggestions = self._snapshot.suggestions
        tokenizer = load_tokenizer(self._snapshot.folder / "models" / "encoder", READ_TOKENS)

        def common(word: str) -> bool:
            return any(tokenizer.token_to_id(one) is not None for one in (word, f"▁{word}"))

        return Speller(suggestions, self._known, common)

    def warm_up(self) -> None:
        """Load now what the first search would have to."""
        _ = self._speller

    def find(self, text: str, filters: Filter | None, search: Search, *, read: bool) -> Navigated:
        """What `search` gives for the words as they are understood; as typed without `read`.

        A word that the catalog lacks is respelt where that is sure. A price becomes a filter, and
        so do a brand and a colour that are refused, where the catalog can tell and something is
        left; each statement says whether it was applied.
        """
        # What is too long is refused by `search`: it must not fill what is kept.
        short = len(text) <= self._max_chars
        correction, statements = self._read(text) if read and short else _UNREAD
        corrected = correction is not None and correction.sure
        asked = correction.text if correction is not None and correction.sure else text
        chosen = self._choose(statements, filters)
        applied = [one for one in chosen if one.applied]
        both = _all([one.condition for one in applied], filters)
        related = self._related(asked) if short else ()
        result = search(without(asked, applied), both)
        return Navigated(
            result,
            Navigation(
                did_you_mean=None if correction is None else correction.text,
                corrected=corrected,
                read=clean(asked) if short else "",
                understood=tuple(chosen),
                shelves=tuple(self._near(result)),
                related=related,
                relaxations=tuple(self._ways_on(asked, both, result, search)),
            ),
        )

    def suggest(self, typed: str, k: int) -> list[Completion]:
        """The `k` likeliest ways to go on; none where the snapshot cannot tell."""
        return self._snapshot.suggestions.complete(clean_start(typed), k)

    def _read_anew(self, text: str) -> tuple[Correction | None, Sequence[Statement]]:
        """The spelling and the statements of a query; nothing of one that names a product."""
        cleaned = clean(text)
        if not cleaned or self._snapshot.products.rows_printed(cleaned):
            return _UNREAD
        correction = self._speller.correct(cleaned)
        asked = correction.text if correction is not None and correction.sure else cleaned
        return correction, self._reader.read(asked)

    def _choose(self, statements: Sequence[Statement], filters: Filter | None) -> list[Statement]:
        """The statements, those that are sure applied as long as something is left."""
        chosen: list[Statement] = []
        conditions: list[Filter] = []
        for one in statements:
            sure = (one.field == "price" or one.negated) and one.confidence >= SURE
            wanted = _all([*conditions, one.condition], filters)
            if sure and wanted and len(allowed_rows(wanted, self._snapshot.facets)):
                conditions.append(one.condition)
                chosen.append(replace(one, applied=True))
            else:
                chosen.append(one)
        return chosen

    def _near(self, result: SearchResult) -> list[NearShelf]:
        """The shelves of the answer's best products, each as deep as most of them stand."""
        shelves = self._snapshot.shelves
        if not result.best:
            return []
        found = shelves.where(result.best)
        standing = {one.path: many for one, many in found}
        deeper = {
            one.path[:-1]
            for one, many in found
            if many >= _MOST_OF_PARENT * standing.get(one.path[:-1], len(result.best) + many)
        }
        near = [
            NearShelf(one, many)
            for one, many in found
            if many >= _LEAST_ON_SHELF and one.path not in deeper
        ]
        return sorted(near, key=lambda one: (-one.best, one.shelf.number))[:_SHELVES]

    def _find_related(self, asked: str) -> tuple[str, ...]:
        """Longer queries that begin with all words of this one."""
        suggestions = self._snapshot.suggestions
        words = " ".join(words_of(asked))
        if not words:
            return ()
        found = suggestions.complete(f"{words} ", _RELATED, exactly=True)
        texts = [one.text for one in found]
        # "iphone" goes on as "iphone 13"; to more words a bare number says nothing.
        return tuple(
            text
            for text in texts
            if " ".join(words_of(text)).startswith(f"{words} ")
            and not (" " in words and text.rpartition(" ")[2].isdecimal())
        )

    def _ways_on(
        self, asked: str, filters: Filter | None, result: SearchResult, search: Search
    ) -> list[Relaxation]:
        """What to give up where nothing is found under a filter, or nothing fits the words."""
        if not result.count and filters is not None:
            return relax_filter(filters, self._passing, lambda rest: search(asked, rest).count)
        if not result.nothing_fits:
            return []
        if filters is not None:
            free = search(asked, None)
            if not free.nothing_fits:
                return [Relaxation(wordings(filters), free.count)]
        words = words_of(asked)
        lacking = [word for word in words if not self._known(word)]
        kept = " ".join(word for word in words if word not in lacking)
        if not lacking or not kept:
            return []
        rest = search(kept, filters)
        if rest.nothing_fits:
            return []
        return [Relaxation(tuple(lacking), rest.count, filters, kept)]

    def _passing(self, condition: Filter | None) -> int:
        if condition is None:
            return len(self._snapshot)
        return len(allowed_rows(condition, self._snapshot.facets))


def clean_start(typed: str) -> str:
    """What was typed, cleaned; a space at its end is kept: the last word is done."""
    return clean(typed) + (" " if typed[-1:].isspace() else "")


def _all(conditions: list[Filter], filters: Filter | None) -> Filter | None:
    """All of these together; None without any."""
    clauses = [*conditions, *([] if filters is None else [filters])]
    return And(tuple(clauses)) if clauses else None
