"""Train the cross-encoder: learn to rank lists and to name the class of each pair, at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from engine.models.reranker import READOUT, softmax
from engine.models.runtime import make_batches
from engine.models.tokenizer import cutting
from engine.models.tokens import PASSAGE_TOKENS, QUERY_TOKENS, READ_TOKENS
from indexer.export.graph import weights_digest
from indexer.progress import Progress, Silent
from indexer.train.crossencoder import CrossEncoder, save, start
from indexer.train.lists import Origin, QueryList
from indexer.train.loop import Plan, device, fit, packed, shuffled
from indexer.train.losses import classes_of, classification, listwise, target
from indexer.train.record import Record, Stage, digest_of, write_record

BATCH_PAIRS = 64
INPUTS = ("input_ids", "attention_mask")


@dataclass(frozen=True, slots=True)
class _Batch:
    """Lists, as the model reads them."""

    queries: list[str]
    """Of each pair."""
    passages: list[str]
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
    seed: int = 0,
    progress: Progress | None = None,
    facts: Mapping[str, str] | None = None,
    calibration: Sequence[QueryList] = (),
    texts: Texts | None = None,
) -> Path:
    """Train from a bi-encoder, or on from a cross-encoder of ours; the checkpoint's folder.

    Called again with the same arguments after a kill, it goes on from its last checkpoint.

    Args:
        base: Hugging Face id or folder of a BERT bi-encoder, or a checkpoint this wrote.
        stages: run in turn, each on its own lists.
        out: gets `checkpoint/` (to export or to go on from), the model card, `training.json` and
            `training_queries.txt`.
        seed: of the order and of dropout.
        progress: told of every step.
        facts: lines for the card: data, licences, purpose.
        calibration: judged lists kept out of the stages, to fit temperature and biases of the class
            probabilities on. The biases become the model's; the temperature stands in
            `training.json`, for the export.
        texts: as another training of the same base read them.

    Raises:
        ModelError: the base is no BERT.
        TrainingError: `out` holds another training.
    """
    model, written = start(str(base))
    weights = weights_digest(model)
    record = Record("reranker", str(base), stages, seed, QUERY_TOKENS + PASSAGE_TOKENS)
    model.to(device())
    texts = texts or Texts(model, written, progress)
    for number, stage in enumerate(stages):
        batches = _batches(stage, seed + number)
        began = time.monotonic()
        record.texts_read += texts.read(
            [text for each in batches for text in each.queries],
            [text for each in batches for text in each.passages],
        )
        record.reading_seconds += time.monotonic() - began
        with (progress or Silent()).step(stage.name, len(batches)) as advance:
            fitted = fit(
                model,
                batches,
                lambda batch, stage=stage: _loss(model, texts, batch, stage),  # type: ignore[misc]
                Plan(stage.learning_rate, keep=stage.keep),
                checkpoint=out / "stages" / f"{number}-{stage.name}.pt",
                digest=digest_of(weights, stages[: number + 1], seed, record.max_length),
                seed=seed + number,
                advance=advance,
            )
        record.finished(stage, fitted.losses, fitted.seconds)
    # Pairs judged one by one (mostly Exact) say nothing of how often a class is right.
    if known := [each for each in calibration if len({*classes_of(each)} - {-1}) > 1]:
        calibrated = _calibration(model, texts, known)
        record.temperature = calibrated.temperature
        record.calibration = known
        with torch.no_grad():
            model.classifier.bias += torch.tensor(calibrated.bias, device=device())
    save(out / "checkpoint", model.to("cpu"), written)
    write_record(out, record, facts or {})
    return out / "checkpoint"


class Texts:
    """What a cross-encoder reads of texts before they meet, which no training changes: read once.

    Half precision halves the memory: 37 KB a passage of 48 tokens and 384 numbers each.
    """

    def __init__(
        self, model: CrossEncoder, tokenizer: str, progress: Progress | None = None
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            model: whose bi-encoder reads.
            tokenizer: its tokenizer (JSON of the `tokenizers` library).
            progress: told of long readings.
        """
        self._model = model
        longest = model.transformer.config.max_position_embeddings
        self._queries = cutting(Tokenizer.from_str(tokenizer), min(QUERY_TOKENS, longest))
        self._passages = cutting(Tokenizer.from_str(tokenizer), min(READ_TOKENS, longest))
        self._progress = progress or Silent()
        self._asked: dict[str, torch.Tensor] = {}  # (tokens, width) each
        self._given: dict[str, torch.Tensor] = {}

    def read(self, queries: Iterable[str], passages: Iterable[str]) -> int:
        """Read the texts that were not read before; how many passages these were."""
        model, before = self._model, len(self._given)
        self._keep(self._asked, queries, self._queries, model.read_queries, QUERY_TOKENS)
        self._keep(self._given, passages, self._passages, model.read_passages, PASSAGE_TOKENS)
        return len(self._given) - before

    def asked(self, query: str) -> torch.Tensor:
        """What was read of a query, (tokens, width), in half precision."""
        return self._asked[query]

    def _keep(
        self,
        kept: dict[str, torch.Tensor],
        texts: Iterable[str],
        tokenizer: Tokenizer,
        read: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        tokens: int,
    ) -> None:
        fresh = [text for text in dict.fromkeys(texts) if text not in kept]
        sequences = tokenizer.encode_batch(fresh)
        self._model.eval()
        with (
            self._progress.step("reading", len(fresh)) as advance,
            torch.no_grad(),  # what inference mode makes could not be learnt from
        ):
            for batch in make_batches(sequences, INPUTS):
                hidden = read(*(torch.from_numpy(batch.inputs[n]).to(device()) for n in INPUTS))
                for place, row in zip(batch.places.tolist(), hidden.half().cpu(), strict=True):
                    kept[fresh[place]] = row[: min(len(sequences[place]), tokens)].clone()
                advance(len(batch.places))

    def logits(
        self, model: CrossEncoder, queries: Sequence[str], passages: Sequence[str]
    ) -> torch.Tensor:
        """The four logits, (pairs, 4), that a model over the same bi-encoder gives read texts."""
        query, asked = padded([self._asked[text] for text in queries])
        passage, given = padded([self._given[text] for text in passages])
        found: torch.Tensor = model.meet(*(x.to(device()) for x in (query, asked, passage, given)))
        return found


