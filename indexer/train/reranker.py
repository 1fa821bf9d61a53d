"""Train the cross-encoder: learn to rank lists and to name the class of each pair, at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from engine.models.reranker import softmax
from engine.models.runtime import make_batches
from indexer.export.graph import weights_digest
from indexer.progress import Progress, Silent
from indexer.train.crossencoder import READOUT, CrossEncoder, save, start
from indexer.train.lists import Origin, QueryList
from indexer.train.loop import Plan, device, fit, packed, shuffled
from indexer.train.losses import classes_of, classification, listwise, target
from indexer.train.record import Record, Stage, digest_of, write_record

BATCH_PAIRS = 64
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True, slots=True)
class _Batch:
    """Lists, as the model reads them."""

    inputs: tuple[torch.Tensor, ...]
    """Token ids, mask and types, each (pairs, length)."""
    wanted: list[torch.Tensor | None]
    """Of each list: see `losses.target`."""
    sizes: list[int]
    classes: list[int]
    weights: list[float]


def train_reranker(
    base: str | Path,
    stages: Sequence[Stage],
    out: Path,
    *,
    max_length: int = 64,
    seed: int = 0,
    progress: Progress | None = None,
    facts: Mapping[str, str] | None = None,
    calibration: Sequence[QueryList] = (),
) -> Path:
    """Train from a bi-encoder, or on from a cross-encoder of ours; the checkpoint's folder.

    Called again with the same arguments after a kill, it goes on from its last checkpoint.

    Args:
        base: Hugging Face id or folder of a BERT bi-encoder, or a checkpoint this wrote.
        stages: run in turn, each on its own lists.
        out: gets `checkpoint/` (to export or to go on from), the model card, `training.json` and
            `training_queries.txt`.
        max_length: tokens read of a pair. The same must be given to the export.
        seed: of the order and of dropout.
        progress: told of every step.
        facts: lines for the card: data, licences, purpose.
        calibration: judged lists kept out of the stages, to fit the temperature of the class
            probabilities on; it stands in `training.json`, for the export.

    Raises:
        ModelError: the base is no BERT.
        TrainingError: `out` holds another training.
    """
    model, written = start(str(base))
    tokenizer = reader(written, max_length)
    weights = weights_digest(model)
    record = Record("reranker", str(base), stages, seed, max_length)
    model.to(device())
    for number, stage in enumerate(stages):
        batches = _batches(tokenizer, stage, seed + number)
        with (progress or Silent()).step(stage.name, len(batches)) as advance:
            fitted = fit(
                model,
                batches,
                lambda batch, stage=stage: _loss(model, batch, stage),  # type: ignore[misc]
                Plan(stage.learning_rate, keep=stage.keep),
                checkpoint=out / "stages" / f"{number}-{stage.name}.pt",
                digest=digest_of(weights, stages[: number + 1], seed, max_length),
                seed=seed + number,
                advance=advance,
            )
        record.finished(stage, fitted.losses, fitted.seconds)
    if known := [each for each in calibration if any(place >= 0 for place in classes_of(each))]:
        record.temperature = _temperature(model, tokenizer, known)
    save(out / "checkpoint", model.to("cpu"), written)
    write_record(out, record, facts or {})
    return out / "checkpoint"


def reader(tokenizer: str, max_length: int) -> Tokenizer:
    """A tokenizer that cuts as the serving one does: see `engine.models.tokenizer`."""
    loaded = Tokenizer.from_str(tokenizer)
    loaded.no_padding()
    loaded.enable_truncation(max_length, strategy="longest_first")
    loaded.encode_special_tokens = True
    return loaded


def logits(
    model: CrossEncoder, tokenizer: Tokenizer, queries: Sequence[str], passages: Sequence[str]
) -> NDArray[np.float32]:
    """The four logits of each pair in full precision; shape (pairs, 4)."""
    sequences = tokenizer.encode_batch(list(zip(queries, passages, strict=True)))
    found = np.empty((len(sequences), len(READOUT)), dtype=np.float32)
    model.eval()
    with torch.inference_mode():
        for batch in make_batches(sequences, INPUTS):
            inputs = (torch.from_numpy(batch.inputs[name]).to(device()) for name in INPUTS)
            found[batch.places] = model(*inputs).float().cpu().numpy()
    return found


def fit_temperature(given: NDArray[np.float32], grades: NDArray[np.int64]) -> float:
    """What to divide logits by so that held-out log-loss is least (Guo et al. 2017).

    Args:
        given: logits of pairs the model was not trained on, shape (pairs, 4).
        grades: their classes, shape (pairs,).
    """
    tried = np.geomspace(0.25, 8.0, 141)
    rows = np.arange(len(grades))
    losses = [
        -np.log(softmax(given / np.float32(value))[rows, grades] + 1e-12).mean() for value in tried
    ]
    return round(float(tried[int(np.argmin(losses))]), 3)


def _temperature(model: CrossEncoder, tokenizer: Tokenizer, lists: Sequence[QueryList]) -> float:
    """Fitted on the candidates whose class people or machines told, not on mined ones."""
    lists = [
        replace(each, candidates=tuple(c for c in each.candidates if c.origin != Origin.MINED))
        for each in lists
    ]
    pairs = [(each.query, one.passage) for each in lists for one in each.candidates]
    grades = np.array([place for each in lists for place in classes_of(each)], dtype=np.int64)
    queries, passages = zip(*pairs, strict=True)
    known = grades >= 0
    return fit_temperature(logits(model, tokenizer, queries, passages)[known], grades[known])


def _batches(tokenizer: Tokenizer, stage: Stage, seed: int) -> list[_Batch]:
    """The stage's lists in the order they are learnt from."""
    lists = [each for each in stage.lists if each.candidates]
    pairs = [(each.query, one.passage) for each in lists for one in each.candidates]
    sequences = tokenizer.encode_batch(pairs)
    ends = np.cumsum([len(each.candidates) for each in lists])
    own = [
        sequences[end - len(each.candidates) : end]
        for each, end in zip(lists, ends.tolist(), strict=True)
    ]
    sizes = [len(each.candidates) for each in lists]
    order = packed(sizes, shuffled(len(lists), stage.epochs, seed), BATCH_PAIRS)
    return [_batch([lists[i] for i in places], [own[i] for i in places]) for places in order]


