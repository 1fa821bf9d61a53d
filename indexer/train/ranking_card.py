"""The model card (Mitchell et al. 2019) of a final ranking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.retrieval.ranking import Cutoff, RankingInfo, StageModel
from engine.types import Stage
from indexer.evaluate.statistics import Interval
from indexer.train.ranking_cutoff import CutoffFit


@dataclass(frozen=True, slots=True)
class StageReport:
    """How one stage was fitted."""

    form: str
    """`linear`, `lambdamart`, `untuned` where neither was better on queries held out, or `fused`
    where the reranked stage keeps the order of that one."""
    queries: int
    untuned: Interval
    """nDCG@10 of the stage without a learned ranking."""
    held_out: Mapping[str, Interval]
    """nDCG@10 by form, on queries it was not fitted on."""
    gained: Mapping[str, Interval]
    """The same less the untuned, query by query."""
    cutoff: CutoffFit | None

    @property
    def chosen(self) -> Interval:
        """nDCG@10 of the form that was taken, on queries it was not fitted on."""
        return self.held_out.get(self.form, self.untuned)


def card(info: RankingInfo, reports: Mapping[Stage, StageReport]) -> str:
    """The card, as Markdown."""
    sections = [
        f"# {info.name}, of daogou",
        "Puts keyword score, cosine, class probabilities and what is known of a product together "
        "into the last order of a search. Served by `daogou publish --ranking`.",
        *(_stage(stage, info.stages[stage], report) for stage, report in reports.items()),
        _table("Where it comes from", info.provenance),
        _table("Fitted on", {kind: str(value) for kind, value in info.fitted_on}),
        "## Limits\n\n"
        "It holds for the models above and is refused beside others. Figures are of queries held "
        "out in turn (5 folds); strengths were chosen inside the folds. A reranker is too sure of "
        "queries that it was trained on itself: unless held-out probabilities were given, weights "
        "fitted on those trust it too much. Popularity and price count only where the catalog had "
        "them.",
    ]
    return "\n\n".join(sections) + "\n"


def _stage(stage: Stage, model: StageModel, report: StageReport) -> str:
    """What was fitted for one stage, and how good it is."""
    rows = {"untuned": _interval(report.untuned)}
    for form, interval in report.held_out.items():
        gained = report.gained[form]
        rows[form] = f"{_interval(interval)}, {gained.mean:+.4f} ({gained.low:+.4f} to "
        rows[form] += f"{gained.high:+.4f})"
    parts = [
        _table(f"The {stage} stage: nDCG@10 over {report.queries} queries, held out", rows),
        "Taken: the order of the fused stage, which these are no better than."
        if report.form == Stage.FUSED
        else f"Taken: {report.form}.",
    ]
    if model.linear is not None:
        weights = zip(model.linear.names, model.linear.weights, strict=True)
        parts.append(_table("Weights, a standard deviation each", _rounded(dict(weights)), "###"))
    if report.cutoff is not None:
        parts.append(_cutoff(report, report.cutoff.cutoff))
    return "\n\n".join(parts)


def _cutoff(report: StageReport, cutoff: Cutoff) -> str:
    fit = report.cutoff
    if fit is None:
        return ""
    rows = {
        "AUROC, held out": _interval(fit.auroc),
        "threshold": f"{cutoff.threshold:.4f}",
        "answerable queries told that nothing fits": f"{fit.answerable_refused:.1%}",
        "unanswerable queries told so": f"{fit.unanswerable_refused:.1%}",
    }
    weights = dict(zip(cutoff.statistics.names, cutoff.statistics.weights, strict=True))
    return _table("Cut-off", rows | _rounded(weights), "###")


def _rounded(values: Mapping[str, float]) -> dict[str, str]:
    return {name: f"{value:.4f}" for name, value in values.items()}


def _interval(value: Interval) -> str:
    return f"{value.mean:.4f} ({value.low:.4f} to {value.high:.4f})"


def _table(heading: str, rows: Mapping[str, str], level: str = "##") -> str:
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join([f"{level} {heading}", "", "| | |", "|---|---|", *lines])
