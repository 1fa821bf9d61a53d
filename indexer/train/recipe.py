"""The settings of every training, in one place."""

from __future__ import annotations

from dataclasses import dataclass

from engine.models.tokens import READ_TOKENS
from indexer.train.gather import Amounts, Gathered
from indexer.train.record import Stage


@dataclass(frozen=True, slots=True)
class StageSettings:
    """A stage before its lists are known; see `Stage` for what each weight weighs."""

    name: str
    kinds: tuple[str, ...]
    """Which lists it is trained on: fields of `Gathered`."""
    epochs: int
    learning_rate: float
    listwise: float = 1.0
    classes: float = 0.0
    contrastive: float = 0.0
    keep: float = 0.0


AMOUNTS = Amounts(real=800, pseudo=250, taught=8, mined=6)

ENCODER_LENGTH = 64
ENCODER_STAGES = (
    StageSettings(
        "lists", ("real", "pseudo", "machine", "records"), 1, 5e-5, contrastive=0.5, keep=0.5
    ),
    StageSettings("gold", ("gold",), 1, 2e-5, contrastive=0.5, keep=0.5),
)

RERANKER_AMOUNTS = Amounts(real=1_500, pseudo=200, taught=8, mined=6)
RERANKER_STAGES = (
    StageSettings("lists", ("machine", "records", "real", "pseudo"), 1, 5e-5, classes=1.0),
    StageSettings("gold", ("gold",), 1, 3e-5, classes=1.0),
)
CALIBRATION = 0.1
"""Share of the queries of gold kept out of the reranker's training, to fit the temperature on."""

SERVED_LENGTH = READ_TOKENS
"""Tokens the exported encoder reads of a text."""


def stages(
    settings: tuple[StageSettings, ...],
    gathered: Gathered,
    *,
    epochs: int | None = None,
    matryoshka: tuple[int, ...] = (),
) -> list[Stage]:
    """The stages that there are lists for.

    Args:
        settings: `ENCODER_STAGES` or `RERANKER_STAGES`.
        gathered: the lists.
        epochs: instead of each stage's own.
        matryoshka: leading dimensions of the encoder's vectors to be worth something alone.
    """
    return [
        Stage(
            each.name,
            lists,
            epochs=epochs or each.epochs,
            learning_rate=each.learning_rate,
            listwise=each.listwise,
            classes=each.classes,
            contrastive=each.contrastive,
            keep=each.keep,
            matryoshka=matryoshka,
        )
        for each in settings
        if (lists := gathered.of(each.kinds))
    ]