def padded(texts: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Texts of (tokens, width) each as (texts, longest, width), and their mask (texts, longest)."""
    hidden = torch.zeros((len(texts), max(map(len, texts)), texts[0].shape[1]))
    mask = torch.zeros(hidden.shape[:2], dtype=torch.int64)
    for row, text in enumerate(texts):
        hidden[row, : len(text)] = text
        mask[row, : len(text)] = 1
    return hidden, mask


def logits(
    model: CrossEncoder, texts: Texts, queries: Sequence[str], passages: Sequence[str]
) -> NDArray[np.float32]:
    """The four logits of each pair in full precision; shape (pairs, 4)."""
    texts.read(queries, passages)
    found = np.empty((len(queries), len(READOUT)), dtype=np.float32)
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(queries), BATCH_PAIRS):
            part = slice(start, start + BATCH_PAIRS)
            given = texts.logits(model, queries[part], passages[part])
            found[part] = given.float().cpu().numpy()
    return found


@dataclass(frozen=True, slots=True)
class Calibration:
    """What makes class probabilities of logits: P = softmax((logits + bias) / temperature)."""

    temperature: float = 1.0
    bias: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    def probabilities(self, given: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of logits, shape (pairs, 4); shape kept."""
        return softmax((given + np.array(self.bias, np.float32)) / np.float32(self.temperature))


def fit_calibration(given: NDArray[np.float32], grades: NDArray[np.int64]) -> Calibration:
    """Temperature and class biases with the least log-loss.

    Guo et al. 2017, Alexandari et al. 2020. Biases move how often each class is said, and no order
    by log-odds within a query.

    Args:
        given: logits of pairs the model was not trained on, shape (pairs, 4).
        grades: their classes, shape (pairs,).
    """
    from scipy.optimize import minimize  # noqa: PLC0415 - comes with the training parts

    wanted = np.eye(len(READOUT))[grades]  # (pairs, 4)

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        found = softmax((given * values[0] + values[1:]).astype(np.float64))
        off = (found - wanted) / len(grades)
        gradient = np.array([(off * given).sum(), *off.sum(axis=0)])
        entropy = -np.log((found * wanted).sum(axis=1) + 1e-12).mean()
        return float(entropy), gradient

    start = np.array([1.0, 0.0, 0.0, 0.0, 0.0])
    bounds = [(0.01, 100.0), *[(None, None)] * len(READOUT)]
    scale, *biases = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    moved = (np.array(biases) - np.mean(biases)) / scale
    first, second, third, fourth = (round(float(each), 4) for each in moved)
    return Calibration(round(1 / float(scale), 4), (first, second, third, fourth))


def _calibration(model: CrossEncoder, texts: Texts, lists: Sequence[QueryList]) -> Calibration:
    """Fitted on the candidates whose class people or machines told, not on mined ones."""
    lists = [
        replace(each, candidates=tuple(c for c in each.candidates if c.origin != Origin.MINED))
        for each in lists
    ]
    pairs = [(each.query, one.passage) for each in lists for one in each.candidates]
    grades = np.array([place for each in lists for place in classes_of(each)], dtype=np.int64)
    queries, passages = zip(*pairs, strict=True)
    known = grades >= 0
    return fit_calibration(logits(model, texts, queries, passages)[known], grades[known])


def _batches(stage: Stage, seed: int) -> list[_Batch]:
    """The stage's lists in the order they are learnt from."""
    lists = [each for each in stage.lists if each.candidates]
    sizes = [len(each.candidates) for each in lists]
    order = packed(sizes, shuffled(len(lists), stage.epochs, seed), BATCH_PAIRS)
    return [_batch([lists[place] for place in places]) for places in order]


def _batch(lists: Sequence[QueryList]) -> _Batch:
    mined = {Origin.MINED: 0}
    return _Batch(
        [each.query for each in lists for _ in each.candidates],
        [one.passage for each in lists for one in each.candidates],
        [target(each) if _ranks(each) else None for each in lists],
        [len(each.candidates) for each in lists],
        [
            mined.get(one.origin, known) if each.classes else -1
            for each in lists
            for one, known in zip(each.candidates, classes_of(each), strict=True)
        ],
        [one.weight for each in lists for one in each.candidates],
    )


def _ranks(candidates: QueryList) -> bool:
    """Whether the list's order is to be learnt: a machine's word classifies, but ranks badly."""
    return all(one.origin is not Origin.MACHINE for one in candidates.candidates)


def _loss(model: CrossEncoder, texts: Texts, batch: _Batch, stage: Stage) -> torch.Tensor:
    """Listwise and classification loss together."""
    found = texts.logits(model, batch.queries, batch.passages)  # (pairs, 4)
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
