"""Question–evidence pairs → the head that finds answers in a product's texts.

Listwise over each question's candidates and, with it, whether each answers (binary). The encoder is
frozen: what it makes of every text is read once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from engine.analysis import analyze
from engine.errors import CatalogError, TrainingError
from engine.guide.evidence import (
    FEATURES,
    EvidenceInfo,
    EvidenceRanker,
    Read,
    TokenEncoder,
    answerable,
    compute,
)
from engine.models.graph import Adapters
from engine.types import Vectors
from indexer.catalog.fields import cell_text, is_absent
from indexer.catalog.rejects import RowFault

_NEEDED, _OPTIONAL = ("question", "candidate"), ("set", "qid", "product_id")
_LABELS = (0, 1, 2)
_WIDTH, _INNER = 128, 64
_EPOCHS, _BATCH, _RATE, _DECAY, _DROPOUT = 12, 32, 1e-3, 0.05, 0.3
_INNER_FOLDS, _INNER_FOLDS_ACROSS = 3, 2
_FEWEST = 10
_SEEDS = 2
"""Heads whose scores are averaged: two of them side by side are one of twice the width."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question with the pieces of text that may answer it."""

    name: str
    product: str
    """The product asked about; empty where it is not known."""
    kind: str
    """The set it is from."""
    text: str
    pieces: tuple[str, ...]
    gains: NDArray[np.float32]
    """How well each piece answers, 0 to 1."""

    @property
    def answerable(self) -> bool:
        """Whether some piece answers in full."""
        return bool((self.gains >= 1).any())


def read_questions(path: Path) -> list[Question]:
    """The questions of a Parquet table, one row a candidate piece of text.

    Columns `question`, `candidate`, `label`; optional `set`, `qid`, `product_id`. Labels are 0, 1
    and 2 where a set has a 2 (answers; 1 relevant), else 0 and 1. Pieces are put in the order of
    their texts, so that ties tell nothing. Without a `qid` a question is known by its text and its
    product: the same words are asked of many.

    Raises:
        CatalogError: the file cannot be read, lacks a column, holds no row, or has a row that
            cannot be used; it names file, row and field.
    """
    rows = list(_rows(path))
    if not rows:
        raise CatalogError(f"{path} holds no question. Write one row a piece of text")
    _check_ids(path, rows)
    best: dict[str, int] = {}
    for row in rows:
        best[row["set"]] = max(best.get(row["set"], 1), row["label"])
    grouped: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        key = (row["set"], row["product_id"], row["qid"] or row["question"])
        grouped.setdefault(key, []).append(row)
    found = []
    for (kind, _, name), lines in grouped.items():
        lines.sort(key=lambda line: line["candidate"])
        found.append(
            Question(
                name=name, kind=kind, text=lines[0]["question"], product=lines[0]["product_id"],
                pieces=tuple(line["candidate"] for line in lines),
                gains=np.array([line["label"] / best[kind] for line in lines], dtype=np.float32),
            )
        )  # fmt: skip
    return found


