"""Figures of consultation, printed and as JSON."""

from __future__ import annotations

from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from indexer.evaluate.consult import ConsultEvaluation
from indexer.evaluate.statistics import Interval

PROTOCOL = (
    "P@1 and nDCG@5 (linear gains) over answerable questions; answerable-or-not F1 over all; folds "
    "keep questions on one product, in the same words or with the same pieces together"
)


def to_json(evaluation: ConsultEvaluation) -> dict[str, Any]:
    """Everything measured, as JSON types."""
    return {
        "protocol": PROTOCOL,
        "sets": {
            kind: {
                "questions": evaluation.questions[kind][0],
                "answerable": evaluation.questions[kind][1],
                "methods": {
                    name: {"p@1": _interval(found.p_at_1), "ndcg@5": _interval(found.ndcg_at_5)}
                    for name, found in methods.items()
                },
                "p": evaluation.against.get(kind),
                "f1_answerable": evaluation.f1[kind],
                "f1_not_answerable": evaluation.f1_not[kind],
                "f1_answerable_if_always_said": evaluation.always[kind],
            }
            for kind, methods in evaluation.ranked.items()
        },
    }


def to_tables(evaluation: ConsultEvaluation) -> Group:
    """One table of rankings, one of whether the questions can be answered."""
    ranked = Table(title="Which piece answers", box=None, header_style="bold", pad_edge=False)
    for name in ("questions of", "way", "P@1, 95% interval", "nDCG@5", "p"):
        ranked.add_column(name, justify="left" if name in {"questions of", "way"} else "right")
    said = Table(title="Whether any does, F1", box=None, header_style="bold", pad_edge=False)
    for name in ("questions of", "all", "answerable", "yes", "no", "yes if always said"):
        said.add_column(name, justify="left" if name == "questions of" else "right")
    for kind, methods in evaluation.ranked.items():
        for place, (name, found) in enumerate(methods.items()):
            first = (kind or "all", f"{evaluation.against[kind]:.4f}") if place == 0 else ("", "")
            ranked.add_row(
                *map(Text, (first[0], name, _shown(found.p_at_1), _shown(found.ndcg_at_5)[:5])),
                first[1],
            )
        every, answerable = evaluation.questions[kind]
        shares = (evaluation.f1[kind], evaluation.f1_not[kind], evaluation.always[kind])
        said.add_row(
            Text(kind or "all"), str(every), str(answerable), *(f"{x:.3f}" for x in shares)
        )
    return Group(ranked, Text(PROTOCOL, style="dim"), Text(), said)


def _interval(found: Interval) -> dict[str, float]:
    return {"mean": found.mean, "low": found.low, "high": found.high}


def _shown(found: Interval) -> str:
    return f"{found.mean:.3f} {found.low:.3f} to {found.high:.3f}"
