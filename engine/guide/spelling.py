"""Did you mean: words the catalog does not know, spelt as it spells them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from engine.retrieval.phrases import words_of
from engine.retrieval.suggestions import Suggestions

_SHORTEST, _TWO_EDITS = 4, 8  # letters from which one and two edits are looked for
_MOST_WORDS = 12  # of a query that are looked up
_SURE = 4  # times more products must have a word than the next one that is as near
_ALONE, _IN_USE = 7, 10  # letters of a word without others beside it, and products that have it
_ENOUGH = 3  # products that must have a word for it to be sure
_UNMARKED = frozenset({
    "aint", "arent", "cant", "couldnt", "didnt", "doesnt", "dont", "hadnt", "hasnt", "havent",
    "isnt", "shouldnt", "thats", "theyre", "theyve", "wasnt", "werent", "weve", "whats", "wont",
    "wouldnt", "youre", "youve",
})  # fmt: skip
"""English words typed without their apostrophe: no mistake worth an offer."""


@dataclass(frozen=True, slots=True)
class Correction:
    """A query spelt otherwise."""

    text: str
    sure: bool
    """Every change is to a word in use that the catalog writes beside the query's next or last.

    Of a word alone, it must be long and the change must stand out."""


class Speller:
    """Corrects queries by a catalog's own words. Safe to use from many threads."""

    def __init__(
        self,
        suggestions: Suggestions,
        known: Callable[[str], bool],
        common: Callable[[str], bool],
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            suggestions: of the snapshot.
            known: whether some product holds a word anywhere.
            common: whether a word is a language's own: it is asked for, not misspelt.
        """
        self._suggestions = suggestions
        self._known = known
        self._common = common

    def correct(self, text: str) -> Correction | None:
        """The query with words of the catalog for those that it lacks; None where that is as typed.

        A word that any product holds is never changed, nor one with digits, nor one that is no
        mistake in its language.
        """
        words = words_of(text)
        if len(words) > _MOST_WORDS:
            return None
        respelt = text
        sure = changed = False
        for place, word in enumerate(words):
            if not self._doubtful(word):
                continue
            beside = (words[place - 1 : place], words[place + 1 : place + 2])
            better = self._better(word, "".join(beside[0]), "".join(beside[1]))
            if better is None:
                continue
            words[place], certain = better
            respelt = _replaced(respelt, word, words[place])
            sure = certain and (sure or not changed)
            changed = True
        if not changed:
            return None
        # A word that stands joined to others is not found in the text.
        whole = words_of(respelt) == words_of(" ".join(words))
        return Correction(respelt if whole else " ".join(words), sure)

    def _doubtful(self, word: str) -> bool:
        return (
            len(word) >= _SHORTEST
            and word.isalpha()
            and word not in _UNMARKED
            and not self._known(word)
            and not self._common(word)
        )

    def _better(self, word: str, before: str, after: str) -> tuple[str, bool] | None:
        """The word or words most likely meant, and whether that is sure."""
        parted = self._parted(word)
        if parted is not None:
            return parted, True
        for edits in (1, 2) if len(word) >= _TWO_EDITS else (1,):
            near = {
                one.text: one.products
                for one in self._suggestions.near(word, edits)
                if one.text.isalpha()
                and len(one.text) >= _SHORTEST - 1
                and (one.products > 1 or one.text[0] == word[0])
            }
            if not near:
                continue
            together = self._suggestions.phrases(
                [f"{before} {one}" for one in near if before]
                + [f"{one} {after}" for one in near if after]
            )
            beside = {
                one: together.get(f"{before} {one}", 0) + together.get(f"{one} {after}", 0)
                for one in near
            }
            ranked = sorted(
                near,
                key=lambda one: (-beside[one], one[0] != word[0], -near[one], one),
            )
            best, *others = ranked
            rival = max((near[one] for one in others if one[0] == word[0]), default=0)
            alone = not before and not after and edits == 1 and len(word) >= _ALONE
            stands_out = alone and near[best] >= max(_SURE * rival, _IN_USE)
            sure = best[0] == word[0] and near[best] >= _ENOUGH
            sure = sure and (bool(beside[best]) or stands_out)
            return best, sure
        return None

    def _parted(self, word: str) -> str | None:
        """Two words that were written as one, where the catalog writes them side by side."""
        ways = [f"{word[:at]} {word[at:]}" for at in range(2, len(word) - 1)]
        found = self._suggestions.phrases(ways)
        return max(found, key=lambda one: found[one], default=None)


def _replaced(text: str, word: str, better: str) -> str:
    """The text with another word for this one, whatever its case and accents are there."""
    return re.sub(r"\w+", lambda one: better if words_of(one[0]) == [word] else one[0], text)