def _batch(lists: Sequence[QueryList], sequences: Sequence[list[Encoding]]) -> _Batch:
    flat = [sequence for own in sequences for sequence in own]
    longest = max(map(len, flat))
    inputs = np.zeros((3, len(flat), longest), dtype=np.int64)
    for row, sequence in enumerate(flat):
        columns = (sequence.ids, sequence.attention_mask, sequence.type_ids)
        inputs[:, row, : len(sequence)] = np.array(columns)
    mined = {Origin.MINED: 0}
    return _Batch(
        tuple(torch.from_numpy(each).to(device()) for each in inputs),
        [target(each) for each in lists],
        [len(each.candidates) for each in lists],
        [
            mined.get(one.origin, known) if each.classes else -1
            for each in lists
            for one, known in zip(each.candidates, classes_of(each), strict=True)
        ],
        [one.weight for each in lists for one in each.candidates],
    )


def _loss(model: CrossEncoder, batch: _Batch, stage: Stage) -> torch.Tensor:
    """Listwise and classification loss together."""
    found = model(*batch.inputs)  # (pairs, 4)
    scores = found.float() @ torch.tensor(READOUT, device=found.device)  # (pairs,)
    ranked = [
        listwise(own, wanted.to(found.device))
        for own, wanted in zip(scores.split(batch.sizes), batch.wanted, strict=True)
        if wanted is not None
    ]
    total = found.sum() * 0.0
    if ranked and stage.listwise:
        total = total + stage.listwise * torch.stack(ranked).sum() / len(batch.sizes)
    if stage.classes:
        total = total + stage.classes * classification(found, batch.classes, batch.weights)
    return total
