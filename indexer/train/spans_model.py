"""The span tagger's network, in torch: what `engine.guide.spans` computes in numpy, and its fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from engine.guide.chain import allowed
from engine.guide.spans import SpansInfo, folded, grams_of
from engine.models.encoder import SHIPPED_ENCODER
from engine.models.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from indexer.train.spans import Labelled

_ROWS, _GRAMS, _PIECES, _INNER = 8192, 16, 24, 96
_EPOCHS, _BATCH = 10, 64
_RATE, _TABLE_RATE, _DECAY = 3e-3, 1e-2, 0.01
_DROP_GRAMS, _DROP_SIDES, _DROP_INNER = 0.2, 0.2, 0.4
_LAYERS = (0, 3, 6)
"""Of the encoder, of which a piece is read: its input, the middle, its output."""
_SPREAD = 10.0  # of the pieces' projection, so that both halves of a word learn at one rate
_LEVELS = 31
"""Whole numbers on either side of zero that a table's numbers are rounded to."""


def read_vocabulary(encoder: Path, threads: int = 0) -> NDArray[np.float32]:
    """What an encoder makes of each of its pieces alone, (vocabulary, layers * dim), standardised.

    Raises:
        ModelError: it is no BERT that daogou exported.
    """
    from indexer.export.restore import read_weights, transformer_of  # noqa: PLC0415 - heavy

    torch.set_num_threads(threads or torch.get_num_threads())
    bert = transformer_of(read_weights(encoder))
    tokenizer = load_tokenizer(encoder, 16)
    begin, end = (tokenizer.token_to_id(one) for one in ("[CLS]", "[SEP]"))
    read = []
    with torch.no_grad():
        for pieces in torch.arange(tokenizer.get_vocab_size()).split(512):
            ids = functional.pad(pieces[:, None], (1, 0), value=begin)
            ids = functional.pad(ids, (0, 1), value=end)  # (n, 3)
            layers = bert(input_ids=ids, output_hidden_states=True).hidden_states
            words = bert.embeddings.word_embeddings(pieces)
            read.append([words, *(layers[one][:, 1] for one in _LAYERS[1:])])
    parts = [torch.cat(layer) for layer in zip(*read, strict=True)]
    centred = [part - part.mean(dim=0) for part in parts]
    scaled = [part / (part**2).sum(dim=1).mean().sqrt() for part in centred]
    known: NDArray[np.float32] = torch.cat(scaled, dim=1).numpy()
    return known


@dataclass(frozen=True, slots=True)
class _Batch:
    """Words side by side, as `embedding_bag` reads them, and the queries they make."""

    grams: torch.Tensor
    gram_starts: torch.Tensor
    pieces: torch.Tensor
    piece_starts: torch.Tensor
    lengths: torch.Tensor  # (queries,)
    labels: torch.Tensor  # (queries, longest)


@dataclass(frozen=True, slots=True)
class _Query:
    words: list[tuple[list[int], list[int]]]
    """The rows of each word's n-grams, and its pieces."""
    labels: list[int]


def _read(queries: Sequence[Labelled], info: SpansInfo) -> list[_Query]:
    tokenizer = load_tokenizer(SHIPPED_ENCODER, 16)
    number = {label: place for place, label in enumerate(info.labels)}
    known: dict[str, tuple[list[int], list[int]]] = {}
    for word in {folded(word) for one in queries for word in one.words}:
        pieces = tokenizer.encode(word, add_special_tokens=False).ids
        known[word] = grams_of(word, _ROWS), pieces or [0]
    return [
        _Query([known[folded(word)] for word in one.words], [number[x] for x in one.labels])
        for one in queries
    ]


def _batch(queries: Sequence[_Query]) -> _Batch:
    words = [word for one in queries for word in one.words]
    lengths = torch.tensor([len(one.words) for one in queries])
    labels = torch.zeros(len(queries), int(lengths.max()), dtype=torch.long)
    for place, one in enumerate(queries):
        labels[place, : len(one.labels)] = torch.tensor(one.labels)
    (grams, gram_starts), (pieces, piece_starts) = (
        _flat([word[n] for word in words]) for n in (0, 1)
    )
    return _Batch(grams, gram_starts, pieces, piece_starts, lengths, labels)


