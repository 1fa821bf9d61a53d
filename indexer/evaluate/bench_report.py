"""The figures of a benchmark as JSON, tables and a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # before pyplot: there may be no display

import matplotlib.pyplot as plt
import numpy as np
from rich.console import Group
from rich.table import Table

from indexer.evaluate.bench import FUSED, RERANKED, BenchReport, Figure
from indexer.evaluate.figure import FAINT, STYLE, save
from indexer.evaluate.load import Answers
from indexer.evaluate.peers import KEYWORD, ONNX, PEER, TXTAI

_COLOR = {RERANKED: "#D55E00", FUSED: "#0072B2"}
"""Ours; the peers are faint and told apart by their markers."""

_MARKER = {PEER: "s", ONNX: "X", TXTAI: "v", KEYWORD: "^", RERANKED: "D", FUSED: "o"}


def bench_to_json(report: BenchReport) -> dict[str, Any]:
    """Everything, `ratios` first: medians over the rounds, with the least and the most beside.

    `ratios` are ours in units of the main peer's, `ratios_over` in units of every other's.
    """
    ratios = report.ratios()
    subjects = list(report.search)
    return {
        "ratios": {name: round(figure.median, 3) for name, figure in ratios.items()},
        "ratio_spread": {name: [figure.low, figure.high] for name, figure in ratios.items()},
        "ratios_over": {
            peer: {name: asdict(figure) for name, figure in report.ratios(peer).items()}
            for peer in report.peers()[1:]
        },
        "snapshot": report.snapshot,
        "products": report.products,
        "cores": report.cores,
        "searches_per_s": {name: asdict(Figure.of(report.saturation(name))) for name in subjects},
        "latency_ms": {
            name: {
                str(clients): {
                    point: asdict(Figure.of([each.percentiles()[point] for each in rounds]))
                    for point in ("p50", "p95", "p99")
                }
                for clients, rounds in report.search[name].items()
            }
            for name in subjects
        },
        "in_process_ms": {
            name: {f"p{point}": _milliseconds(spent, point) for point in (50, 95)}
            for name, spent in report.in_process.items()
        },
        "indexed": report.indexed,
        "products_per_s": {name: asdict(Figure.of(each)) for name, each in report.index.items()},
        "start_s": {name: asdict(Figure.of(each)) for name, each in report.starts.items()},
        "memory_mb": report.memory,
        "ndcg@10": {
            name: float(np.mean(list(values.values()))) for name, values in report.quality.items()
        },
        "ndcg@10_gain": {
            f"{one} over {other}": dict(
                zip(("mean", "low", "high"), report.gain(one, other), strict=True)
            )
            for one, other in _pairs(report)
        },
        "overload": {
            name: None if math.isnan(value) else value for name, value in report.overload.items()
        },
    }


def bench_to_tables(report: BenchReport) -> Group:
    """For people."""
    parts: list[Table] = [_ratios(report), _latencies(report.search)]
    table = _table("one by one", *_columns(report))
    if report.index:
        of = f"products of {report.indexed} indexed/s"
        _row(table, of, report, lambda name: _figure(report.index.get(name, [])))
    _row(table, "s to first answer", report, lambda name: _figure(report.starts.get(name, [])))
    _row(
        table,
        "ms in process, p50",
        report,
        lambda name: f"{_milliseconds(report.in_process[name], 50):.1f}",
    )
    _row(table, "resident MB", report, lambda name: f"{report.memory.get(name, float('nan')):.0f}")
    if report.quality:
        _row(
            table,
            "nDCG@10",
            report,
            lambda name: f"{np.mean(list(report.quality[name].values())):.4f}",
        )
    parts.append(table)
    if report.quality:
        parts.append(_gains(report))
    if report.overload:
        busy = _table("twice what it can serve", "", "")
        for name, value in report.overload.items():
            busy.add_row(name.replace("_", " "), f"{value:.4g}")
        parts.append(busy)
    return Group(*parts)


def _ratios(report: BenchReport) -> Table:
    peers = report.peers()
    table = _table("times each peer, median [least, most]", "", *peers)
    ratios = [report.ratios(peer) for peer in peers]
    for name in ratios[0]:
        table.add_row(name.replace("_", " "), *(str(figures[name]) for figures in ratios))
    return table


def _gains(report: BenchReport) -> Table:
    table = _table("nDCG@10", "", "difference (95% interval)")
    for one, other in _pairs(report):
        mean, low, high = report.gain(one, other)
        table.add_row(f"{one} over {other}", f"{mean:+.4f} ({low:+.4f} to {high:+.4f})")
    return table


def _latencies(search: Mapping[str, Mapping[int, list[Answers]]]) -> Table:
    table = _table("searches over HTTP", "", "clients", "searches/s", "p50 ms", "p95 ms", "p99 ms")
    for subject, by_clients in search.items():
        for clients, rounds in by_clients.items():
            cells = [_figure([each.percentiles()[point] for each in rounds]) for point in _POINTS]
            table.add_row(subject, str(clients), _figure([each.rate for each in rounds]), *cells)
    return table


_POINTS = ("p50", "p95", "p99")


def _pairs(report: BenchReport) -> list[tuple[str, str]]:
    """Whose quality is compared with whose."""
    pairs = [(RERANKED, FUSED)]
    pairs += [(ours, peer) for peer in report.peers() for ours in (RERANKED, FUSED)]
    return [pair for pair in pairs if report.quality.keys() >= set(pair)]


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left")
    return table


def _columns(report: BenchReport) -> list[str]:
    return ["", *report.search]


def _row(table: Table, name: str, report: BenchReport, cell: Any) -> None:  # noqa: ANN401
    table.add_row(name, *(cell(subject) for subject in report.search))


def _figure(values: list[float]) -> str:
    return str(Figure.of(values)) if values else ""


def _milliseconds(seconds: list[float], point: int) -> float:
    return float(np.percentile(np.array(seconds) * 1000, point))


def draw_bench(report: BenchReport, path: Path) -> None:
    """Write a picture to `path`: latency and searches a second by the number of clients.

    Raises:
        EvaluationError: the format is unknown or the file cannot be written.
    """
    with plt.rc_context(STYLE | {"axes.spines.left": True, "ytick.left": True}):
        figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
        for subject, by_clients in report.search.items():
            look = {"color": _COLOR.get(subject, FAINT), "marker": _MARKER[subject]}
            clients = list(by_clients)
            latency = [_of(rounds, lambda each: each.percentiles()["p50"]) for rounds in
                       by_clients.values()]  # fmt: skip
            rates = [_of(rounds, lambda each: each.rate) for rounds in by_clients.values()]
            for axes, figures in ((left, latency), (right, rates)):
                middle = [each.median for each in figures]
                spread = [
                    [each.median - each.low for each in figures],
                    [each.high - each.median for each in figures],
                ]
                axes.errorbar(clients, middle, yerr=spread, capsize=3, label=subject, **look)
        for axes, title in ((left, "Median latency, ms"), (right, "Searches a second")):
            axes.set(title=title, xlabel="clients", xscale="log", yscale="log")
            axes.set_xticks(clients, [str(each) for each in clients])
            axes.minorticks_off()
        named = left.get_legend_handles_labels()
        figure.legend(*named, loc="outside lower center", ncols=len(report.search), frameon=False)
        save(figure, path)


def _of(rounds: list[Answers], value: Any) -> Figure:  # noqa: ANN401
    return Figure.of([value(each) for each in rounds])
