"""Figures of the span tagger, printed and as JSON."""

from __future__ import annotations

from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from indexer.evaluate.spans import SpansEvaluation
from indexer.evaluate.statistics import Interval

PROTOCOL = (
    "a span is right where its boundaries and its type are; F1 over all spans of all queries, 95% "
    "bootstrap interval over queries"
)


def to_json(evaluation: SpansEvaluation) -> dict[str, Any]:
    """Everything measured, as JSON types."""
    return {
        "protocol": PROTOCOL,
        "queries": evaluation.queries,
        "spans": dict(evaluation.spans),
        "ahead": _interval(evaluation.ahead),
        "calibration_error": evaluation.calibration,
        "methods": {
            name: {
                "f1": _interval(found.f1),
                "precision": found.precision,
                "recall": found.recall,
                "types": {kind: _interval(one) for kind, one in found.types.items()},
            }
            for name, found in evaluation.found.items()
        },
    }


def to_tables(evaluation: SpansEvaluation) -> Group:
    """One table: all spans first, then each type, most frequent first."""
    table = Table(title="Which words name what", box=None, header_style="bold", pad_edge=False)
    table.add_column("spans of")
    table.add_column("labelled", justify="right")
    for name in evaluation.found:
        table.add_column(f"{name}: F1", justify="right")
    ways = evaluation.found.values()
    table.add_row("all", str(sum(evaluation.spans.values())), *(_shown(found.f1) for found in ways))
    for kind, count in sorted(evaluation.spans.items(), key=lambda item: -item[1]):
        table.add_row(Text(kind), str(count), *(_shown(found.types[kind]) for found in ways))
    lines = [
        f"{name}: precision {found.precision:.3f}, recall {found.recall:.3f}"
        for name, found in evaluation.found.items()
    ]
    ahead = evaluation.ahead
    lines.append(f"ahead by {ahead.mean:+.3f} ({ahead.low:+.3f} to {ahead.high:+.3f})")
    lines.append(f"confidence off by {evaluation.calibration:.3f} (expected calibration error)")
    return Group(table, Text(PROTOCOL, style="dim"), Text(), *map(Text, lines))


def _interval(found: Interval) -> dict[str, float]:
    return {"mean": found.mean, "low": found.low, "high": found.high}


def _shown(found: Interval) -> str:
    return f"{found.mean:.3f} {found.low:.3f} to {found.high:.3f}"