def _flat(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows one after another, and where each begins."""
    starts = np.cumsum([0, *(len(one) for one in rows[:-1])])
    return torch.tensor([row for one in rows for row in one]), torch.tensor(starts)


class _Tagger(torch.nn.Module):  # type: ignore[misc]  # torch is untyped here
    def __init__(self, info: SpansInfo, known: NDArray[np.float32]) -> None:
        super().__init__()
        labels, dim = len(info.labels), _GRAMS + _PIECES
        seen = (2 * info.window + 1) * dim
        self.window = info.window
        self.known = torch.from_numpy(known)
        self.grams = torch.nn.Parameter(0.3 * torch.randn(_ROWS, _GRAMS))
        self.project = torch.nn.Linear(known.shape[1], _PIECES, bias=False)
        self.edge = torch.nn.Parameter(0.1 * torch.randn(2, dim))
        self.inner = torch.nn.Linear(seen, _INNER)
        self.outer = torch.nn.Linear(_INNER, labels)
        self.linear = torch.nn.Linear(seen, labels, bias=False)
        self.begin, self.end = (torch.nn.Parameter(torch.zeros(labels)) for _ in range(2))
        self.follow = torch.nn.Parameter(torch.zeros(labels, labels))
        begins, follows = allowed(info.labels)
        self.begins, self.follows = torch.from_numpy(begins), torch.from_numpy(follows)

    def _words(self, batch: _Batch) -> torch.Tensor:
        """Each word's vector, (words, dim); some of its n-grams left out."""
        kept = (torch.rand(len(batch.grams)) > _DROP_GRAMS).float()
        total = functional.embedding_bag(
            batch.grams, self.grams, batch.gram_starts, mode="sum", per_sample_weights=kept
        )
        sizes = torch.diff(batch.gram_starts, append=torch.tensor([len(batch.grams)]))
        grams = total / sizes[:, None] / (1 - _DROP_GRAMS)
        pieces = functional.embedding_bag(batch.pieces, self.known, batch.piece_starts, mode="mean")
        return torch.cat([grams, _SPREAD * self.project(pieces)], dim=1)

    def scores(self, batch: _Batch) -> torch.Tensor:
        """What each word in its window says for each label, (queries, longest, labels)."""
        words, window = self._words(batch), self.window
        queries, longest = batch.labels.shape
        there = torch.arange(longest)[None] < batch.lengths[:, None]
        before, after = self.edge
        side = torch.zeros(queries, longest, words.shape[1])
        side = torch.where(there[..., None], side.masked_scatter(there[..., None], words), after)
        side = torch.cat(
            [before.expand(queries, window, -1), side, after.expand(queries, window, -1)], dim=1
        )
        side = functional.dropout(side, _DROP_SIDES, self.training)
        seen = torch.cat([side[:, at : at + longest] for at in range(2 * window + 1)], dim=2)
        inner = functional.dropout(torch.relu(self.inner(seen)), _DROP_INNER, self.training)
        found: torch.Tensor = self.outer(inner) + self.linear(seen)
        return found

    def loss(self, batch: _Batch) -> torch.Tensor:
        """Negative log-likelihood of the labels, mean over queries."""
        scores, labels = self.scores(batch), batch.labels
        begin, follow = self.begin + self.begins, self.follow + self.follows
        every = torch.arange(len(labels))
        ahead = begin + scores[:, 0]  # (queries, labels)
        given = begin[labels[:, 0]] + scores[every, 0, labels[:, 0]]
        for place in range(1, labels.shape[1]):
            there = batch.lengths > place
            on = torch.logsumexp(ahead[:, :, None] + follow, 1) + scores[:, place]
            ahead = torch.where(there[:, None], on, ahead)
            before, here = labels[:, place - 1], labels[:, place]
            step = follow[before, here] + scores[every, place, here]
            given = given + torch.where(there, step, torch.zeros(()))
        given = given + self.end[labels[every, batch.lengths - 1]]
        return (torch.logsumexp(ahead + self.end, 1) - given).mean()


def fit(
    queries: Sequence[Labelled], info: SpansInfo, known: NDArray[np.float32], *, seed: int
) -> Mapping[str, NDArray[Any]]:
    """The weights that `engine.guide.spans` serves, fitted on these queries."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    read = _read(queries, info)
    tagger = _Tagger(info, known)
    tables = [tagger.grams]
    rest = [one for name, one in tagger.named_parameters() if name != "grams"]
    optimiser = torch.optim.AdamW(
        [{"params": rest, "weight_decay": _DECAY}, {"params": tables, "weight_decay": 0.0}]
    )
    steps = _EPOCHS * -(-len(read) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [_RATE, _TABLE_RATE], total_steps=steps, pct_start=0.1
    )
    for _ in range(_EPOCHS):
        order = random.permutation(len(read))
        for start in range(0, len(read), _BATCH):
            loss = tagger.loss(_batch([read[one] for one in order[start : start + _BATCH]]))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return _served(tagger)


def _served(tagger: _Tagger) -> dict[str, NDArray[Any]]:
    """Matrices in half precision, tables in whole numbers."""
    learnt = {name: part.detach().numpy() for name, part in tagger.named_parameters()}
    pieces = _SPREAD * tagger.known.numpy() @ learnt["project.weight"].T
    served: dict[str, NDArray[Any]] = {
        "inner": learnt["inner.weight"].T,
        "inner_bias": learnt["inner.bias"],
        "outer": learnt["outer.weight"].T,
        "bias": learnt["outer.bias"],
        "linear": learnt["linear.weight"].T,
    }
    served |= {name: learnt[name] for name in ("edge", "begin", "end", "follow")}
    served = {name: part.astype(np.float16) for name, part in served.items()}
    for name, table in (("grams", learnt["grams"]), ("pieces", pieces)):
        scale = np.quantile(np.abs(table), 0.999, axis=0) / _LEVELS  # (dim,)
        served[f"{name}_scale"] = scale.astype(np.float32)
        served[name] = np.clip(np.rint(table / scale), -_LEVELS, _LEVELS).astype(np.int8)
    return served
