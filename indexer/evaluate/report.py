"""An evaluation as people and as machines read it: a table, a JSON object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

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
        "without_text": judged.without_text,
        "without_judgments": judged.without_judgments,
        "notes": list(judged.notes),
    }


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
    return Group(*parts, Text("\n".join(_remarks(evaluation)), style="dim"))


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