def _check_ids(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Make sure that rows of one `qid` are of one question on one product.

    Raises:
        CatalogError: some are not; it names the first.
    """
    first: dict[tuple[str, str], Mapping[str, Any]] = {}
    for number, row in enumerate(rows, start=1):
        before = first.setdefault((row["set"], row["qid"]), row) if row["qid"] else row
        for field in ("question", "product_id"):
            if row[field] != before[field]:
                raise CatalogError(
                    f"{path}, row {number}, field {field}: {row[field]!r}, where {before[field]!r} "
                    f"stands above beside the same qid, {row['qid']!r}. Give every question on "
                    "every product a qid of its own, or none"
                )


def grouped(questions: Sequence[Question]) -> NDArray[np.int64]:
    """The group of each question, numbered from 0: a group is never on both sides of a fold.

    Of one group are questions on one product, in the same words, or with the same pieces: those
    are one product's too, though its name is not given.
    """
    above = list(range(len(questions)))

    def top(place: int) -> int:
        while above[place] != place:
            above[place] = above[above[place]]
            place = above[place]
        return place

    first: dict[tuple[str, object], int] = {}
    for place, one in enumerate(questions):
        words = frozenset(analyze(one.text))
        for key in (("product", one.product), ("words", words), ("pieces", one.pieces)):
            if key[1]:
                above[top(place)] = top(first.setdefault(key, place))
    tops = [top(place) for place in range(len(questions))]
    return np.unique(tops, return_inverse=True)[1].astype(np.int64)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a table of questions: texts, empty where an optional one is, and the label."""
    try:
        from pyarrow import ArrowInvalid, parquet  # noqa: PLC0415 - slow to load

        table = parquet.read_table(path)
    except (OSError, ArrowInvalid) as error:
        raise CatalogError(f"{path} cannot be read as a Parquet table: {error}") from error
    missing = {"question", "candidate", "label"} - set(table.column_names)
    if missing:
        raise CatalogError(f"{path} has no column {', '.join(sorted(missing))}")
    for number, row in enumerate(table.to_pylist(), start=1):
        place = f"{path}, row {number}"
        if row["label"] not in _LABELS:
            raise CatalogError(
                f"{place}, field label: {row['label']!r} is no label. Write a number: "
                f"{', '.join(map(str, _LABELS))}"
            )
        try:
            needed = {name: cell_text(row, name) for name in _NEEDED}
            others = {
                name: "" if is_absent(row.get(name)) else cell_text(row, name) for name in _OPTIONAL
            }
        except RowFault as fault:
            raise CatalogError(f"{place}, field {fault.field}: {fault}") from fault
        yield {**needed, **others, "label": int(row["label"])}


def read_all(questions: Sequence[Question], encoder: TokenEncoder, chunk: int = 512) -> list[Read]:
    """What the encoder makes of every question and its pieces; each text is read once."""
    texts = sorted({text for one in questions for text in (one.text, *one.pieces)})
    place = {text: number for number, text in enumerate(texts)}
    vectors: list[Vectors] = []
    tokens: list[NDArray[np.float16]] = []
    for start in range(0, len(texts), chunk):
        encoded, read = encoder.read_passages(texts[start : start + chunk])
        vectors.append(encoded)
        tokens += [one.astype(np.float16) for one in read]
    every = np.concatenate(vectors)

    def tokens_of(text: str) -> NDArray[np.float32]:
        return tokens[place[text]].astype(np.float32)

    def compute_one(one: Question) -> Read:
        inside = (one.text, *one.pieces)
        vectors_of = every[[place[text] for text in inside]]
        read = compute(one.text, one.pieces, vectors_of, [tokens_of(text) for text in inside])
        return replace(read, tokens=tuple(tokens[place[text]] for text in one.pieces))

    return [compute_one(one) for one in questions]


class _Head(torch.nn.Module):  # type: ignore[misc]  # torch is untyped here
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.question = torch.nn.Linear(dim, _WIDTH, bias=False)
        self.piece = torch.nn.Linear(dim, _WIDTH, bias=False)
        self.drop = torch.nn.Dropout(_DROPOUT)
        self.inner = torch.nn.Linear(2 * _WIDTH + len(FEATURES), _INNER)
        self.outer = torch.nn.Linear(_INNER, 1)
        self.linear = torch.nn.Linear(len(FEATURES), 1, bias=False)

    def forward(
        self, asked: torch.Tensor, pieces: torch.Tensor, table: torch.Tensor
    ) -> torch.Tensor:
        left, right = 10 * self.question(asked), 10 * self.piece(pieces)  # (n, width)
        inner = torch.cat([left * right, (left - right).abs(), table], dim=1)
        gelu = torch.nn.functional.gelu(self.inner(self.drop(inner)), approximate="tanh")
        score: torch.Tensor = self.outer(self.drop(gelu)) + self.linear(table)
        return score[:, 0]


@dataclass(frozen=True, slots=True)
class Trained:
    """An evidence ranker as it is written."""

    info: EvidenceInfo
    weights: Mapping[str, NDArray[np.float32]]
    adapters: Adapters

    def ranker(self) -> EvidenceRanker:
        """As it serves."""
        return EvidenceRanker(self.info, self.weights, self.adapters)


class Across(Protocol):
    """Adapts a reranker that reads the question across the pieces."""

    @property
    def fingerprint(self) -> str:
        """The reranker's."""

    def fit(self, questions: Sequence[Question], reads: Sequence[Read], *, seed: int) -> Adapters:
        """Adapters learnt from these questions."""

    def read(
        self, adapters: Adapters, questions: Sequence[Question], reads: Sequence[Read]
    ) -> list[Read]:
        """The reads with what the adapted reranker says of each piece."""


def train_evidence(
    questions: Sequence[Question],
    reads: Sequence[Read],
    *,
    name: str,
    encoder: str,
    across: Across | None = None,
    seed: int = 0,
) -> Trained:
    """The head fitted on these questions and, with `across`, a reranker's adapters.

    Whether a question is answered at all is fitted on scores of models that had not seen it: of
    what they were trained on they are too sure.

    Raises:
        TrainingError: there are too few questions, or all can be answered, or none, or too few that
            have nothing to do with each other.
    """
    check_enough(questions, seed, across=across is not None)
    truth = np.array([one.answerable for one in questions], dtype=np.bool_)
    table = np.concatenate([read.features for read in reads])
    info = EvidenceInfo(
        name=name, encoder=encoder, answerable=(1.0, 0.0, 0.0), threshold=0.5,
        centre=tuple(map(float, table.mean(axis=0))),
        scale=tuple(map(float, table.std(axis=0) + 1e-6)),
    )  # fmt: skip
    held = list(reads)
    adapters: Adapters = {}
    if across is not None:
        for inside, outside in folds(questions, _INNER_FOLDS_ACROSS, seed):
            adapters = across.fit(*_at(inside, questions, reads), seed=seed)
            found = across.read(adapters, *_at(outside, questions, reads))
            for place, read in zip(outside.tolist(), found, strict=True):
                held[place] = read
        adapters = across.fit(questions, reads, seed=seed)
        info = info.model_copy(update={"reranker": across.fingerprint})
    statistics: list[tuple[float, ...]] = [()] * len(questions)
    for inside, outside in folds(questions, _INNER_FOLDS, seed):
        ranker = EvidenceRanker(info, _joined([_fit(questions, reads, inside, info, seed)]))
        for place in outside.tolist():
            statistics[place] = ranker.statistics(held[place])
    fit = _logistic(np.array(statistics), truth)
    chance = np.array([answerable(fit, one) for one in statistics])
    everything = np.arange(len(questions))
    heads = [_fit(questions, reads, everything, info, seed + number) for number in range(_SEEDS)]
    fitted = {"answerable": fit, "threshold": best_threshold(chance, truth)}
    return Trained(info.model_copy(update=fitted), _joined(heads), adapters)


def check_enough(questions: Sequence[Question], seed: int, *, across: bool) -> None:
    """Make sure that `train_evidence` can learn from these questions, before it takes its time.

    Raises:
        TrainingError: it cannot; the message says what is lacking.
    """
    truth = np.array([one.answerable for one in questions], dtype=np.bool_)
    if truth.sum() < _FEWEST or (~truth).sum() < _FEWEST:
        raise TrainingError(
            f"{int(truth.sum())} questions have a piece that answers, {int((~truth).sum())} have "
            f"none. At least {_FEWEST} of each kind are needed"
        )
    for count in (_INNER_FOLDS, *((_INNER_FOLDS_ACROSS,) if across else ())):
        list(folds(questions, count, seed))


def _at(
    places: NDArray[np.int64], questions: Sequence[Question], reads: Sequence[Read]
) -> tuple[list[Question], list[Read]]:
    return [questions[place] for place in places], [reads[place] for place in places]


def folds(
    questions: Sequence[Question], count: int, seed: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Places of the questions inside and outside of each fold; a group is on one side.

    Groups are drawn into folds; where that leaves a fold with nothing outside, or with nothing to
    learn from inside, they are dealt out in turn, those to learn from first.

    Raises:
        TrainingError: there are too few groups for so many folds.
    """
    groups = grouped(questions)
    number = int(groups.max()) + 1
    taught = np.zeros(number, dtype=np.bool_)
    taught[groups[[one.gains.max() > 0 for one in questions]]] = True
    if number < count or taught.sum() < 2:
        raise TrainingError(
            f"the {len(questions)} questions make up {number} groups of one product, of the same "
            f"words or of the same pieces, {int(taught.sum())} of them with a piece that answers. "
            f"For {count} folds at least {count} groups are needed, and 2 with such a piece"
        )
    random = np.random.default_rng(seed)
    drawn = random.integers(0, count, number)
    if len(np.unique(drawn)) < count or len(np.unique(drawn[taught])) < 2:
        order = random.permutation(number)
        drawn[order[np.argsort(~taught[order], kind="stable")]] = np.arange(number) % count
    for fold in range(count):
        yield np.flatnonzero(drawn[groups] != fold), np.flatnonzero(drawn[groups] == fold)


def _logistic(statistics: NDArray[np.float64], truth: NDArray[np.bool_]) -> tuple[float, ...]:
    """Logistic regression of "some piece answers" on the best pieces' scores."""
    given = torch.tensor(statistics)
    wanted = torch.tensor(truth.astype(np.float64))
    fit = torch.zeros(statistics.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([fit], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        odds = given @ fit[:-1] + fit[-1]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(odds, wanted)
        loss = loss + 1e-4 * (fit**2).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return tuple(float(value) for value in fit.detach())


def best_threshold(chance: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """The probability from which "answered" is best said.

    By the mean F1 of both answers: most questions can be answered, and always saying so would have
    a better F1 of that alone.
    """
    tried = np.unique(np.quantile(chance, np.linspace(0, 1, 101)))
    worth = [(f1(chance >= cut, truth) + f1(chance < cut, ~truth)) / 2 for cut in tried]
    return float(tried[int(np.argmax(worth))])


def f1(said: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Harmonic mean of precision and recall."""
    both = float((said & truth).sum())
    return 2 * both / max(float(said.sum() + truth.sum()), 1.0)


def _fit(
    questions: Sequence[Question],
    reads: Sequence[Read],
    inside: NDArray[np.int64],
    info: EvidenceInfo,
    seed: int,
) -> _Head:
    """One head, trained on the questions at these places."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    lists = [place for place in inside.tolist() if questions[place].gains.max() > 0]
    centre, scale = np.array(info.centre, np.float32), np.array(info.scale, np.float32)
    head = _Head(reads[0].pieces.shape[1])
    steps = _EPOCHS * -(-len(lists) // _BATCH)
    optimiser = torch.optim.AdamW(head.parameters(), lr=_RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=steps)
    for _ in range(_EPOCHS):
        order = random.permutation(len(lists))
        for start in range(0, len(lists), _BATCH):
            batch = [lists[place] for place in order[start : start + _BATCH]]
            loss = _loss(
                head, [questions[n] for n in batch], [reads[n] for n in batch], centre, scale
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    head.eval()
    return head


def _loss(
    head: _Head,
    questions: Sequence[Question],
    reads: Sequence[Read],
    centre: NDArray[np.float32],
    scale: NDArray[np.float32],
) -> torch.Tensor:
    """The objective of what the head scores."""
    sizes = [len(one.pieces) for one in questions]
    asked = np.concatenate(
        [
            np.repeat(read.question[None], size, axis=0)
            for read, size in zip(reads, sizes, strict=True)
        ]
    )
    pieces = np.concatenate([read.pieces for read in reads])
    table = (np.concatenate([read.features for read in reads]) - centre) / scale
    scores = head(*(torch.tensor(part, dtype=torch.float32) for part in (asked, pieces, table)))
    return objective(scores, [one.gains for one in questions])


def objective(scores: torch.Tensor, gains: Sequence[NDArray[np.float32]]) -> torch.Tensor:
    """Listwise cross-entropy over each question's pieces, and half the binary one.

    `scores` are those of all pieces, one question's after the other's.
    """
    sizes, wanted = [len(one) for one in gains], torch.tensor(np.concatenate(gains))
    listwise = [
        -(torch.log_softmax(mine, 0) * own).sum() / own.sum()
        for mine, own in zip(scores.split(sizes), wanted.split(sizes), strict=True)
    ]
    binary = torch.nn.functional.binary_cross_entropy_with_logits(scores, (wanted >= 1).float())
    return torch.stack(listwise).mean() + 0.5 * binary


def _joined(heads: Sequence[_Head]) -> dict[str, NDArray[np.float32]]:
    """Heads side by side as one, whose score is their mean."""
    parts = [
        {name: value.detach().numpy() for name, value in head.state_dict().items()}
        for head in heads
    ]
    count, extra = len(parts), len(FEATURES)
    inner = np.zeros((2 * _WIDTH * count + extra, _INNER * count), dtype=np.float32)
    for number, part in enumerate(parts):
        columns = slice(number * _INNER, (number + 1) * _INNER)
        rows = part["inner.weight"].T  # (2 width + features, inner)
        product = slice(number * _WIDTH, (number + 1) * _WIDTH)
        gap = slice((count + number) * _WIDTH, (count + number + 1) * _WIDTH)
        inner[product, columns], inner[gap, columns] = rows[:_WIDTH], rows[_WIDTH : 2 * _WIDTH]
        inner[2 * _WIDTH * count :, columns] = rows[2 * _WIDTH :]
    return {
        "question": np.concatenate([part["question.weight"].T for part in parts], axis=1),
        "piece": np.concatenate([part["piece.weight"].T for part in parts], axis=1),
        "inner": inner,
        "inner_bias": np.concatenate([part["inner.bias"] for part in parts]),
        "outer": np.concatenate([part["outer.weight"][0] for part in parts]) / count,
        "linear": np.mean([part["linear.weight"][0] for part in parts], axis=0),
        "bias": np.mean([part["outer.bias"] for part in parts], axis=0),
    }
