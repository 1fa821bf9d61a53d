"""The current snapshot with another part, published: what `daogou publish` does."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from engine import clock
from engine.checksums import FileEntry
from engine.errors import ModelError, SettingsError
from engine.guide.behaviour import FOLDER, open_behaviour
from engine.guide.evidence import FOLDER as EVIDENCE_FOLDER
from engine.guide.evidence import EvidenceInfo, load_evidence
from engine.manifest import Manifest, check_files, describe_files, read_manifest
from engine.models.folder import RerankerInfo, read_model_info, verify_model
from engine.models.reranker import SHIPPED_RERANKER
from engine.retrieval.ranking import read_ranking_info
from engine.snapshot import check_ranking, fingerprints
from engine.store import SnapshotStore, Staging
from engine.types import Stage
from indexer.build import faults_named, staged
from indexer.making import smoke_test
from indexer.models import model_entry, ranking_entry
from indexer.progress import Progress, Silent
from indexer.sharing import share

_RANKING, _RERANKER = "ranking", "models/reranker"


@dataclass(frozen=True, slots=True)
class PublishReport:
    """What was published."""

    snapshot_id: str
    folder: Path
    ranking: str | None
    """Name of the final ranking it has."""
    reranker: str | None
    """Name of the reranker it has."""
    dropped_ranking: str | None
    """Name of the ranking it no longer has: fitted on another reranker than the new one."""
    recommends: bool
    """Whether it holds what shoppers did."""
    new_bytes: int
    """Of files that the snapshot before did not have."""


def publish(
    store: Path,
    *,
    ranking: Path | None = None,
    reranker: Path | None = None,
    behaviour: Path | None = None,
    evidence: Path | None = None,
    threads: int = 0,
    progress: Progress | None = None,
) -> PublishReport:
    """Serve the store's current snapshot with these parts from now on.

    A new snapshot is made; what does not change is hard-linked to the one before, or copied where
    the disk has no links. Killed at any moment, the store serves what it served before or all of
    the new one.

    Args:
        store: folder of the snapshots.
        ranking: a final ranking, as `daogou train ranking` writes it.
        reranker: an exported cross-encoder. A ranking fitted on another one is left out, unless
            `ranking` is given too.
        behaviour: what shoppers did, as `daogou train recommend` writes it.
        evidence: what finds answers in texts, as `daogou train evidence` writes it.
        threads: inference threads of the trial search; 0 takes every core.
        progress: where to report.

    Raises:
        SettingsError: nothing to publish was named.
        ModelError: a part is damaged, or the ranking was fitted on other models.
        SnapshotError: nothing is published yet, the snapshot is damaged, or the store cannot be
            written to; StoreLockedError where another process is.
    """
    if not any((ranking, reranker, behaviour, evidence)):
        raise SettingsError(
            "nothing to publish. Give --ranking, --reranker, --behaviour or --evidence DIR"
        )
    if behaviour is not None:
        open_behaviour(behaviour)  # a damaged one is refused before anything is made
    snapshots = SnapshotStore(store)
    with snapshots.writing(), faults_named(store), staged(snapshots) as staging:
        current = snapshots.current()
        before = read_manifest(current)
        if evidence is not None:
            _check_evidence(load_evidence(evidence).info, before)
        manifest = _planned(current, before, staging, ranking, reranker)
        parts = {
            _RANKING: ranking,
            _RERANKER: reranker,
            FOLDER: behaviour,
            EVIDENCE_FOLDER: evidence,
        }
        new = {part: folder for part, folder in parts.items() if folder is not None}
        kept = _kept(before, manifest, set(new))
        # Native code that reads a damaged file may say anything, or panic.
        entries = {name: before.files[name] for name in kept}
        check_files(current, before.model_copy(update={"files": entries}), every_byte=False)
        _share(current, staging.folder, kept, progress or Silent())
        # What is shared keeps the checksums it has: described anew, damage would pass for whole.
        added = _add(staging.folder, new)
        manifest = manifest.model_copy(update={"files": added | entries})
        stage = Stage.FUSED if reranker is None else Stage.RERANKED
        smoke_test(staging.folder, manifest, threads, stage)
        # All that can be shared is: linking it once more would leave second names behind.
        folder = snapshots.publish(replace(staging, parent=None), manifest)
    entry = manifest.models.get("reranker")
    dropped = before.ranking is not None and manifest.ranking is None
    return PublishReport(
        snapshot_id=manifest.id,
        folder=folder,
        ranking=None if manifest.ranking is None else manifest.ranking.name,
        reranker=None if entry is None else entry.name,
        dropped_ranking=before.ranking.name if before.ranking and dropped else None,
        recommends=any(name.startswith(f"{FOLDER}/") for name in manifest.files),
        new_bytes=sum(entry.size for entry in added.values()),
    )


def _planned(
    current: Path, before: Manifest, staging: Staging, ranking: Path | None, reranker: Path | None
) -> Manifest:
    """The next manifest, but for its files.

    Raises:
        ModelError: a part is damaged, or the given ranking does not fit.
    """
    models = dict(before.models)
    if reranker is not None:
        _check_reads(read_model_info(reranker, kind="reranker"), before)
        models["reranker"] = model_entry(verify_model(reranker))
    manifest = before.model_copy(
        update={
            "id": staging.id,
            "parent": staging.parent,
            "created_at": clock.now(),
            "daogou_version": version("daogou"),
            "models": models,
        }
    )
    if ranking is not None:
        info = read_ranking_info(ranking)
        check_ranking(info, fingerprints(manifest))
        return manifest.model_copy(update={"ranking": ranking_entry(info)})
    if before.ranking is not None and reranker is not None:
        info = read_ranking_info(current / _RANKING)
        try:
            check_ranking(info, fingerprints(manifest))
        except ModelError:  # fitted on the reranker that goes
            return manifest.model_copy(update={"ranking": None})
    return manifest


def _check_reads(reranker: RerankerInfo, before: Manifest) -> None:
    """Refuse a reranker that reads what the snapshot does not keep.

    Raises:
        ModelError: it reads another encoder's tokens, or none were kept.
    """
    if not reranker.encoder:
        return
    encoder = before.models["encoder"]
    if reranker.encoder != encoder.fingerprint:
        raise ModelError(
            f"the reranker {reranker.name!r} reads what another encoder than {encoder.name!r} "
            "makes of products. Index the catalog with both: "
            "daogou index --encoder DIR --reranker DIR"
        )
    if not any(name.startswith("passages/") for name in before.files):
        raise ModelError(
            f"the reranker {reranker.name!r} reads what the encoder makes of products, which this "
            "snapshot does not keep. Index the catalog with it: daogou index --reranker DIR"
        )


def _check_evidence(evidence: EvidenceInfo, before: Manifest) -> None:
    """Refuse a ranker that reads what another encoder makes of texts, or adapts what is not there.

    Raises:
        ModelError: it does.
    """
    encoder = before.models["encoder"]
    if evidence.encoder != encoder.fingerprint:
        raise ModelError(
            f"{evidence.name!r} was fitted on another encoder than {encoder.name!r}. Train it "
            "again: daogou train evidence --index-encoder DIR"
        )
    there = {"", read_model_info(SHIPPED_RERANKER, kind="reranker").fingerprint}
    if "reranker" in before.models:
        there.add(before.models["reranker"].fingerprint)
    if evidence.reranker not in there:
        raise ModelError(
            f"{evidence.name!r} adapts a reranker that neither ships nor is in the snapshot. Train "
            "it again: daogou train evidence --reranker DIR"
        )


def _kept(before: Manifest, manifest: Manifest, replaced: set[str]) -> list[str]:
    """The files that the new snapshot shares with the one before."""
    if manifest.ranking is None:
        replaced = replaced | {_RANKING}
    prefixes = tuple(f"{part}/" for part in replaced)
    return [name for name in before.files if not name.startswith(prefixes)]


def _share(source: Path, target: Path, names: list[str], progress: Progress) -> None:
    """Hard-link files into another folder; copy them where the disk has no links."""
    with progress.step("Sharing", len(names)) as advance:
        for name in names:
            share(source, target, [name])
            advance(1)


def _add(target: Path, parts: Mapping[str, Path]) -> dict[str, FileEntry]:
    """Copy new parts into the snapshot; returns their files by path in it."""
    files: dict[str, FileEntry] = {}
    for part, folder in parts.items():
        shutil.copytree(folder, target / part)
        described = describe_files(target / part)
        files |= {f"{part}/{name}": entry for name, entry in described.items()}
    return files
