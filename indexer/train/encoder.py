"""Train the bi-encoder: contrastively, and towards what a teacher or judges say of each list."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Encoding, Tokenizer

from engine.errors import ModelError
from indexer.export.graph import POOLER, reading, tokenizer_of, weights_digest
from indexer.progress import Progress, Silent
from indexer.train.lists import QueryList
from indexer.train.loop import Plan, device, fit, packed, shuffled
from indexer.train.losses import listwise, target
from indexer.train.record import Record, Stage, digest_of, write_record

BATCH_PASSAGES = 96
SCALE = 20.0
"""Cosines are multiplied by it before a softmax: what all-MiniLM was trained at."""
GOOD = 3.0
"""The grade from which a candidate is what the query asks for."""

Tokens = tuple[torch.Tensor, torch.Tensor]
"""Ids and mask, each (texts, length)."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """Lists, as the model reads them."""

    queries: Tokens
    passages: Tokens
    sizes: list[int]
    wanted: list[torch.Tensor | None]
    positives: torch.Tensor
    """Which passages each query asks for; (lists, passages)."""
    strangers: torch.Tensor
    """Which passages are other queries' and not also its own; (lists, passages)."""


def train_encoder(
    base: str | Path,
    stages: Sequence[Stage],
    out: Path,
    *,
    max_length: int = 64,
    seed: int = 0,
    progress: Progress | None = None,
    facts: Mapping[str, str] | None = None,
) -> Path:
    """Train a mean-pooled bi-encoder from an id or folder; the checkpoint's folder.

    Called again with the same arguments after a kill, it goes on from its last checkpoint. The
    checkpoint is a sentence-transformers folder, which `daogou export encoder` reads.

    Raises:
        ModelError: the base cannot be read or is not whole, or pools otherwise.
        TrainingError: `out` holds another training.
    """
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - heavy

    try:
        with reading(str(base), unused=POOLER):
            whole = SentenceTransformer(str(base), device="cpu")
        if whole[1].pooling_mode != "mean":
            raise ModelError(f"{base} pools by {whole[1].pooling_mode}: only mean is trained")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{base} cannot be read as a bi-encoder: {error}") from error
    whole.prompts, whole.default_prompt_name = {}, None  # texts are read without from here on
    transformer = whole[0].auto_model.float().to(device())
    for parameter in transformer.embeddings.parameters():
        parameter.requires_grad_(False)
    tokenizer = Tokenizer.from_str(tokenizer_of(str(base), whole.tokenizer))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    tokenizer.encode_special_tokens = True
    weights = weights_digest(transformer)
    record = Record("encoder", str(base), stages, seed, max_length)
    for number, stage in enumerate(stages):
        batches = _batches(tokenizer, stage, seed + number)
        with (progress or Silent()).step(stage.name, len(batches)) as advance:
            fitted = fit(
                transformer,
                batches,
                lambda batch, stage=stage: _loss(transformer, batch, stage),  # type: ignore[misc]
                Plan(stage.learning_rate, keep=stage.keep),
                checkpoint=out / "stages" / f"{number}-{stage.name}.pt",
                digest=digest_of(weights, stages[: number + 1], seed, max_length),
                seed=seed + number,
                advance=advance,
            )
        record.finished(stage, fitted.losses, fitted.seconds)
    transformer.to("cpu")
    shutil.rmtree(out / "checkpoint", ignore_errors=True)
    whole.save(str(out / "checkpoint"))
    write_record(out, record, facts or {})
    return out / "checkpoint"


def _batches(tokenizer: Tokenizer, stage: Stage, seed: int) -> list[_Batch]:
    lists = [each for each in stage.lists if each.candidates]
    queries = tokenizer.encode_batch([each.query for each in lists])
    passages = tokenizer.encode_batch([one.passage for each in lists for one in each.candidates])
    starts = [0]
    for each in lists:
        starts.append(starts[-1] + len(each.candidates))
    sizes = [len(each.candidates) for each in lists]
    order = packed(sizes, shuffled(len(lists), stage.epochs, seed), BATCH_PASSAGES)
    return [
        _batch(
            [lists[place] for place in places],
            [queries[place] for place in places],
            [passages[i] for place in places for i in range(starts[place], starts[place + 1])],
        )
        for places in order
    ]


