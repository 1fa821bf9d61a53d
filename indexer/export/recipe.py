"""A checkpoint to a serving model: a folder that needs no torch, in int8, its loss measured."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from engine.checksums import FileEntry
from engine.errors import ModelError, SettingsError
from engine.models.encoder import TransformerEncoder, load_encoder
from engine.models.folder import (
    GRAPH_FILE,
    INFO_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    EncoderInfo,
    ModelInfo,
    Precision,
    RerankerInfo,
    fingerprint_of,
    verify_model,
)
from engine.models.reranker import PairReranker, TokenReranker, query_inputs, softmax
from engine.models.runtime import LENGTH_STEP
from engine.models.tokenizer import cutting, load_tokenizer
from engine.models.tokens import QUERY_TOKENS, pack
from engine.text import PASSAGE_TEMPLATE
from engine.types import Relevance
from indexer.evaluate.seen import TRAINING_QUERIES, trained_before, write_training_queries
from indexer.export.card import card
from indexer.export.graph import (
    Checkpoint,
    load_bi_encoder,
    load_cross_encoder,
    read_tokens,
    run_torch,
    training_libraries,
    weights_digest,
    write_graph,
    write_reranker_graph,
)
from indexer.folders import CARD, replaceable, replaced

MIN_COSINE = 0.98
"""Below it on any held-out text, the vectors are not comparable with full precision."""
MAX_SHIFT = 0.1
"""How far quantisation may move any class probability of a held-out pair."""
MIN_TOKEN_COSINE = 0.9
"""Below it, on average over tokens, two encoders are not one in two precisions: in int8 what ships
has 0.998, and models that were trained apart are near 0."""
MIN_CALIBRATION = 50
MOST_CALIBRATED, MOST_HELD_OUT = 500, 2_000
_COMPARED = 16
_BESIDE = (TOKENIZER_FILE, GRAPH_FILE, WEIGHTS_FILE, TRAINING_QUERIES)


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export wrote and what it cost."""

    folder: Path
    info: ModelInfo
    """Its `quantisation` has, for an encoder, cosines with full precision (`cosine_min`,
    `cosine_p1`, `cosine_mean`); for a reranker, shifts of probabilities (`shift_max`,
    `shift_mean`).
    """
    size_bytes: int


def export_encoder(
    base: str | Path,
    out: Path,
    *,
    calibration: Sequence[str],
    max_length: int = 128,
    precision: Precision = "int8",
    name: str = "",
    query_prefix: str | None = None,
    passage_prefix: str | None = None,
    provenance: Mapping[str, str] | None = None,
) -> ExportReport:
    """Export a bi-encoder: a Hugging Face id, a sentence-transformers folder, or a plain BERT.

    Args:
        base: id or folder. Mean and CLS pooling are understood; a plain BERT is mean-pooled.
        out: folder to write; a former model there is replaced once the export has succeeded.
        calibration: real passages and queries, prefixes not yet put before them. Half of them (500
            at most) fix the ranges of int8, the others (2,000 at most) measure what it cost.
        max_length: tokens read of a text, a multiple of 16.
        precision: `int8`, or `fp32` to keep every bit.
        name: for people; the base's name where empty.
        query_prefix: what the model wants before a query ("query: " for E5); None takes what it
            declares itself (a prompt of sentence-transformers), "" none.
        passage_prefix: what it wants before a passage; as for queries.
        provenance: further lines for the model card: license, revision, sources of calibration.

    Raises:
        MissingExtraError: torch, sentence-transformers or NNCF is not installed.
        ModelError: the base cannot be exported, the texts are too few, or int8 costs too much.
        EvaluationError: the base's list of training queries is damaged.
        SettingsError: something else than a model is in `out`.
    """
    out = replaceable(out, INFO_FILE, *_BESIDE)
    used, held_out = _split(calibration)
    with training_libraries():
        checkpoint, pooling = load_bi_encoder(str(base))
        query_prefix = checkpoint.query_prefix if query_prefix is None else query_prefix
        passage_prefix = checkpoint.passage_prefix if passage_prefix is None else passage_prefix
        with replaced(out) as folder:
            _write_tokenizer(folder, checkpoint, max_length)
            tokenizer = load_tokenizer(folder, max_length)
            sequences = tokenizer.encode_batch([passage_prefix + text for text in used])
            write_graph(folder / GRAPH_FILE, checkpoint.module, sequences, precision)
            info = EncoderInfo(
                name=name or Path(base).name,
                dim=checkpoint.width,
                pooling=pooling,
                query_prefix=query_prefix,
                passage_prefix=passage_prefix,
                **_common(folder, base, checkpoint, provenance),
                max_length=max_length,
                precision=precision,
            )
            prefixed = tokenizer.encode_batch([passage_prefix + text for text in held_out])
            expected = run_torch(checkpoint.module, prefixed)
            _write_info(folder, info)
            cosines = (load_encoder(folder).encode_passages(held_out) * expected).sum(axis=1)
            loss = {
                "cosine_min": float(cosines.min()),
                "cosine_p1": float(np.quantile(cosines, 0.01)),
                "cosine_mean": float(cosines.mean()),
            }
            if loss["cosine_min"] < MIN_COSINE:
                raise _too_costly(f"a cosine of {loss['cosine_min']:.4f} (at least {MIN_COSINE})")
            return _finish(folder, out, info, loss)


