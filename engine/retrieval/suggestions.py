"""What a shopper may be about to type: the catalog's phrases, brands and shelves, and old queries.

A tantivy index of its own: the dictionary of its terms is a memory-mapped automaton, which another
automaton, of all texts within some edits of a beginning, walks in under a millisecond (Schulz and
Mihov 2002). Beside them lie the catalog's words and
the beginnings of its phrases, for spelling.

suggest.json   version, and how much there is
asked.tsv      the old queries, with how often each was asked
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

import tantivy
from tantivy import Occur
from tantivy import Query as Clause

from engine.analysis import STOPWORDS, analyze
from engine.errors import SnapshotDamagedError
from engine.retrieval.index_files import mirrored, settle
from engine.retrieval.phrases import LONGEST, Naming, PhraseCounter, words_of

FOLDER = "suggest"
"""Where in a snapshot the index lies."""

ASKED = "asked.tsv"
_ABOUT = "suggest.json"
_VERSION = "1"
_PHRASE, _WORD, _TEXT, _KIND, _WEIGHT = "phrase", "word", "text", "kind", "weight"
_HEAP = 50_000_000
_ASKED_WORTH = 10  # products that a shopper's having asked for it weighs as much as
_MOST_ASKED = 200_000  # different old queries that are kept
_MOST_TYPED = 100  # characters that are completed
_CONSIDERED = 40  # of each look-up, before those that say the same are dropped
_RARE = 10  # times more frequent must be what is spelt otherwise to stand beside what is not


class Kind(StrEnum):
    """What a suggestion is."""

    BRAND = "brand"
    CATEGORY = "category"
    QUERY = "query"
    PHRASE = "phrase"


@dataclass(frozen=True, slots=True)
class Completion:
    """One way to go on."""

    text: str
    kind: Kind
    weight: int
    """How often: products that have it, and 10 for each time it was asked."""
    corrected: bool = False
    """True where it does not begin as was typed."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word of the catalog."""

    text: str
    products: int


@dataclass(frozen=True, slots=True)
class _Entry:
    text: str
    kind: Kind
    weight: int


def is_current(folder: Path) -> bool:
    """Whether suggestions lie there, of the version that this daogou writes."""
    try:
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(about, dict) and about.get("version") == _VERSION


class SuggestionBuilder:
    """Collects what may be suggested, product by product, and writes it; memory is bounded."""

    def __init__(self, folder: Path, asked: Mapping[str, int]) -> None:
        self._folder = folder
        self._asked = asked
        self._counter = PhraseCounter()
        self._names: dict[tuple[Kind, str], tuple[str, int]] = {}

    def add(self, naming: Naming) -> None:
        """Count what a product is called, its brand and its shelves."""
        self._counter.add(naming)
        for kind, name in [
            (Kind.BRAND, naming.brand),
            *((Kind.CATEGORY, level) for level in naming.category),
        ]:
            key = _key(name)
            if key:
                text, count = self._names.get((kind, key), (name, 0))
                self._names[kind, key] = (text, count + 1)

    def finish(self) -> None:
        """Write the index, and the old queries it was made with."""
        self._folder.mkdir(parents=True, exist_ok=True)
        asked, phrases = self._useful(), list(self._counter.phrases())
        entries = self._entries(asked, phrases)
        words = dict(self._counter.words.items())
        words |= {phrase: count for phrase, count, whole in phrases if not whole}
        _write_index(self._folder, entries, words)
        lines = (f"{query}\t{times}\n" for query, times in asked.items())
        (self._folder / ASKED).write_text("".join(lines), encoding="utf-8")
        about = self._folder / _ABOUT
        values = {"version": _VERSION, "phrases": len(entries), "words": len(words)}
        about.write_text(json.dumps(values), encoding="utf-8")
        settle(self._folder, about.stat().st_mode)

    def _useful(self) -> dict[str, int]:
        """The old queries whose every word the catalog writes: nobody's name or address."""
        known = self._counter.words
        useful: dict[str, int] = {}
        for query, times in self._asked.items():
            words = words_of(query)
            if words and all(word in STOPWORDS or known.get(word) for word in words):
                key = " ".join(words)
                useful[key] = useful.get(key, 0) + times
        return dict(sorted(useful.items(), key=lambda item: (-item[1], item[0]))[:_MOST_ASKED])

    def _entries(
        self, asked: Mapping[str, int], phrases: Iterable[tuple[str, int, bool]]
    ) -> dict[str, _Entry]:
        """What may be suggested, by its folded form; the more telling kind of two."""
        entries = {
            phrase: _Entry(phrase, Kind.PHRASE, count) for phrase, count, whole in phrases if whole
        }
        for query, times in asked.items():
            known = entries[query].weight if query in entries else 0
            entries[query] = _Entry(query, Kind.QUERY, known + _ASKED_WORTH * times)
        for kind in (Kind.BRAND, Kind.CATEGORY):
            for (own, key), (text, count) in self._names.items():
                if own is kind:
                    weight = max(count, entries[key].weight if key in entries else 0)
                    entries[key] = _Entry(text, kind, weight)
        return entries


@lru_cache(maxsize=16_384)
def _key(name: str) -> str:
    """What two spellings of a name share."""
    return " ".join(words_of(name))


def read_asked(folder: Path) -> dict[str, int]:
    """The old queries that a snapshot's index was made with; none where it has no such file."""
    path = folder / ASKED
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = (line.rpartition("\t") for line in lines)
    with suppress(ValueError):
        return {query: int(times) for query, _, times in pairs}
    raise SnapshotDamagedError(
        f"{path} is not as it was written. Give the queries again: daogou index --past-queries FILE"
    )


