"""The whole recipe, from a base model to everything that serves, in steps not done twice.

base → its export and index, whose searches teach → encoder → export and index → reranker → export →
index with both → final ranking.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TypeVar

from engine.errors import TrainingError
from engine.search import SearchEngine
from engine.text import passage
from indexer.progress import Progress
from indexer.train import recipe
from indexer.train.gather import Amounts, Gathered, gather
from indexer.train.makers import Searching
from indexer.train.session import Job, Kind, index, libraries, restart, train
from indexer.train.sources import CatalogEntry, Sources, read_products, read_unlabelled
from indexer.train.steps import Steps, state_of

T = TypeVar("T")

STEPS = (
    "export-base",
    "encoder",
    "export-encoder",
    "reranker",
    "export-reranker",
    "ranking",
)
_LEAVES = (
    "base",
    "encoder/checkpoint",
    "encoder-int8",
    "reranker/checkpoint",
    "reranker-int8",
    "ranking",
)
"""What each step leaves, below `out`; the next is made of it."""
SAMPLE = 700
"""Texts of each source that int8 is calibrated on."""
SAMPLE_PAIRS = 2_000


class Whole:
    """The recipe over some sources, in one folder."""

    def __init__(
        self,
        sources: Sources,
        base: str,
        out: Path,
        *,
        progress: Progress,
        say: Callable[[str], None],
        unanswerable: Path | None = None,
        seed: int = 0,
        threads: int = 0,
    ) -> None:
        """Prepare; nothing is done yet.

        Args:
            sources: what to train on.
            base: Hugging Face id or folder of a BERT bi-encoder.
            out: gets a folder for each step.
            progress: told of long steps.
            say: told what is done and what was done before.
            unanswerable: file of queries that the catalog cannot answer, for the cut-off.
            seed: of everything.
            threads: 0 takes every core.
        """
        self._sources = sources
        self._base = base
        self._out = out
        self._progress = progress
        self._say = say
        self._unanswerable = unanswerable
        self._seed = seed
        self._threads = threads
        settings = [recipe.AMOUNTS, recipe.ENCODER_STAGES]
        settings += [recipe.RERANKER_AMOUNTS, recipe.RERANKER_STAGES]
        lengths = [recipe.ENCODER_LENGTH, recipe.SERVED_LENGTH]
        self._made_with = [base, seed, repr(settings), lengths, repr(sources), self._files()]
        self._made_with.append(state_of(Path(base)))

    def run(self, only: Sequence[str] = ()) -> None:
        """Do the steps, or only those named.

        Raises:
            TrainingError: a name is no step.
        """
        unknown = [name for name in only if name not in STEPS]
        if unknown:
            raise TrainingError(f"{unknown[0]!r} is no step. Choose from {', '.join(STEPS)}")
        steps = Steps(self._out / "steps", self._say)
        works = (
            self._export_base,
            self._train_encoder,
            self._export_encoder,
            self._train_reranker,
            self._export_reranker,
            self._fit_ranking,
        )
        before = ("", *_LEAVES[:-1])
        for name, work, needed, left in zip(STEPS, works, before, _LEAVES, strict=True):
            if not only or name in only:
                made_with = [*self._made_with, state_of(self._out / needed) if needed else ""]
                if name == "ranking" and self._unanswerable:
                    made_with.append(state_of(self._unanswerable))
                forget = self._forgetting(name)
                with libraries(self._threads):
                    steps.run(name, made_with, work, forget, leaves=self._out / left)

    def _forgetting(self, step: str) -> Callable[[], None]:
        """What drops a training that was made with something else."""
        return lambda: restart(self._out / step) if step in ("encoder", "reranker") else None

    def _export_base(self) -> None:
        self._export_bi_encoder(self._base, "base")

    def _train_encoder(self) -> None:
        # Of what people judged the encoder sees nothing: one index then serves every fold.
        gathered = replace(self._gather("base", recipe.AMOUNTS), gold=[])
        train(self._job("encoder", self._base), gathered, self._progress)

    def _export_encoder(self) -> None:
        self._export_bi_encoder(str(self._out / "encoder" / "checkpoint"), "encoder-int8")

    def _train_reranker(self) -> None:
        # Nor does the reranker learn from it, which gained nothing (docs/log.md): it is calibrated
        # on it, and the final ranking may then trust its word on judged queries.
        base = str(self._out / "encoder" / "checkpoint")
        gathered = self._gather("base", recipe.RERANKER_AMOUNTS)
        gathered = replace(gathered, gold=[each for each in gathered.gold if each.classes])
        job = replace(self._job("reranker", base), calibration=1.0)
        train(job, gathered, self._progress)

    def _export_reranker(self) -> None:
        from indexer.export.recipe import export_token_reranker  # noqa: PLC0415 - heavy

        record = json.loads((self._out / "reranker" / "training.json").read_bytes())
        export_token_reranker(
            self._out / "reranker" / "checkpoint",
            self._out / "encoder-int8",
            self._out / "reranker-int8",
            calibration=self._pairs(),
            temperature=record["temperature"] or 1.0,
            name="daogou-reranker",
            provenance=self._facts("reranker"),
        )

    def _fit_ranking(self) -> None:
        from indexer.train.ranking import train_ranking  # noqa: PLC0415 - heavy

        entry = next((each for each in self._sources.catalog if each.qrels), None)
        if entry is None or entry.queries is None or entry.qrels is None:
            self._say("ranking: no catalog has judgments to fit it on; left out")
            return
        models = ("encoder-int8", "reranker-int8")
        self._index(entry, *models)
        train_ranking(
            self._work(*models) / "stores" / entry.name,
            entry.queries,
            entry.qrels,
            self._out / "ranking",
            unanswerable=self._unanswerable,
            form="auto",
            seed=self._seed,
            progress=self._progress,
            facts={f"data {entry.name}": ", ".join(filter(None, (entry.source, entry.licence)))},
        )

    def _job(self, kind: Kind, base: str) -> Job:
        return Job(
            kind, base, self._out / kind,
            seed=self._seed, threads=self._threads,
        )  # fmt: skip

    def _gather(self, encoder: str, amounts: Amounts) -> Gathered:
        """The lists, mined with an exported encoder."""
        makers = {
            entry.name: Searching(self._index(entry, encoder), entry.name, self._seed)
            for entry in self._sources.catalog
        }
        gathered = gather(self._sources, makers, amounts, seed=self._seed)
        for kind, lists, pairs in gathered.counts():
            self._say(f"{kind}: {lists:,} lists, {pairs:,} pairs")
        return gathered

    def _index(self, entry: CatalogEntry, encoder: str, reranker: str = "") -> SearchEngine:
        """An engine over a catalog, indexed with models exported here."""
        return index(
            entry,
            self._work(encoder, reranker),
            self._progress,
            self._say,
            self._out / encoder,
            reranker=self._out / reranker if reranker else None,
            threads=self._threads,
        )

    def _work(self, encoder: str, reranker: str = "") -> Path:
        """Where the stores of catalogs indexed with these models are."""
        return self._out / "work" / "+".join(filter(None, (encoder, reranker)))

    def _export_bi_encoder(self, base: str, name: str) -> None:
        """Export into a folder below `out`, calibrated on passages and queries of each catalog."""
        from indexer.export.recipe import export_encoder  # noqa: PLC0415 - heavy

        texts: list[str] = []
        for entry in self._sources.catalog:
            texts += self._some([passage(product) for product in read_products(entry)], SAMPLE)
            texts += self._some(read_unlabelled(entry), SAMPLE)
        export_encoder(
            base,
            self._out / name,
            calibration=texts,
            max_length=recipe.SERVED_LENGTH,
            name=f"daogou-{name.removesuffix('-int8')}",
            provenance=self._facts("encoder"),
        )

    def _pairs(self) -> list[tuple[str, str]]:
        """Queries with passages of what they are judged or taught on, to calibrate int8 on."""
        gathered = gather(self._sources, {}, recipe.AMOUNTS, seed=self._seed)
        lists = gathered.of(("gold", "machine", "records", "real", "pseudo"))
        pairs = [(each.query, one.passage) for each in lists for one in each.candidates]
        return self._some(pairs, SAMPLE_PAIRS)

    def _facts(self, kind: str) -> dict[str, str]:
        """What the card of a training says of its data, as lines of the exported model's card."""
        record = self._out / kind / "training.json"
        if not record.is_file():
            return {}
        about = json.loads(record.read_bytes())
        return {"base": about["base"], "training queries": str(about["training_queries"])} | dict(
            about["facts"]
        )

    def _some(self, given: Sequence[T], count: int) -> list[T]:
        """At most so many, drawn by chance."""
        chance = Random(self._seed)  # noqa: S311 - a sample, not a secret
        return chance.sample(given, min(count, len(given)))

    def _files(self) -> dict[str, str]:
        """Digest of every file of the sources."""
        found: dict[str, str] = {}
        for catalog in self._sources.catalog:
            paths = [catalog.products, catalog.queries, catalog.qrels, catalog.unlabelled]
            paths += [*catalog.records, *(labels.file for labels in catalog.labels)]
            found |= {str(path): state_of(path) for path in paths if path}
        evidence = [each.file for each in self._sources.evidence]
        return found | {str(path): state_of(path) for path in evidence}