def export_reranker(
    base: str | Path,
    out: Path,
    *,
    calibration: Sequence[tuple[str, str]],
    labels: Sequence[str] | None = None,
    temperature: float = 1.0,
    max_length: int = 128,
    precision: Precision = "int8",
    name: str = "",
    provenance: Mapping[str, str] | None = None,
) -> ExportReport:
    """Export a cross-encoder of ESCI's four classes: a Hugging Face id or a folder.

    Args:
        base: id or folder of a sequence classifier.
        out: folder to write; a former model there is replaced once the export has succeeded.
        calibration: real (query, passage) pairs. Half of them (500 at most) fix the ranges of int8,
            the others (2,000 at most) measure what it cost.
        labels: the class of each logit, `exact` or `E` and so on; the base's own where None.
        temperature: logits are divided by it before the softmax.
        max_length: tokens read of a pair, a multiple of 16.
        precision: `int8`, or `fp32` to keep every bit.
        name: for people; the base's name where empty.
        provenance: further lines for the model card.

    Raises:
        MissingExtraError: torch, transformers or NNCF is not installed.
        ModelError: the base has other classes or cannot be exported, the pairs are too few, or int8
            costs too much.
        EvaluationError: the base's list of training queries is damaged.
        SettingsError: something else than a model is in `out`, or the temperature is none.
    """
    out = replaceable(out, INFO_FILE, *_BESIDE)
    _check_temperature(temperature)
    used, held_out = _split(calibration)
    with training_libraries():
        from indexer.train.crossencoder import HEAD_FILE  # noqa: PLC0415 - needs torch

        if (Path(base) / HEAD_FILE).is_file():
            raise ModelError(
                f"{base} is a checkpoint of `daogou train reranker`: name the exported encoder "
                "that it was trained over with --encoder"
            )
        checkpoint, own_labels = load_cross_encoder(str(base))
        with replaced(out) as folder:
            classes = _four_classes(base, labels or own_labels, len(own_labels))
            _write_tokenizer(folder, checkpoint, max_length)
            tokenizer = load_tokenizer(folder, max_length)
            sequences = tokenizer.encode_batch(used)
            graph = folder / GRAPH_FILE
            write_graph(graph, checkpoint.module, sequences, precision)
            info = RerankerInfo(
                name=name or Path(base).name,
                labels=classes,
                temperature=temperature,
                **_common(folder, base, checkpoint, provenance),
                max_length=max_length,
                precision=precision,
            )
            logits = run_torch(checkpoint.module, tokenizer.encode_batch(held_out))
            _write_info(folder, info)
            columns = [classes.index(relevance.name.lower()) for relevance in Relevance]
            expected = softmax(logits[:, columns] / temperature)
            served = PairReranker(folder, info)
            given = served.classify(*zip(*held_out, strict=True))
            return _finish(folder, out, info, _shift(given, expected))


