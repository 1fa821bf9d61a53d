"""An evaluation as people and as machines read it: a table, a JSON object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from engine.types import Relevance
from indexer.evaluate.calibration_report import CalibrationReport
from indexer.evaluate.classified import ClassifiedPairs
from indexer.evaluate.cutoff import CutOffReport
from indexer.evaluate.search import Comparison, SearchEvaluation
from indexer.evaluate.statistics import Interval


def to_json(evaluation: SearchEvaluation) -> dict[str, Any]:
    """The evaluation as JSON types; a metric that no query has a value for is absent."""
    judged = evaluation.judged
    return {
        "stages": {
            stage.value: {name: _interval(found) for name, found in figures.intervals.items()}
            for stage, figures in evaluation.stages.items()
        },
        "ms_per_query": {
            stage.value: round(figures.ms_per_query, 3)
            for stage, figures in evaluation.stages.items()
        },
        "comparisons": [_comparison(comparison) for comparison in evaluation.comparisons],
        "snapshot": evaluation.snapshot_id,
        "protocol": evaluation.protocol,
        "queries": len(judged.ids),
        "left_out": dict(evaluation.left_out),
        "missing_products": evaluation.missing_products,
        **_seen_to_json(evaluation.seen),
        "without_text": judged.without_text,
        "without_judgments": judged.without_judgments,
        "notes": list(judged.notes),
    }


def _seen_to_json(seen: Mapping[str, Sequence[str]]) -> dict[str, object]:
    """The queries seen in training, as a list and by model."""
    ids = sorted({query_id for listed in seen.values() for query_id in listed})
    return {"seen_in_training": ids, "seen_by_model": {name: [*ids] for name, ids in seen.items()}}


def _warnings(seen: Mapping[str, Sequence[str]], queries: int) -> Iterator[Text]:
    """A line for each model that was trained on evaluated queries."""
    for model, ids in seen.items():
        yield Text(
            f"warning: the {model} saw {len(ids)} of these {queries} queries in training. "
            "Leave them out with --unseen-only",
            style="bold yellow",
        )


def _interval(interval: Interval) -> dict[str, float | int]:
    return {
        "mean": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "queries": interval.queries,
    }


def _comparison(comparison: Comparison) -> dict[str, object]:
    return {
        "metric": comparison.metric,
        "stage": comparison.stage.value,
        "against": comparison.against.value,
        "difference": _interval(comparison.difference),
        "p": comparison.p,
        "p_holm": comparison.p_holm,
        "gained": comparison.gained,
        "lost": comparison.lost,
    }


def to_tables(evaluation: SearchEvaluation) -> Group:
    """What a person reads: means with intervals, comparisons, and what was left out."""
    parts = [_means(evaluation)]
    if evaluation.comparisons:
        parts.append(_comparisons(evaluation))
    return Group(
        *parts,
        *_warnings(evaluation.seen, len(evaluation.judged.ids)),
        Text("\n".join(_remarks(evaluation)), style="dim"),
    )


def _means(evaluation: SearchEvaluation) -> Table:
    """One row a metric, one column a stage; the best mean of a row is bold."""
    table = Table(
        title=f"{evaluation.protocol}, {len(evaluation.judged.ids)} queries, "
        f"snapshot {evaluation.snapshot_id}",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("mean, 95% interval", no_wrap=True)
    for stage in evaluation.stages:
        table.add_column(stage.value, justify="right")
    table.add_column("queries", justify="right", no_wrap=True)
    for metric in evaluation.metrics:
        intervals = [figures.intervals.get(metric.name) for figures in evaluation.stages.values()]
        best = max((interval.mean for interval in intervals if interval), default=0.0)
        counts = {interval.queries for interval in intervals if interval} or {0}
        cells = [_cell(interval, best) for interval in intervals]
        table.add_row(metric.name, *cells, str(max(counts)))
    times = (f"{figures.ms_per_query:.1f}" for figures in evaluation.stages.values())
    table.add_row(Text("ms per query", style="dim"), *times)
    return table


def _cell(interval: Interval | None, best: float) -> Text:
    if interval is None:
        return Text("–", style="dim")
    mean = Text(f"{interval.mean:.3f}", style="bold" if interval.mean == best else "")
    return mean.append(f" {_short(interval.low)}–{_short(interval.high)}", style="not bold dim")


def _short(share: float) -> str:
    """Two digits of a share of one: .73."""
    return f"{share:.2f}".removeprefix("0")


def _comparisons(evaluation: SearchEvaluation) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(f"change in {evaluation.primary.name}", no_wrap=True)
    for heading in ("mean, 95% interval", "p", "Holm", "gained", "lost"):
        table.add_column(heading, justify="right", no_wrap=True)
    for comparison in evaluation.comparisons:
        found = comparison.difference
        table.add_row(
            f"{comparison.stage} − {comparison.against}",
            f"{found.mean:+.3f} {found.low:+.3f} to {found.high:+.3f}",
            f"{comparison.p:.4f}",
            f"{comparison.p_holm:.4f}",
            str(comparison.gained),
            str(comparison.lost),
        )
    return table


def _remarks(evaluation: SearchEvaluation) -> Iterator[str]:
    """What a reader must know beside the figures."""
    judged = evaluation.judged
    yield from judged.notes
    for count in sorted(set(evaluation.left_out.values()) - {0}):
        names = ", ".join(name for name, left in evaluation.left_out.items() if left == count)
        yield f"{count} queries left out of {names}: they lack a judgment it needs"
    if evaluation.missing_products:
        yield (
            f"{evaluation.missing_products} judged products are not in this catalog; "
            "they stay in the ideal ranking"
        )
    if judged.without_text:
        texts = judged.without_text
        yield f"{len(texts)} judged queries have no text: {_some(texts)}"
    if judged.without_judgments:
        yield (
            f"{len(judged.without_judgments)} queries have no judgment: "
            f"{_some(judged.without_judgments)}"
        )


def _some(ids: list[str]) -> str:
    return ", ".join(ids[:5]) + (" …" if len(ids) > 5 else "")


def calibration_to_json(pairs: ClassifiedPairs, report: CalibrationReport) -> dict[str, Any]:
    """The calibration as JSON types; classes by name, the confusion by grade given."""
    return {
        "calibration_error": {
            relevance.name.lower(): _interval(found)
            for relevance, found in report.calibration_error.items()
        },
        **{name: _interval(found) for name, found in _pooled(report).items()},
        "confusion": report.confusion.tolist(),
        "reliability": {
            relevance.name.lower(): {
                "predicted": bins.predicted.tolist(),
                "observed": bins.observed.tolist(),
                "count": bins.count.tolist(),
            }
            for relevance, bins in report.reliability.items()
        },
        "snapshot": pairs.snapshot_id,
        "pairs": report.pairs,
        "queries": report.queries,
        "missing_products": pairs.missing_products,
        **_seen_to_json(pairs.seen),
        "notes": list(pairs.judged.notes),
    }


def _pooled(report: CalibrationReport) -> dict[str, Interval]:
    return {
        "log_loss": report.log_loss,
        "base_rate_log_loss": report.base_rate_log_loss,
        "log_loss_gain": report.log_loss_gain,
        "accuracy": report.accuracy,
        "macro_f1": report.macro_f1,
    }


def calibration_to_tables(pairs: ClassifiedPairs, report: CalibrationReport) -> Group:
    """What a person reads: the figures with intervals, and what was taken for what."""
    title = f"calibration, {report.pairs} judged pairs of {report.queries} queries"
    figures = _titled(f"{title}, snapshot {pairs.snapshot_id}")
    for relevance, found in report.calibration_error.items():
        _add(figures, f"calibration error, {relevance.name.lower()}", found)
    for name, found in _pooled(report).items():
        _add(figures, name.replace("_", " "), found)
    crossed = Table(box=SIMPLE_HEAD, pad_edge=False)
    crossed.add_column("given ↓, most probable →", no_wrap=True)
    for relevance in Relevance:
        crossed.add_column(relevance.name.lower(), justify="right")
    for relevance in Relevance:
        counts = [str(count) for count in report.confusion[relevance]]
        crossed.add_row(relevance.name.lower(), *counts)
    remarks = list(pairs.judged.notes)
    if pairs.missing_products:
        remarks.append(f"{pairs.missing_products} judged products are not in this catalog")
    return Group(
        figures,
        crossed,
        *_warnings(pairs.seen, report.queries),
        Text("\n".join(remarks), style="dim"),
    )


def cutoff_to_json(report: CutOffReport) -> dict[str, Any]:
    """The cut-off as JSON types."""
    return {
        "auroc": _interval(report.auroc),
        "answerable_refused": _interval(report.answerable_refused),
        "unanswerable_refused": _interval(report.unanswerable_refused),
        "refused": dict(report.refused),
        "answered": dict(report.answered),
        "snapshot": report.snapshot_id,
        **_seen_to_json(report.seen),
    }


def cutoff_to_tables(report: CutOffReport) -> Group:
    """What a person reads: the figures with intervals, and which queries were taken wrongly."""
    table = _titled(f"nothing fits, snapshot {report.snapshot_id}")
    _add(table, "AUROC, answerable above unanswerable", report.auroc)
    _add(table, "answerable refused", report.answerable_refused)
    _add(table, "unanswerable refused", report.unanswerable_refused)
    remarks = []
    if report.refused:
        remarks.append(f"answerable, but refused: {_some(sorted(report.refused))}")
    if report.answered:
        remarks.append(f"unanswerable, but answered: {_some(sorted(report.answered))}")
    return Group(
        table,
        *_warnings(report.seen, report.auroc.queries),
        Text("\n".join(remarks), style="dim"),
    )


def _titled(title: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("figure", no_wrap=True)
    table.add_column("value, 95% interval", justify="right", no_wrap=True)
    table.add_column("queries", justify="right", no_wrap=True)
    return table


def _add(table: Table, name: str, found: Interval) -> None:
    value = f"{found.mean:.3f} {found.low:.3f} to {found.high:.3f}"
    table.add_row(name, value, str(found.queries))
