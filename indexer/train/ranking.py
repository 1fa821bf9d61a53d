"""`daogou train ranking`: from a snapshot and judged queries to a final ranking of its own.

The reranker is too sure of queries it was trained on: weights fitted on its word for those would
trust it too much. Give held-out probabilities for them (`scores`) or fit on other queries.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engine.errors import TrainingError
from engine.retrieval.features import FEATURES, STATISTICS
from engine.retrieval.ranking import (
    INFO_FILE,
    FittedOn,
    LearnedRanking,
    RankingInfo,
    StageModel,
    Weighed,
    reads_reranker,
    write_info,
)
from engine.search import SearchEngine
from engine.settings import Settings
from engine.snapshot import Snapshot, fingerprints
from engine.store import SnapshotStore
from engine.types import Stage
from indexer.evaluate.judgments import JudgedQueries, read_judged_queries
from indexer.evaluate.seen import TRAINING_QUERIES, write_training_queries
from indexer.evaluate.statistics import bootstrap
from indexer.folders import CARD, replaceable, replaced
from indexer.progress import Progress, Silent
from indexer.train.ranking_card import StageReport, card
from indexer.train.ranking_cutoff import CutoffFit, fit_cutoff
from indexer.train.ranking_examples import (
    Example,
    Scores,
    gather,
    ndcg,
    read_scores,
    read_unanswerable,
    varying,
)
from indexer.train.ranking_fit import Fitted, Linear, choose, fit_ranking

__all__ = ["Example", "fit_cutoff", "fit_ranking", "train_ranking"]

FORMS = {"auto": ("linear", "lambdamart"), "linear": ("linear",), "lambdamart": ("lambdamart",)}
UNTUNED = {Stage.FUSED: "fused", Stage.RERANKED: "gain"}
"""The feature that orders a stage where no ranking was learned."""
_ALWAYS = "refused"  # a feature that counts though no judged query excluded anything
_LEAST_QUERIES = 20  # fewer judged queries say nothing that lasts
_TREES = "trees-{stage}.txt"
_READS = {Stage.FUSED: False, Stage.RERANKED: True}


@dataclass(frozen=True, slots=True)
class RankingReport:
    """What was written, and how good it is."""

    folder: Path
    info: RankingInfo
    stages: Mapping[Stage, StageReport]
    seconds: float


def train_ranking(
    store: Path,
    queries: Path,
    qrels: Path,
    out: Path,
    *,
    unanswerable: Path | None = None,
    form: str = "auto",
    seed: int = 0,
    scores: Path | None = None,
    features: Sequence[str] | None = None,
    progress: Progress | None = None,
    facts: Mapping[str, str] | None = None,
) -> RankingReport:
    """Fit the final ranking of a store's current snapshot on judged queries; write it to `out`.

    Args:
        store: folder of the snapshots. A ranking that is in the snapshot already is not used.
        queries: `query_id<TAB>text` lines.
        qrels: TREC judgments, grades 0 to 3.
        out: folder to write; a former ranking there is replaced once all has succeeded.
        unanswerable: queries that the catalog cannot answer, one a line, with or without an id and
            a tab before it; without them there is no cut-off.
        form: `linear`, `lambdamart`, or `auto`: whichever nested cross-validation prefers.
        seed: of folds and trees.
        scores: Parquet or .npz of held-out class probabilities (query_id, product_id, p0 to p3),
            taken instead of the reranker's own.
        features: which to use; all that can be had if left out.
        progress: where to report.
        facts: lines for the card: data, licences.

    Raises:
        EvaluationError: queries or judgments cannot be read.
        SettingsError: something else than a final ranking is in `out`.
        TrainingError: too few judged queries, an unknown form or feature, or unusable scores.
        ModelError, SnapshotError: the store cannot be searched.
    """
    started = time.perf_counter()
    if form not in FORMS:
        raise TrainingError(f"there is no form {form!r}. Choose from {', '.join(FORMS)}")
    out = replaceable(out, INFO_FILE, _TREES.format(stage="*"), TRAINING_QUERIES)
    judged = read_judged_queries(queries, qrels)
    useful = sum(any(judged.qrels[query_id].values()) for query_id in judged.ids)
    if useful < _LEAST_QUERIES:
        raise TrainingError(
            f"{useful} judged queries are too few to fit a ranking on; "
            f"{len(judged.ids) - useful} others have no product graded above 0. "
            f"Judge at least {_LEAST_QUERIES}, or keep the ranking that ships"
        )
    engine = _untuned_engine(store)
    known = {} if scores is None else read_scores(scores)
    given = _given(engine, judged, known)
    if scores is not None and not given:
        raise TrainingError(
            f"{scores}: no row is of a judged query and a product of the snapshot. Write query_id "
            f"as {queries} has it, product_id as the catalog"
        )
    unanswered = read_unanswerable(unanswerable)
    fit = _Fit(
        engine,
        judged,
        known=known,
        unanswerable=unanswered,
        forms=FORMS[form],
        features=features,
        seed=seed,
        progress=progress or Silent(),
    )
    with replaced(out) as folder:
        reports = fit.stages(folder)
        write_training_queries(folder, [*(judged.texts[one] for one in judged.ids), *unanswered])
        told = f"{given} of {len(judged.ids)} queries" if given else ""
        info = _with_provenance(fit.info(), reports, seed, told, facts or {})
        (folder / CARD).write_text(card(info, reports), encoding="utf-8")
        info = write_info(folder, info)
    return RankingReport(out, info, reports, time.perf_counter() - started)


def _with_provenance(
    info: RankingInfo,
    reports: Mapping[Stage, StageReport],
    seed: int,
    told: str,
    given: Mapping[str, str],
) -> RankingInfo:
    """The info with what it was made of; `told`: the queries with probabilities of their own."""
    first = next(iter(reports.values()))
    facts = {**given, "queries": str(first.queries), "seed": str(seed)}
    if Stage.RERANKED in reports:
        facts["class probabilities"] = "held out, given" if told else "the reranker's own"
        if told:
            facts["class probabilities given for"] = told
    for stage, report in reports.items():
        taken = reports[Stage.FUSED] if report.form == Stage.FUSED else report
        facts[f"{stage} nDCG@10, held out"] = f"{taken.chosen.mean:.4f}"
        facts[f"{stage} nDCG@10, untuned"] = f"{report.untuned.mean:.4f}"
    return info.model_copy(update={"provenance": facts})


def _given(engine: SearchEngine, judged: JudgedQueries, known: Scores) -> int:
    """For how many judged queries probabilities are known of a product of the snapshot."""
    rows_of = engine.snapshot.products.rows_of
    asked = [known[query_id] for query_id in judged.ids if query_id in known]
    return sum(any(row is not None for row in rows_of(products)) for products in asked)


def _untuned_engine(store: Path) -> SearchEngine:
    """An engine over the current snapshot that ranks as if it held no ranking."""
    snapshot = Snapshot.open(SnapshotStore(store).current())
    manifest = snapshot.manifest.model_copy(update={"ranking": None})
    return SearchEngine(Snapshot(snapshot.folder, manifest), Settings.model_construct())


class _Fit:
    """The fitting of one ranking, stage by stage."""

    def __init__(
        self,
        engine: SearchEngine,
        judged: JudgedQueries,
        *,
        known: Scores,
        unanswerable: Sequence[str],
        forms: Sequence[str],
        features: Sequence[str] | None,
        seed: int,
        progress: Progress,
    ) -> None:
        self._engine = engine
        self._judged = judged
        self._known = known
        self._unanswerable = unanswerable
        self._forms = forms
        self._features = features
        self._seed = seed
        self._progress = progress
        self._models: dict[Stage, StageModel] = {}
        unknown = set(features or ()) - {feature.name for feature in FEATURES}
        if unknown:
            known_ones = ", ".join(feature.name for feature in FEATURES)
            raise TrainingError(f"there is no feature {min(unknown)!r}. Choose from {known_ones}")

    def stages(self, folder: Path) -> dict[Stage, StageReport]:
        """Fit every stage the snapshot offers: each is fitted on what the one before brings it."""
        reports: dict[Stage, StageReport] = {}
        for stage in (Stage.FUSED, Stage.RERANKED):
            if stage in self._engine.stages:
                reports[stage] = self._stage(stage, folder)
                if stage is Stage.RERANKED:
                    reports[stage] = self._kept_before(reports, folder)
                self._engine.snapshot.ranking = LearnedRanking(self.info(), folder)
        return reports

    def _kept_before(self, reports: Mapping[Stage, StageReport], folder: Path) -> StageReport:
        """What becomes of the reranked stage: where it ranks no better than the one before, that.

        Its classes are then told with each product and change no order. Of both cut-offs the one
        stays that tells more of the queries without an answer.
        """
        before, report = reports[Stage.FUSED], reports[Stage.RERANKED]
        if report.chosen.mean > before.chosen.mean:
            return report
        model, own = self._models[Stage.FUSED], self._models[Stage.RERANKED]
        if (
            report.cutoff is None
            or before.cutoff is None
            or before.cutoff.tells_more(report.cutoff)
        ):
            cutoff, fitted = model.cutoff, before.cutoff
        else:
            cutoff, fitted = own.cutoff, report.cutoff
        if own.trees:
            (folder / own.trees).unlink()
        self._models[Stage.RERANKED] = model.model_copy(update={"cutoff": cutoff})
        return replace(report, form=str(Stage.FUSED), cutoff=fitted)

    def info(self) -> RankingInfo:
        """The stages fitted so far."""
        here = fingerprints(self._engine.snapshot.manifest)
        reads = any(map(reads_reranker, self._models.values()))
        fitted_on = FittedOn(
            encoder=here.encoder,
            lexical=here.lexical,
            reranker=here.reranker if reads else None,
        )
        return RankingInfo(name="final ranking", stages=dict(self._models), fitted_on=fitted_on)

    def _stage(self, stage: Stage, folder: Path) -> StageReport:
        examples: list[Example] = []
        statistics: list[Mapping[str, float]] = []
        with self._progress.step(f"Reading {stage}", len(self._judged.ids)) as advance:
            for example, found in gather(self._engine, self._judged, stage, self._known):
                if any(example.ideal):  # without anything to find there is no nDCG
                    examples.append(example)
                    statistics.append(found)
                advance(1)
        names = self._names(stage, examples)
        with self._progress.step(f"Fitting {stage}", None):
            choice = choose(examples, names, stage, forms=self._forms, seed=self._seed)
            untuned = np.array([ndcg(one, one.features[UNTUNED[stage]]) for one in examples])
            form = choice.form
            if choice.held_out[form].mean() <= untuned.mean():
                form = "untuned"
                fitted: Fitted = Linear(_plain(UNTUNED[stage]), 0.0)
            else:
                fitted = fit_ranking(examples, names, stage, form, seed=self._seed)
            cutoff = self._cutoff(stage, statistics)
        model = _stage_model(stage, fitted, folder)
        self._models[stage] = model.model_copy(update={"cutoff": cutoff and cutoff.cutoff})
        return StageReport(
            form,
            len(examples),
            bootstrap(untuned),
            {name: bootstrap(values) for name, values in choice.held_out.items()},
            {name: bootstrap(values - untuned) for name, values in choice.held_out.items()},
            cutoff,
        )

    def _names(self, stage: Stage, examples: Sequence[Example]) -> tuple[str, ...]:
        """The features to fit: those asked for that can be had and differ."""
        wanted = [
            feature.name
            for feature in FEATURES
            if (_READS[stage] or not feature.reranked)
            and (self._features is None or feature.name in self._features)
        ]
        wanted = wanted or [UNTUNED[stage]]
        names = varying(examples, wanted)
        if names and _ALWAYS in wanted and _ALWAYS not in names:
            names = (*names, _ALWAYS)  # queries that exclude something will come
        if not names:
            raise TrainingError(
                f"none of the features {', '.join(wanted)} tells the candidates of "
                f"the {stage} stage apart. Choose others, or leave them all in"
            )
        return names

    def _cutoff(self, stage: Stage, answerable: Sequence[Mapping[str, float]]) -> CutoffFit | None:
        """The cut-off of the stage, where there are queries without an answer."""
        if not self._unanswerable:
            return None
        others = [
            self._engine.features(text, stage=stage).statistics for text in self._unanswerable
        ]
        names = [one.name for one in STATISTICS if _READS[stage] or not one.reranked]
        rows = [{name: each[name] for name in names} for each in [*answerable, *others]]
        truth = [True] * len(answerable) + [False] * len(others)
        return fit_cutoff(rows, truth, seed=self._seed)


def _plain(name: str) -> Weighed:
    """The order of one feature."""
    return Weighed(names=(name,), weights=(1.0,), centre=(0.0,), scale=(1.0,))


def _pruned(weighed: Weighed) -> Weighed:
    """The same sum without what counts for nothing: a search need not compute it."""
    columns = zip(
        weighed.names, weighed.weights, weighed.centre, weighed.scale, strict=True
    )  # fmt: skip
    kept = [column for column in columns if column[1]]
    if not kept:
        return weighed
    names, weights, centre, scale = zip(*kept, strict=True)
    return Weighed(names=names, weights=weights, centre=centre, scale=scale)


def _stage_model(stage: Stage, fitted: Fitted, folder: Path) -> StageModel:
    """What ranking.json says of the stage; trees are written beside it."""
    if isinstance(fitted, Linear):
        weighed = _pruned(fitted.weighed)
        return StageModel(linear=weighed, features=weighed.names)
    name = _TREES.format(stage=stage)
    fitted.booster.save_model(str(folder / name))
    return StageModel(trees=name, features=fitted.names)