def export_token_reranker(
    base: Path,
    encoder: Path,
    out: Path,
    *,
    calibration: Sequence[tuple[str, str]],
    temperature: float = 1.0,
    precision: Precision = "int8",
    name: str = "",
    provenance: Mapping[str, str] | None = None,
) -> ExportReport:
    """Export a cross-encoder of `daogou train reranker`, to read what `encoder` makes of passages.

    Args:
        base: the checkpoint.
        encoder: the exported encoder that the checkpoint was trained over.
        out: folder to write; a former model there is replaced once the export has succeeded.
        calibration: real (query, passage) pairs, as `export_reranker` takes them.
        temperature: logits are divided by it before the softmax.
        precision: `int8`, or `fp32` to keep every bit.
        name: for people; the base's name where empty.
        provenance: further lines for the model card.

    Raises:
        MissingExtraError: torch, transformers or NNCF is not installed.
        ModelError: either model cannot be read, the checkpoint was not trained over that encoder,
            the pairs are too few, or int8 costs too much: the encoder's, of what it makes of
            passages, is counted in.
        EvaluationError: the base's list of training queries is damaged.
        SettingsError: something else than a model is in `out`, or the temperature is none.
    """
    out = replaceable(out, INFO_FILE, *_BESIDE)
    _check_temperature(temperature)
    used, held_out = _split(calibration)
    with training_libraries():
        from indexer.train.crossencoder import load  # noqa: PLC0415 - needs torch
        from indexer.train.reranker import Texts, logits  # noqa: PLC0415 - needs torch

        model, written = load(base)
        reading = load_encoder(encoder, tokens=True)
        positions = model.transformer.config.max_position_embeddings
        checkpoint = Checkpoint(model.eval(), written, reading.dim, positions)
        _check_trained_over(base, checkpoint, encoder, reading, [passage for _, passage in used])
        with replaced(out) as folder:
            _write_tokenizer(folder, checkpoint, QUERY_TOKENS)
            tokenizer = load_tokenizer(folder, QUERY_TOKENS)
            write_reranker_graph(
                folder / GRAPH_FILE, model, _read(used, tokenizer, reading), precision
            )
            info = RerankerInfo(
                name=name or base.name,
                labels=_LABELS,
                temperature=temperature,
                encoder=reading.fingerprint,
                **_common(folder, base, checkpoint, provenance),
                max_length=QUERY_TOKENS,
                precision=precision,
            )
            _write_info(folder, info)
            served = TokenReranker(folder, info)
            given = np.concatenate(
                [
                    served.classify_read(query, pack(reading.read_passages([passage])[1]))
                    for query, passage in held_out
                ]
            )
            queries, passages = zip(*held_out, strict=True)
            expected = softmax(
                logits(model, Texts(model, written), queries, passages) / temperature
            )
            return _finish(folder, out, info, _shift(given, expected))


_LABELS = ("irrelevant", "complement", "substitute", "exact")
"""The logits of a checkpoint of ours are in the order of `Relevance`."""


def _read(
    pairs: Sequence[tuple[str, str]], tokenizer: Tokenizer, encoder: TransformerEncoder
) -> list[dict[str, Any]]:
    """Inputs of the graph, one a pair."""
    _, tokens = encoder.read_passages([passage for _, passage in pairs])
    inputs: list[dict[str, Any]] = []
    for (query, _), passage in zip(pairs, tokens, strict=True):
        asked, read = query_inputs(tokenizer, query), pack([passage])
        inputs.append(asked | {"passages": read.hidden, "passage_mask": read.mask})
    return inputs


def _check_temperature(temperature: float) -> None:
    if not 0 < temperature < math.inf:
        raise SettingsError(
            f"--temperature: {temperature} is none. Give a number above 0, 1 to leave logits as "
            "they are"
        )


def _check_trained_over(
    base: Path,
    checkpoint: Checkpoint,
    folder: Path,
    encoder: TransformerEncoder,
    passages: Sequence[str],
) -> None:
    """Make sure that a checkpoint of ours reads passages as the encoder does.

    Raises:
        ModelError: it has another tokenizer or width, or makes something else of the first ones.
    """
    some = passages[:_COMPARED]
    longest = min(encoder.info.max_length, checkpoint.positions)
    sequences = cutting(Tokenizer.from_str(checkpoint.tokenizer), longest).encode_batch(some)
    _, read = encoder.read_passages(some)
    if checkpoint.module.transformer.config.hidden_size == encoder.dim:
        cosines = [
            _cosines(own[: len(other)], other)
            for own, other in zip(read_tokens(checkpoint.module, sequences), read, strict=True)
        ]
        if np.concatenate(cosines).mean() >= MIN_TOKEN_COSINE:
            return
    raise ModelError(
        f"{base} was not trained over the encoder in {folder}, which makes something else of "
        "texts. Name the exported encoder that it was trained over with --encoder"
    )


