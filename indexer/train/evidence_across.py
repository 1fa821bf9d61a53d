"""Question–evidence pairs → low-rank changes of the reranker's upper layers (LoRA, Hu et al. 2021).

The reranker reads the question across what the encoder made of each piece. Two thin matrices a
layer are learnt, listwise and binary as the head is; all else stays as it ships.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parametrize

from engine.errors import ModelError
from engine.guide.evidence import Read
from engine.models.folder import TOKENIZER_FILE, read_model_info
from engine.models.graph import Adapters
from engine.models.reranker import READOUT, SHIPPED_RERANKER, load_adapted
from engine.models.tokens import pack
from indexer.export.restore import read_weights, transformer_of
from indexer.train.crossencoder import CrossEncoder
from indexer.train.evidence import Question, objective
from indexer.train.loop import autocast
from indexer.train.reranker import Texts, padded
from indexer.train.shipped import cross_encoder_of

_RANK = 16
_EPOCHS, _LISTS, _RATE, _DECAY, _CLIP = 3, 8, 1e-3, 0.01, 1.0
_BLOT = 0.1  # share of the tokens that a step does not see
_MOST = 8  # pieces of a question that a step reads: those that answer, and others by chance

_Asked = tuple[torch.Tensor, list[torch.Tensor], NDArray[np.float32]]
"""The question's tokens after the lower layers, the pieces' tokens, and how well each answers."""


class _LowRank(torch.nn.Module):  # type: ignore[misc]  # torch is untyped here
    """Weights with the product of two thin matrices added, which is 0 at the start."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        outputs, inputs = weight.shape
        rank = min(_RANK, outputs)
        self.inner = torch.nn.Parameter(torch.randn(rank, inputs) / inputs**0.5)
        self.outer = torch.nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight + self.outer @ self.inner


def _whole(read: Read) -> list[NDArray[np.float32]]:
    return [tokens.astype(np.float32) for tokens in read.tokens]


class AcrossTrainer:
    """Fits adapters of one reranker."""

    def __init__(self, reranker: Path, encoder: Path, *, threads: int = 0) -> None:
        """Read the weights.

        Args:
            reranker: exported by daogou, one that reads the encoder's tokens.
            encoder: that one.
            threads: of training and serving; 0 takes every core.

        Raises:
            ModelError: they cannot be read.
        """
        self.fingerprint = read_model_info(reranker, kind="reranker").fingerprint
        self._folder, self._threads = reranker, threads
        torch.set_num_threads(threads or torch.get_num_threads())
        self._weights = read_weights(reranker)
        self._transformer = transformer_of(read_weights(encoder))
        tokenizer = (reranker / TOKENIZER_FILE).read_text(encoding="utf-8")
        self._texts = Texts(self._model(), tokenizer)

    def _model(self) -> CrossEncoder:
        return cross_encoder_of(self._weights, self._transformer)

    def fit(
        self,
        questions: Sequence[Question],
        reads: Sequence[Read],
        *,
        seed: int = 0,
    ) -> Adapters:
        """Adapters by name of layer, learnt from these questions.

        Args:
            questions: judged; those without any answer or hint of one teach nothing here.
            reads: what the encoder made of them.
            seed: of the order and of what is read by chance.
        """
        self._texts.read([one.text for one in questions], ())
        asked = [
            (self._texts.asked(one.text), [torch.from_numpy(x) for x in read.tokens], one.gains)
            for one, read in zip(questions, reads, strict=True)
            if one.gains.max() > 0
        ]
        torch.manual_seed(seed)
        model = self._model().requires_grad_(False)
        changed: dict[str, _LowRank] = {}
        for name, layer in list(model.named_modules()):
            if isinstance(layer, torch.nn.Linear) and not name.startswith("transformer."):
                changed[name] = _LowRank(layer.weight)
                parametrize.register_parametrization(layer, "weight", changed[name])
        learnt = [parameter for part in changed.values() for parameter in part.parameters()]
        learnt.append(shift := torch.nn.Parameter(torch.zeros(())))  # how seldom a piece answers
        batches = _batches(asked, np.random.default_rng(seed))
        optimiser = torch.optim.AdamW(learnt, lr=_RATE, weight_decay=_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, _RATE, total_steps=len(batches), pct_start=0.1
        )
        for batch in batches:
            with parametrize.cached(), autocast():
                loss = objective(_scores(model, batch) + shift, [gains for _, _, gains in batch])
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learnt, _CLIP)
            optimiser.step()
            schedule.step()
        return {
            name: (part.outer.detach().numpy(), part.inner.detach().numpy())
            for name, part in changed.items()
        }

    def read(
        self, adapters: Adapters, questions: Sequence[Question], reads: Sequence[Read]
    ) -> list[Read]:
        """The reads with what the reranker with these adapters says of each piece, as it serves."""
        served = load_adapted(self._folder, adapters, threads=self._threads)
        return [
            replace(read, across=served.score_read(one.text, pack(_whole(read))))
            for one, read in zip(questions, reads, strict=True)
        ]


def _scores(model: CrossEncoder, batch: Sequence[_Asked]) -> torch.Tensor:
    """One number for each piece of the batch, by `READOUT`."""
    query, asked = padded([question for question, pieces, _ in batch for _ in pieces])
    passage, given = padded([piece for _, pieces, _ in batch for piece in pieces])
    asked, given = _blotted(asked), _blotted(given)
    # The quicker kernel's way back takes five times as long as this one's on a CPU.
    with sdpa_kernel(SDPBackend.MATH):
        logits = model.meet(query, asked, passage, given)
    found: torch.Tensor = logits.float() @ torch.tensor(READOUT)
    return found


def _blotted(mask: torch.Tensor) -> torch.Tensor:
    """The mask with tokens left out by chance, never the first."""
    kept = torch.rand(mask.shape) >= _BLOT
    kept[:, 0] = True
    return mask * kept


def _batches(asked: Sequence[_Asked], random: np.random.Generator) -> list[list[_Asked]]:
    """Questions whose longest pieces are about as long side by side, each with some pieces."""
    batches, window = [], 8 * _LISTS
    for _ in range(_EPOCHS):
        order = random.permutation(len(asked)).tolist()
        for start in range(0, len(order), window):
            near = [_some(asked[place], random) for place in order[start : start + window]]
            near.sort(key=lambda one: max(map(len, one[1])))
            cut = [near[place : place + _LISTS] for place in range(0, len(near), _LISTS)]
            batches += [cut[place] for place in random.permutation(len(cut)).tolist()]
    return batches


def _some(one: _Asked, random: np.random.Generator) -> _Asked:
    question, pieces, gains = one
    if len(pieces) <= _MOST:
        return one
    good = np.flatnonzero(gains > 0)[: _MOST - 1]
    others = random.permutation(np.flatnonzero(gains == 0))[: _MOST - len(good)]
    kept = [*good.tolist(), *others.tolist()]
    return question, [pieces[place] for place in kept], gains[kept]


def reranker_for(encoder: str, given: Path | None) -> Path | None:
    """The reranker to adapt beside an encoder of this fingerprint: the given or the shipped one.

    None where nothing was given and the shipped one reads another encoder.

    Raises:
        ModelError: the given one cannot be read, or reads another encoder.
    """
    read = read_model_info(given or SHIPPED_RERANKER, kind="reranker").encoder
    if read == encoder:
        return given or SHIPPED_RERANKER
    if given is None:
        return None
    raise ModelError(f"{given} does not read what the encoder makes of texts. Train one that does")