def _schema() -> tantivy.Schema:
    schema = tantivy.SchemaBuilder()
    for name in (_PHRASE, _WORD):
        schema.add_text_field(name, tokenizer_name="raw", index_option="basic")
    schema.add_text_field(_TEXT, stored=True, tokenizer_name="raw", index_option="basic")
    schema.add_unsigned_field(_KIND, stored=True)
    schema.add_unsigned_field(_WEIGHT, stored=True, fast=True)
    return schema.build()


def _write_index(folder: Path, entries: Mapping[str, _Entry], words: Mapping[str, int]) -> None:
    """Write phrases and words, the same into the same files, those of most weight first."""
    index = tantivy.Index(_schema(), str(folder), reuse=False)
    index.config_reader("manual")
    writer = index.writer(_HEAP, num_threads=1)
    kinds = list(Kind)
    for key, entry in sorted(entries.items(), key=lambda item: (-item[1].weight, item[0])):
        writer.add_document(_document(_PHRASE, key, entry, kinds.index(entry.kind)))
    for word, count in sorted(words.items(), key=lambda item: (-item[1], item[0])):
        writer.add_document(_document(_WORD, word, _Entry(word, Kind.PHRASE, count), 0))
    writer.commit()
    writer.wait_merging_threads()


def _document(field: str, key: str, entry: _Entry, kind: int) -> tantivy.Document:
    document = tantivy.Document()
    document.add_text(field, key)
    document.add_text(_TEXT, entry.text)
    document.add_unsigned(_WEIGHT, entry.weight)
    document.add_unsigned(_KIND, kind)
    return document


class Suggestions:
    """Completes and corrects. Safe for concurrent use; all of it lies in memory-mapped files."""

    def __init__(self, folder: Path) -> None:
        """Open the index of a snapshot.

        Raises:
            SnapshotDamagedError: there is none, or it is damaged.
        """
        try:
            about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
            with mirrored(folder) as mirror:
                index = tantivy.Index.open(str(mirror))
                index.config_reader("manual")
                self._schema = index.schema
                self._searcher = index.searcher()
            written = about["phrases"] + about["words"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SnapshotDamagedError(
                f"{folder} holds no suggestions ({error}). Roll back with: daogou snapshots "
                "rollback, or index the catalog again"
            ) from error
        if written != self._searcher.num_docs:
            raise SnapshotDamagedError(
                f"{folder} holds {self._searcher.num_docs:,} suggestions, not {written:,}. "
                "Roll back with: daogou snapshots rollback"
            )

    def complete(self, typed: str, k: int = 8, *, exactly: bool = False) -> list[Completion]:
        """The `k` most frequent ways to go on from what was typed.

        Where nothing begins like all of it, its last words are completed and the others kept. One
        edit is forgiven from 4 letters on, two from 8; none where it is to begin `exactly` so.
        """
        folded = " ".join(words_of(typed[:_MOST_TYPED]))
        if not folded:
            return []
        if typed[-1:].isspace():
            folded += " "
        starts = [0, *(at + 1 for at, char in enumerate(folded[:-1]) if char == " ")]
        for start in [0, *starts[1:-1][-LONGEST + 1 :]]:  # two words at least say what is meant
            found = self._begun(folded[start:], k, exactly=exactly)
            if found:
                head = folded[:start]
                return [
                    Completion(head + one.text, one.kind, one.weight, one.corrected)
                    if head
                    else one
                    for one in found
                ]
        return []

    def _begun(self, beginning: str, k: int, *, exactly: bool) -> list[Completion]:
        """What begins like this, and what begins with nearly this and is far more frequent."""
        found: dict[tuple[str, ...], Completion] = {}
        for edits in range(1 if exactly else _forgiven(beginning.strip()) + 1):
            if edits == 2 and found:
                break
            exact = max((one.weight for one in found.values()), default=0)
            for one in self._within(beginning, edits):
                if edits and one.weight < _RARE * exact:
                    continue
                same = tuple(sorted(analyze(one.text)))
                found.setdefault(same, Completion(one.text, one.kind, one.weight, edits > 0))
            if len(found) >= k:
                break
        return list(found.values())[:k]

    def _within(self, beginning: str, edits: int) -> list[_Entry]:
        """The most frequent phrases whose beginning is so many edits from this."""
        clause = Clause.fuzzy_term_query(
            self._schema, _PHRASE, beginning, distance=edits, prefix=True
        )
        return self._best(clause, _CONSIDERED)

    def near(self, word: str, edits: int) -> list[Word]:
        """The catalog's most frequent words within so many edits of one, folded."""
        clause = Clause.fuzzy_term_query(self._schema, _WORD, word, distance=edits)
        return [Word(one.text, one.weight) for one in self._best(clause, _CONSIDERED)]

    def phrases(self, keys: Iterable[str]) -> dict[str, int]:
        """Those of the folded texts that the catalog writes, with their weights."""
        wanted = list(keys)
        if not wanted:
            return {}
        either = [
            (Occur.Should, Clause.term_set_query(self._schema, field, wanted))
            for field in (_PHRASE, _WORD)
        ]
        found = self._best(Clause.boolean_query(either), 2 * len(wanted))
        return {" ".join(words_of(one.text)): one.weight for one in reversed(found)}

    def _best(self, clause: Clause, limit: int) -> list[_Entry]:
        hits = self._searcher.search(clause, limit, count=False, order_by_field=_WEIGHT).hits
        kinds = list(Kind)
        entries = []
        for _, address in hits:
            held = self._searcher.doc(address).to_dict()
            entries.append(_Entry(held[_TEXT][0], kinds[held[_KIND][0]], held[_WEIGHT][0]))
        return entries


def _forgiven(text: str) -> int:
    """Edits that are forgiven in a text of this length."""
    return (len(text) >= 4) + (len(text) >= 8)
