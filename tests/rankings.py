"""Final rankings with weights written by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from engine.manifest import Manifest
from engine.retrieval.ranking import (
    Cutoff,
    FittedOn,
    LearnedRanking,
    RankingInfo,
    StageModel,
    Weighed,
    load_ranking,
    write_info,
)
from engine.snapshot import fingerprints
from engine.types import Stage


def weighed(weights: Mapping[str, float]) -> Weighed:
    """A plain weighted sum."""
    ones = tuple(1.0 for _ in weights)
    return Weighed(
        names=tuple(weights),
        weights=tuple(weights.values()),
        centre=tuple(0.0 for _ in weights),
        scale=ones,
    )


def cutoff(weights: Mapping[str, float], bias: float = 0.0, threshold: float = 0.5) -> Cutoff:
    return Cutoff(statistics=weighed(weights), bias=bias, threshold=threshold)


def stage_model(weights: Mapping[str, float], cut: Cutoff | None = None) -> StageModel:
    return StageModel(linear=weighed(weights), features=tuple(weights), cutoff=cut)


def info_for(
    fitted_on: Manifest | FittedOn,
    stages: Mapping[Stage, StageModel],
) -> RankingInfo:
    here = fingerprints(fitted_on) if isinstance(fitted_on, Manifest) else fitted_on
    if Stage.RERANKED not in stages:
        here = here.model_copy(update={"reranker": None})
    return RankingInfo(name="by hand", stages=dict(stages), fitted_on=here)


def write_ranking(folder: Path, info: RankingInfo) -> LearnedRanking:
    """Write the folder and read it back."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text("# by hand\n", encoding="utf-8")
    write_info(folder, info)
    return load_ranking(folder)
