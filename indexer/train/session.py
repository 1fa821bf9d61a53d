"""One training as the command line asks for it: read, index, mine, train, and say what it was."""

from __future__ import annotations

import importlib.util
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from random import Random
from typing import Literal

from engine.errors import MissingExtraError, TrainingError
from engine.models.encoder import SHIPPED_ENCODER
from engine.normal import comparable
from engine.search import SearchEngine
from engine.settings import load_settings
from indexer.build import IndexOptions, index_catalog
from indexer.progress import Progress, Silent
from indexer.train import recipe
from indexer.train.gather import Amounts, Gathered, gather
from indexer.train.lists import QueryList
from indexer.train.makers import Searching
from indexer.train.mine import strangers
from indexer.train.record import Stage
from indexer.train.sources import CatalogEntry, Sources
from indexer.train.steps import Steps, state_of

Kind = Literal["encoder", "reranker"]

SAMPLE_PAIRS = 320
"""Pairs that a dry run really trains on."""


@dataclass(frozen=True, slots=True)
class Job:
    """A training asked for."""

    kind: Kind
    base: str
    """Id or folder; "shipped" for what comes with daogou."""
    out: Path
    store: Path | None = None
    """Snapshots of the one catalog; where None, it is indexed below `out`."""
    encoder: Path = SHIPPED_ENCODER
    """Exported encoder that indexes for mining."""
    seed: int = 0
    max_length: int = recipe.ENCODER_LENGTH
    """Tokens that an encoder is trained to read of a text."""
    epochs: int | None = None
    matryoshka: tuple[int, ...] = ()
    threads: int = 0
    amounts: Amounts = recipe.AMOUNTS
    calibration: float = recipe.CALIBRATION
    """Share of judged queries that a reranker is calibrated on instead of trained."""
    without: tuple[str, ...] = ()
    """Texts of queries that nothing is to be learnt from."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a training would be."""

    counts: tuple[tuple[str, int, int], ...]
    """Of each kind of list: its name, lists, pairs."""
    stages: tuple[tuple[str, int, float], ...]
    """Of each stage: its name, pairs over all epochs, seconds. Reading counts texts."""
    left_out: Mapping[str, int]
    """By file, pairs whose product the catalog lacks."""