def _batch(
    lists: Sequence[QueryList], queries: Sequence[Encoding], passages: Sequence[Encoding]
) -> _Batch:
    keys = [(each.catalog, one.product_id) for each in lists for one in each.candidates]
    owner = [place for place, each in enumerate(lists) for _ in each.candidates]
    own = [{(each.catalog, one.product_id) for one in each.candidates} for each in lists]
    strangers = [
        [
            key not in mine and lists[whose].query != each.query
            for key, whose in zip(keys, owner, strict=True)
        ]
        for each, mine in zip(lists, own, strict=True)
    ]
    asked = [good for each in lists for good in _asked_for(each)]
    positives = [
        [good and whose == place for good, whose in zip(asked, owner, strict=True)]
        for place in range(len(lists))
    ]
    return _Batch(
        _padded(queries),
        _padded(passages),
        [len(each.candidates) for each in lists],
        [target(each) for each in lists],
        torch.tensor(positives, device=device()),
        torch.tensor(strangers, device=device()),
    )


def _asked_for(candidates: QueryList) -> list[bool]:
    """Which candidates answer the query: judged exact, or else what the teacher puts first."""
    teacher = [each.teacher for each in candidates.candidates if each.teacher is not None]
    if len(teacher) == len(candidates.candidates):
        best = max(teacher)
        return [value == best for value in teacher]
    return [each.grade is not None and each.grade >= GOOD for each in candidates.candidates]


def _padded(sequences: Sequence[Encoding]) -> Tokens:
    longest = max(map(len, sequences))
    ids = torch.zeros(len(sequences), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence.ids)
        mask[row, : len(sequence)] = 1
    return ids.to(device()), mask.to(device())


def _encode(transformer: Any, tokens: Tokens) -> torch.Tensor:  # noqa: ANN401 - transformers
    """Mean-pooled vectors, not yet of unit length; (texts, dim)."""
    ids, mask = tokens
    hidden = transformer(input_ids=ids, attention_mask=mask).last_hidden_state
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    pooled: torch.Tensor = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
    return pooled


def _loss(transformer: Any, batch: _Batch, stage: Stage) -> torch.Tensor:  # noqa: ANN401
    """The losses of full vectors, averaged with those of their leading dimensions if asked for."""
    queries, passages = (
        _encode(transformer, batch.queries),
        _encode(transformer, batch.passages),
    )
    widths = [queries.shape[1], *stage.matryoshka]  # Kusupati et al. 2022
    each = [_loss_of(queries[:, :width], passages[:, :width], batch, stage) for width in widths]
    return torch.stack(each).mean()


def _loss_of(
    queries: torch.Tensor, passages: torch.Tensor, batch: _Batch, stage: Stage
) -> torch.Tensor:
    """Listwise inside each list; contrastive against the other lists' passages."""
    normalize = torch.nn.functional.normalize
    scores = SCALE * normalize(queries.float(), dim=-1) @ normalize(passages.float(), dim=-1).T
    total = scores.sum() * 0.0
    if stage.listwise:
        start = 0
        for row, (size, wanted) in enumerate(zip(batch.sizes, batch.wanted, strict=True)):
            if wanted is not None:
                own = scores[row, start : start + size]
                total = total + stage.listwise * listwise(own, wanted.to(own.device)) / len(
                    batch.sizes
                )
            start += size
    if stage.contrastive and batch.positives.any():
        # Each positive against every stranger (van den Oord et al. 2018).
        others = scores.masked_fill(~batch.strangers, -torch.inf).logsumexp(dim=1, keepdim=True)
        each = torch.nn.functional.softplus(others - scores)  # (lists, passages)
        shares = batch.positives / batch.positives.sum(dim=1, keepdim=True).clamp_min(1)
        asked = batch.positives.any(dim=1).sum()
        total = total + stage.contrastive * (each * shares).sum() / asked
    return total