def _cosines(ours: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """The cosine of each token with the other model's; 0 where the texts were cut otherwise."""
    if ours.shape != others.shape:
        return np.zeros(1, dtype=np.float32)
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(others, axis=1)
    found: NDArray[np.float32] = (ours * others).sum(axis=1) / lengths
    return found


def _shift(given: NDArray[np.float32], expected: NDArray[np.float32]) -> dict[str, float]:
    """How far probabilities moved, (pairs, 4) both.

    Raises:
        ModelError: too far.
    """
    shifts = np.abs(given - expected)
    loss = {"shift_max": float(shifts.max()), "shift_mean": float(shifts.mean())}
    if loss["shift_max"] > MAX_SHIFT:
        raise _too_costly(
            f"a shift of a probability by {loss['shift_max']:.3f} (at most {MAX_SHIFT})"
        )
    return loss


def _split(texts: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Texts to calibrate on and texts to measure on: disjoint, chosen by chance with a fixed seed.

    A model is as exact as its worst text, so short queries and long passages are in both.
    """
    distinct = list(dict.fromkeys(texts))
    if len(distinct) < MIN_CALIBRATION:
        raise ModelError(
            f"{len(distinct)} distinct calibration texts are too few: give {MIN_CALIBRATION} or "
            f"more, best {MOST_CALIBRATED + MOST_HELD_OUT}, of what the model will read."
        )
    random.Random(0).shuffle(distinct)  # noqa: S311 - a sample, not a secret
    half = min(MOST_CALIBRATED, len(distinct) // 2)
    return distinct[:half], distinct[half : half + MOST_HELD_OUT]


def _write_tokenizer(folder: Path, checkpoint: Checkpoint, max_length: int) -> None:
    """Write the tokenizer, once it is sure that the model can read so many tokens."""
    if max_length % LENGTH_STEP or not 0 < max_length <= checkpoint.positions:
        raise ModelError(
            f"a maximum length of {max_length} does not fit: give a multiple of {LENGTH_STEP} "
            f"up to {checkpoint.positions}, as many tokens as the base can read."
        )
    cleaned = Tokenizer.from_str(checkpoint.tokenizer)
    cleaned.no_padding()
    cleaned.no_truncation()
    cleaned.save(str(folder / TOKENIZER_FILE), pretty=False)


def _common(
    folder: Path, base: str | Path, checkpoint: Checkpoint, provenance: Mapping[str, str] | None
) -> dict[str, Any]:
    """What encoder and reranker record alike, and the training queries of a base of ours."""
    if known := trained_before(base):
        write_training_queries(folder, (), known)
    base_name = Path(base).name if Path(base).exists() else str(base)
    return {
        "weights": weights_digest(checkpoint.module),
        "passage_template": PASSAGE_TEMPLATE,
        "fingerprint": "",
        "files": {path.name: FileEntry.of(path) for path in sorted(folder.iterdir())},
        "provenance": {"base": base_name, **(provenance or {})},
    }


def _four_classes(
    base: str | Path, labels: Sequence[str], logits: int
) -> tuple[str, str, str, str]:
    """Names of `Relevance` in logit order, from names or ESCI letters in any case."""
    known = {relevance.name.lower(): relevance.name.lower() for relevance in Relevance}
    known |= {name[0]: name for name in known}
    named = [known.get(label.strip().lower(), "") for label in labels]
    if logits != len(Relevance) or sorted(named) != sorted(set(known.values())):
        raise ModelError(
            f"{base} gives {logits} logits, labelled {', '.join(labels)}. A reranker has four, "
            "one for each of exact, substitute, complement, irrelevant: train one with them, or "
            "name them in logit order if it has them under other names."
        )
    return (named[0], named[1], named[2], named[3])


def _write_info(folder: Path, info: ModelInfo) -> ModelInfo:
    """Write model.json with the fingerprint filled in; returns what was written."""
    complete = info.model_copy(update={"fingerprint": fingerprint_of(info)})
    (folder / INFO_FILE).write_text(complete.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return complete


def _finish(folder: Path, out: Path, info: ModelInfo, loss: Mapping[str, float]) -> ExportReport:
    """Record the loss, write the model card, and report on the folder that `out` becomes.

    Raises:
        ModelError: what was written cannot be read back; `out` stays as it is then.
    """
    rounded = {name: round(value, 5) for name, value in loss.items()}
    complete = _write_info(folder, info.model_copy(update={"quantisation": rounded}))
    (folder / CARD).write_text(card(complete), encoding="utf-8")
    verify_model(folder)
    size = sum(path.stat().st_size for path in folder.iterdir())
    return ExportReport(out, complete, size)


def _too_costly(what: str) -> ModelError:
    return ModelError(
        f"int8 costs {what} on the worst held-out text. Calibrate on more texts like those the "
        "model will read, short queries and long passages both, or export with precision fp32."
    )
