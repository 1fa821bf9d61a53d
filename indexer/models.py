"""Which models and which ranking go into a snapshot: an index carries what it was made with."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from engine.errors import ModelError
from engine.manifest import ModelEntry
from engine.models.folder import EncoderInfo, ModelInfo, RerankerInfo, read_model_info
from engine.models.reranker import SHIPPED_RERANKER
from engine.retrieval.lexical import FINGERPRINT
from engine.retrieval.ranking import (
    SHIPPED_RANKING,
    FittedOn,
    RankingInfo,
    read_ranking_info,
)
from engine.snapshot import check_ranking
from indexer.reuse import Before


def choose_models(encoder: Path, reranker: Path | None) -> dict[str, tuple[Path, ModelInfo]]:
    """Where the models that go into the snapshot lie, and what they say of themselves; by kind.

    The reranker that ships is left out beside another encoder.

    Raises:
        ModelError: one is missing or damaged, or the reranker reads another encoder's tokens.
    """
    sources = {"encoder": encoder}
    if reranker is not None:
        sources["reranker"] = reranker
    models = {kind: (path, read_model_info(path, kind=kind)) for kind, path in sources.items()}
    _, own = models["encoder"]
    _, other = models.get("reranker", (None, None))
    if isinstance(other, RerankerInfo) and other.encoder not in {"", own.fingerprint}:
        if reranker != SHIPPED_RERANKER:
            raise ModelError(
                f"the reranker {other.name!r} reads what another encoder than {own.name!r} "
                "makes of products. Name the encoder it was exported with, or train one on this: "
                "daogou train reranker"
            )
        del models["reranker"]  # nobody asked for it
    return models


def infos_of(models: Mapping[str, tuple[Path, ModelInfo]]) -> dict[str, ModelInfo]:
    """What the chosen models say of themselves, by kind."""
    return {kind: info for kind, (_, info) in models.items()}


def adopt_models(
    folder: Path, models: Mapping[str, tuple[Path, ModelInfo]], before: Before | None
) -> None:
    """Put the models into the snapshot: an index carries what it was made with."""
    for kind, (source, info) in models.items():
        part = f"models/{kind}"
        same = before is not None and before.snapshot.manifest.models.get(kind) == model_entry(info)
        if before is not None and same and before.whole(part):
            before.share(folder, part)
        else:
            shutil.copytree(source, folder / part)


def adopt_ranking(
    folder: Path, source: Path | None, models: Mapping[str, ModelInfo]
) -> ModelEntry | None:
    """Copy the final ranking into the snapshot, if one is given and fits its models."""
    if source is None:
        return None
    info = read_ranking_info(source)
    reranker = models.get("reranker")
    here = FittedOn(
        encoder=models["encoder"].fingerprint,
        lexical=FINGERPRINT,
        reranker=None if reranker is None else reranker.fingerprint,
    )
    try:
        check_ranking(info, here)
    except ModelError:
        if source == SHIPPED_RANKING:  # nobody asked for it
            return None
        raise
    shutil.copytree(source, folder / "ranking")
    return ranking_entry(info)


def ranking_entry(info: RankingInfo) -> ModelEntry:
    """What a manifest says of a final ranking."""
    return ModelEntry(name=info.name, fingerprint=info.fingerprint, precision="fp64")


def model_entry(info: ModelInfo) -> ModelEntry:
    """What a manifest says of a model."""
    return ModelEntry(name=info.name, fingerprint=info.fingerprint, precision=info.precision)


def encoder_of(models: Mapping[str, ModelInfo]) -> EncoderInfo:
    """What the encoder among the models says of itself.

    Raises:
        ModelError: there is none.
    """
    info = models.get("encoder")
    if not isinstance(info, EncoderInfo):
        raise ModelError("a snapshot needs an encoder. Name one: --encoder DIR")
    return info


def reads_kept(models: Mapping[str, ModelInfo]) -> bool:
    """Whether a reranker reads what the encoder makes of passages."""
    reranker = models.get("reranker")
    return isinstance(reranker, RerankerInfo) and bool(reranker.encoder)
