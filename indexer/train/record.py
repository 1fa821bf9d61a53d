"""What a training was: its stages, its data, how long it took; and the model card that says so."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from indexer.evaluate.seen import (
    TRAINING_QUERIES,
    read_training_hashes,
    trained_before,
    write_training_queries,
)
from indexer.train.lists import QueryList


@dataclass(frozen=True, slots=True)
class Stage:
    """One pass of a recipe over its own lists."""

    name: str
    lists: Sequence[QueryList]
    epochs: int = 1
    learning_rate: float = 5e-5
    listwise: float = 1.0
    """Weight of the loss inside each list."""
    classes: float = 0.0
    """Weight of the loss of the four classes; the reranker's alone."""
    contrastive: float = 0.0
    """Weight of the loss against the other lists of the batch; the encoder's alone."""
    keep: float = 0.0
    """Share of the weights before the stage in those after it: see `loop.fit`."""
    matryoshka: tuple[int, ...] = ()
    """Leading dimensions that are to be worth something alone; the encoder's alone."""

    @property
    def settings(self) -> dict[str, Any]:
        """Everything but the lists."""
        names = ("name", "epochs", "learning_rate", "listwise", "classes", "contrastive", "keep")
        return {name: getattr(self, name) for name in names} | {"matryoshka": list(self.matryoshka)}

    @property
    def pairs(self) -> int:
        """Candidates of all lists, once."""
        return sum(len(each.candidates) for each in self.lists)


def digest_of(weights: str, stages: Iterable[Stage], seed: int, max_length: int) -> str:
    """Hex digest of start, recipe and data: a checkpoint of another one is not gone on from.

    Args:
        weights: digest of what the training starts from, wherever it lies.
        stages: up to the one whose checkpoint it is.
        seed: of the order and of dropout.
        max_length: tokens read of a text.
    """
    digest = hashlib.sha256(json.dumps([weights, seed, max_length]).encode())
    for stage in stages:
        digest.update(json.dumps(stage.settings, sort_keys=True).encode())
        for each in stage.lists:
            digest.update(f"{each.catalog}\t{each.query}\t{each.classes}\n".encode())
            for one in each.candidates:
                label = f"{one.origin}\t{one.grade}\t{one.teacher}\t{one.weight}"
                digest.update(f"{one.product_id}\t{label}\n{one.passage}\n".encode())
    return digest.hexdigest()


@dataclass(slots=True)
class Record:
    """A training as it goes."""

    kind: str
    base: str
    stages: Sequence[Stage]
    seed: int
    max_length: int
    done: list[dict[str, Any]] = field(default_factory=list)
    temperature: float | None = None
    """Of the class probabilities; None where it was not fitted."""
    calibration: Sequence[QueryList] = ()
    """Lists that temperature and biases were fitted on, and no stage."""
    texts_read: int = 0
    """Texts whose reading no stage counts, because no stage changes it."""
    reading_seconds: float = 0.0

    def finished(self, stage: Stage, losses: Sequence[float], seconds: float) -> None:
        """Note a stage's end."""
        tenth = max(1, len(losses) // 10)
        self.done.append(
            stage.settings
            | {
                "lists": len(stage.lists),
                "pairs": stage.pairs,
                "origins": _origins(stage.lists),
                "steps": len(losses),
                "loss_first_tenth": round(float(np.mean(losses[:tenth])), 4) if losses else None,
                "loss_last_tenth": round(float(np.mean(losses[-tenth:])), 4) if losses else None,
                "seconds": round(seconds, 1),
            }
        )


def _origins(lists: Iterable[QueryList]) -> dict[str, int]:
    """Candidates by where their label comes from."""
    found = Counter(f"{one.origin}: {one.source}" for each in lists for one in each.candidates)
    return dict(sorted(found.items()))


def write_record(out: Path, record: Record, facts: Mapping[str, str]) -> None:
    """Write training.json, the hashes of the training queries, and the model card into `out`.

    What the base was trained on counts as trained on, and so does what the model was calibrated on.

    Raises:
        EvaluationError: the base's list of training queries is damaged.
    """
    trained = chain.from_iterable(stage.lists for stage in record.stages)
    queries = {each.query for each in chain(trained, record.calibration)}
    write_training_queries(out, queries, trained_before(record.base))
    about = {
        "kind": record.kind,
        "base": Path(record.base).name if Path(record.base).exists() else record.base,
        "seed": record.seed,
        "max_length": record.max_length,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "training_queries": len(read_training_hashes(out)),
        "temperature": record.temperature,
        "reading": {"texts": record.texts_read, "seconds": round(record.reading_seconds, 2)},
        "stages": record.done,
        "facts": dict(facts),
    }
    written = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
    (out / "training.json").write_text(written, encoding="utf-8")
    (out / "README.md").write_text(_card(about), encoding="utf-8")


def _card(about: Mapping[str, Any]) -> str:
    """The model card (Mitchell et al. 2019) of a checkpoint, as Markdown."""
    rows = [
        f"| {stage['name']} | {stage['lists']:,} | {stage['pairs']:,} | {stage['epochs']} "
        f"| {stage['learning_rate']:g} | {stage['loss_first_tenth']} → {stage['loss_last_tenth']} |"
        for stage in about["stages"]
    ]
    origins = [
        f"- {stage['name']}: "
        + "; ".join(f"{origin}, {count:,} pairs" for origin, count in stage["origins"].items())
        for stage in about["stages"]
    ]
    facts = [f"- {name}: {text}" for name, text in about["facts"].items()]
    return "\n".join(
        [
            f"# {about['kind']}, trained by daogou",
            "",
            f"From `{about['base']}`, seed {about['seed']}, {about['max_length']} tokens a text; "
            f"finished {about['finished']}.",
            f"{about['training_queries']:,} training queries: their hashes are in "
            f"`{TRAINING_QUERIES}`, and `daogou evaluate search` counts those it meets again.",
            "",
            "| stage | lists | pairs | epochs | learning rate | loss |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            "## Data",
            *origins,
            "",
            *facts,
            "",
            "## Use and limits",
            "For product search in the language and trade it was trained on. What its base learnt "
            "from its text, unfairness included, it kept. Labels by machines and clicks carry the "
            "errors of those who gave them. Measure on your own judged queries before you rely on "
            "it: `daogou evaluate search`.",
            "",
        ]
    )
