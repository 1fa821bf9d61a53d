"""Which words and phrases a catalog is made of, counted in bounded memory."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from engine.analysis import STOPWORDS, fold
from engine.types import Product

NAMING = "1"
"""Version of what a product is called."""

LONGEST = 4
"""Words of a phrase."""

_WORD = re.compile(r"[^\W_]+(?:['&.-][^\W_]+)*")
_PART = re.compile(r"[,;:|()\[\]{}/•]|\s[-–—]\s|[.!?]\s")
_PHRASES, _WORDS = 400_000, 200_000  # kept at most: about 100 MB together
_MOST_CHARS = 60  # of a phrase


def words_of(text: str) -> list[str]:
    """The words of a text, folded, in order: what phrases are made of."""
    return _WORD.findall(fold(text))


class BoundedCounter:
    """Counts texts; of more than `most` different ones the rarest are forgotten.

    What is forgotten and comes again is counted anew: counts are never too high (compare Misra and
    Gries 1982).
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: Counter[str] = Counter()

    def add(self, texts: Iterable[str]) -> None:
        """Count each text once more."""
        self._counts.update(texts)
        if len(self._counts) > self._most:
            self._forget()

    def _forget(self) -> None:
        """Keep the more frequent half."""
        kept = heapq.nlargest(self._most // 2, self._counts.items(), key=lambda item: item[1])
        self._counts = Counter(dict(kept))

    def get(self, text: str) -> int:
        """How often the text came, as far as is remembered."""
        return self._counts.get(text, 0)

    def items(self) -> Iterable[tuple[str, int]]:
        """Every text that is remembered, and how often it came."""
        return self._counts.items()


class Naming(NamedTuple):
    """What a product is called."""

    phrases: Collection[str]
    """Of its title, folded; each once."""
    words: Collection[str]
    """Of title, brand, colour and category, folded; each once."""
    brand: str
    category: tuple[str, ...]


def naming_of(product: Product) -> Naming:
    """What the product is called. Raise `NAMING` with any change to what this gives."""
    parts = [words_of(part) for part in _PART.split(product.title)]
    named = words_of(" ".join([product.brand, product.color, *product.category]))
    return Naming(
        phrases=list(dict.fromkeys(phrase for part in parts for phrase in _phrases(part))),
        words=list(dict.fromkeys([*(word for part in parts for word in part), *named])),
        brand=product.brand,
        category=product.category,
    )


class PhraseCounter:
    """Counts in how many products' titles a phrase stands, and which words a catalog writes."""

    def __init__(self) -> None:
        self.words = BoundedCounter(_WORDS)
        """Of titles, brands, colours and categories, by how many products have them."""
        self._phrases = BoundedCounter(_PHRASES)

    def add(self, naming: Naming) -> None:
        """Count what a product is called."""
        self._phrases.add(naming.phrases)
        self.words.add(naming.words)

    def phrases(self) -> Iterator[tuple[str, int, bool]]:
        """Phrases of two products or more, how many, and whether each stands for itself.

        One that hardly ever stands without a certain next word does not: "stainless" of "stainless
        steel".
        """
        longer: dict[str, int] = {}
        for phrase, count in self._phrases.items():
            shorter, _, _ = phrase.rpartition(" ")
            if shorter:
                longer[shorter] = max(longer.get(shorter, 0), count)
        for phrase, count in self._phrases.items():
            if count > 1:
                yield phrase, count, 10 * longer.get(phrase, 0) < 9 * count


def _phrases(words: list[str]) -> Iterator[str]:
    """Every run of up to `LONGEST` words that neither starts nor ends with a function word."""
    for start, first in enumerate(words):
        if first in STOPWORDS or first.isdecimal():
            continue
        for stop in range(start + 1, min(start + LONGEST, len(words)) + 1):
            last = words[stop - 1]
            if last in STOPWORDS or (stop == start + 1 and len(last) < 3):
                continue
            phrase = " ".join(words[start:stop])
            if len(phrase) <= _MOST_CHARS:
                yield phrase
