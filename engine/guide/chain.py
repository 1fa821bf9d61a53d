"""Labels of a run of words as one chain: the likeliest together, and how likely a span is.

A linear-chain conditional random field (Lafferty, McCallum and Pereira 2001): each label has a
score by its word and one by the label before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

OUTSIDE = "O"
_FORBIDDEN = -1e4

Floats = NDArray[np.float32]


def allowed(labels: Sequence[str]) -> tuple[Floats, Floats]:
    """Zero where a label may begin, (labels,), and follow another, (from, to); else far below it.

    An inside follows its own type's beginning or inside alone.
    """
    begins = np.zeros(len(labels), dtype=np.float32)
    follows = np.zeros((len(labels), len(labels)), dtype=np.float32)
    for to, label in enumerate(labels):
        if label.startswith("I-"):
            begins[to] = _FORBIDDEN
            own = [other == OUTSIDE or other[2:] != label[2:] for other in labels]
            follows[own, to] = _FORBIDDEN
    return begins, follows


def runs(labels: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Of each span its first word, the word after its last, and its type."""
    first = 0
    for place, label in enumerate((*labels, OUTSIDE)):
        inside = label.startswith("I-") and place > first and labels[first][2:] == label[2:]
        if inside and labels[first] != OUTSIDE:
            continue
        if place > first and labels[first] != OUTSIDE:
            yield first, place, labels[first][2:]
        first = place


def best_path(scores: Floats, begins: Floats, follows: Floats, ends: Floats) -> list[int]:
    """The likeliest labels together (Viterbi 1967), by scores of shape (words, labels)."""
    best, came = begins + scores[0], []
    for score in scores[1:]:
        ways = best[:, None] + follows  # (from, to)
        came.append(ways.argmax(axis=0))
        best = ways.max(axis=0) + score
    path = [int((best + ends).argmax())]
    for back in reversed(came):
        path.append(int(back[path[-1]]))
    return path[::-1]


class Chances:
    """Probabilities of spans, by sums over all other labels (forward and backward)."""

    def __init__(self, scores: Floats, begins: Floats, follows: Floats, ends: Floats) -> None:
        self._scores, self._follows, self._ends = scores, follows, ends
        ahead = [begins + scores[0]]
        for score in scores[1:]:
            ahead.append(_log_sum(ahead[-1][:, None] + follows, 0) + score)
        behind = [ends]
        for score in scores[:0:-1]:
            behind.append(_log_sum(follows + (score + behind[-1])[None], 1))
        self._ahead, self._behind = ahead, behind[::-1]
        self._total = float(_log_sum(ahead[-1] + ends, 0))

    def of_span(self, first: int, last: int, begin: int, inside: int) -> float:
        """How likely just the words from `first` to before `last` are one span."""
        so_far = float(self._ahead[first][begin])
        label = begin
        for place in range(first + 1, last):
            so_far += float(self._follows[label, inside] + self._scores[place][inside])
            label = inside
        if last < len(self._scores):
            on = self._follows[label] + self._scores[last] + self._behind[last]
            on[inside] = -np.inf
            so_far += float(_log_sum(on, 0))
        else:
            so_far += float(self._ends[label])
        return float(np.exp(min(0.0, so_far - self._total)))


def _log_sum(values: Floats, axis: int) -> Floats:
    top = values.max(axis=axis, keepdims=True)
    found: Floats = np.log(np.exp(values - top).sum(axis=axis)) + top.squeeze(axis)
    return found