def run(
    job: Job,
    sources: Sources,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Train; the folder of the checkpoint. Called again after a kill, it goes on where it was.

    Raises:
        MissingExtraError: the training libraries are not installed.
        TrainingError: there is nothing to train on, or `out` holds another training.
    """
    progress = progress or Silent()
    with libraries(job.threads):
        engines = open_engines(job, sources, progress, say)
        makers = {name: Searching(engine, name, job.seed) for name, engine in engines.items()}
        say("making lists")
        gathered = gather(sources, makers, job.amounts, seed=job.seed, without=job.without)
        for kind, lists, pairs in gathered.counts():
            say(f"{kind}: {lists:,} lists, {pairs:,} pairs")
        return train(job, gathered, progress)


def train(job: Job, gathered: Gathered, progress: Progress) -> Path:
    """Train on lists that are ready; the folder of the checkpoint."""
    base = _base(job)
    if job.kind == "encoder":
        from indexer.train.encoder import train_encoder  # noqa: PLC0415 - heavy

        return train_encoder(
            base, _stages(job, gathered), job.out,
            max_length=job.max_length, seed=job.seed, progress=progress, facts=gathered.facts,
        )  # fmt: skip
    from indexer.train.reranker import train_reranker  # noqa: PLC0415 - heavy

    trained, kept = hold_out(gathered.gold, job.calibration, job.seed)
    beside = replace(
        gathered,
        gold=strangers(trained, seed=job.seed),
        machine=strangers(gathered.machine, seed=job.seed),
        records=strangers(gathered.records, seed=job.seed),
    )
    return train_reranker(
        base, _stages(job, beside), job.out,
        seed=job.seed, progress=progress, facts=gathered.facts, calibration=kept,
    )  # fmt: skip


def estimate(job: Job, sources: Sources) -> Estimate:
    """What `run` would train on and for how long; nothing is kept on disk.

    Lists to be mined and taught are stood in for by chance; some real steps are timed.

    Raises:
        MissingExtraError: the training libraries are not installed.
        TrainingError: there is nothing to train on.
    """
    gathered = gather(sources, {}, job.amounts, seed=job.seed, without=job.without)
    stages = _stages(job, gathered)
    with libraries(job.threads), tempfile.TemporaryDirectory() as folder:
        trial = replace(job, out=Path(folder) / "trial", epochs=1)
        sample = Gathered(gold=_some([each for stage in stages for each in stage.lists], job.seed))
        train(trial, sample, Silent())
        record = json.loads((trial.out / "training.json").read_bytes())
        (timed,) = [stage for stage in record["stages"] if stage["pairs"]]
    each_second = timed["pairs"] * timed["epochs"] / max(timed["seconds"], 0.1)
    steps = [
        (stage.name, stage.pairs * stage.epochs, stage.pairs * stage.epochs / each_second)
        for stage in stages
    ]
    if read := record["reading"]["texts"]:
        lists = chain.from_iterable(stage.lists for stage in stages)
        texts = len({one.passage for each in lists for one in each.candidates})
        steps.insert(0, ("reading", texts, texts * record["reading"]["seconds"] / read))
    return Estimate(tuple(gathered.counts()), tuple(steps), dict(gathered.left_out))


def restart(out: Path) -> None:
    """Forget what was trained in `out`; what was indexed for it stays."""
    shutil.rmtree(out / "stages", ignore_errors=True)


def hold_out(
    lists: Sequence[QueryList], share: float, seed: int
) -> tuple[list[QueryList], list[QueryList]]:
    """Lists to train on, and those of a share of the queries with classes, drawn by chance."""
    queries = sorted({comparable(each.query) for each in lists if each.classes})
    kept = set(Random(seed).sample(queries, int(share * len(queries))))  # noqa: S311
    return (
        [each for each in lists if comparable(each.query) not in kept],
        [each for each in lists if comparable(each.query) in kept],
    )


def open_engines(
    job: Job, sources: Sources, progress: Progress, say: Callable[[str], None]
) -> dict[str, SearchEngine]:
    """An engine over each catalog, indexed if it was not before."""
    if job.store is not None:
        if len(sources.catalog) > 1:
            raise TrainingError("--store holds one catalog, --sources names several. Leave it out")
        settings = load_settings(threads=job.threads)
        return {sources.catalog[0].name: SearchEngine.open(job.store, settings)}
    return {
        entry.name: index(entry, job.out / "work", progress, say, job.encoder, threads=job.threads)
        for entry in sources.catalog
    }


def index(
    entry: CatalogEntry,
    work: Path,
    progress: Progress,
    say: Callable[[str], None],
    encoder: Path,
    *,
    reranker: Path | None = None,
    threads: int = 0,
) -> SearchEngine:
    """An engine over the snapshot of a catalog in `work`, indexed if it was not before."""
    store = work / "stores" / entry.name
    options = IndexOptions(
        layout=entry.layout, mapping=entry.map, encoder=encoder, reranker=reranker, ranking=None,
        threads=threads,
    )  # fmt: skip
    models = [state_of(folder) for folder in (encoder, reranker) if folder]
    made_with = [state_of(entry.products), entry.layout, dict(entry.map), models]
    Steps(work / "steps", say).run(
        f"index-{entry.name}",
        made_with,
        lambda: index_catalog(entry.products, store, options, progress),
    )
    return SearchEngine.open(store, load_settings(threads=threads))


@contextmanager
def libraries(threads: int = 0) -> Iterator[None]:
    """Run a block with the training libraries, quiet, on so many threads.

    Raises:
        MissingExtraError: they are not installed.
    """
    if not all(map(importlib.util.find_spec, ("torch", "transformers", "sentence_transformers"))):
        raise MissingExtraError("Training a model", "train")
    from indexer.export.graph import training_libraries  # noqa: PLC0415 - optional

    with training_libraries():
        import torch  # noqa: PLC0415 - optional
        from transformers.utils import logging  # noqa: PLC0415

        logging.disable_progress_bar()
        logging.set_verbosity_error()
        before = torch.get_num_threads()
        torch.set_num_threads(threads or before)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _stages(job: Job, gathered: Gathered) -> list[Stage]:
    """The recipe's stages that there are lists for.

    Raises:
        TrainingError: there are none.
    """
    settings = recipe.ENCODER_STAGES if job.kind == "encoder" else recipe.RERANKER_STAGES
    stages = recipe.stages(settings, gathered, epochs=job.epochs, matryoshka=job.matryoshka)
    if not stages:
        raise TrainingError(
            "there is nothing to train on: the catalog gives no queries, and no judgments, labels, "
            "records or unlabelled queries were named. Give one of them"
        )
    return stages


def _base(job: Job) -> str:
    """Id or folder of what to train from."""
    if job.base != "shipped":
        return job.base
    from indexer.train.shipped import restore  # noqa: PLC0415 - heavy

    return str(restore(job.kind, job.out / "work" / f"shipped-{job.kind}"))


def _some(lists: Sequence[QueryList], seed: int) -> list[QueryList]:
    """As many lists, drawn by chance, as hold `SAMPLE_PAIRS`; repeated where there are too few."""
    chance, drawn, pairs = Random(seed), [], 0  # noqa: S311 - a sample, not a secret
    while pairs < SAMPLE_PAIRS:
        drawn.append(replace(chance.choice(lists), classes=False))
        pairs += len(drawn[-1].candidates)
    return drawn
