"""The evaluation as a picture: stage by stage, and which queries gained and lost."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # before pyplot: there may be no display

import matplotlib.pyplot as plt
from matplotlib import font_manager
from matplotlib.axes import Axes

from engine.errors import EvaluationError
from engine.types import Stage
from indexer.evaluate.search import Comparison, SearchEvaluation

# Told apart with any colour vision (Okabe and Ito 2008), and by marker.
_LOOK = {
    Stage.LEXICAL: ("#E69F00", "s"),
    Stage.DENSE: ("#56B4E9", "^"),
    Stage.FUSED: ("#0072B2", "o"),
    Stage.RERANKED: ("#D55E00", "D"),
}
_INK, FAINT = "#22272E", "#8A929B"
_GAIN, _LOSS = "#0072B2", "#D55E00"
# What of these is installed draws the queries that matplotlib's own font cannot.
_CJK = sorted(
    {
        "Noto Sans CJK SC",
        "Source Han Sans SC",
        "WenQuanYi Zen Hei",
        "PingFang SC",
        "Microsoft YaHei",
    }
    & set(font_manager.get_font_names())
)
STYLE = {
    "font.family": ["DejaVu Sans", *_CJK],
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": "#C9CED4",
    "axes.labelcolor": _INK,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.color": FAINT,
    "ytick.color": _INK,
    "ytick.left": False,
    "svg.fonttype": "none",
}
_NAMED = 5  # queries named at each end
_NAME_LENGTH = 40


def draw(evaluation: SearchEvaluation, path: Path) -> None:
    """Write the picture to `path`; its suffix says the format.

    Raises:
        EvaluationError: the format is unknown or the file cannot be written.
    """
    shown = _shown(evaluation)
    with plt.rc_context(STYLE), warnings.catch_warnings():
        # A letter that no font has is drawn as a box: no reason to disturb the figures.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        width = 13 if shown else 6.6
        figure, axes = plt.subplots(
            1,
            2 if shown else 1,
            figsize=(width, 5.6),
            width_ratios=[1, 1.25] if shown else [1],
            layout="constrained",
            squeeze=False,
        )
        _dots(axes[0][0], evaluation)
        if shown:
            _bars(axes[0][1], evaluation, shown)
        figure.get_layout_engine().set(wspace=0.06, w_pad=0.12, h_pad=0.12)
        save(figure, path)


def save(figure: plt.Figure, path: Path) -> None:
    """Write a figure to `path` and close it.

    Raises:
        EvaluationError: the format is unknown or the file cannot be written.
    """
    try:
        figure.savefig(path, dpi=160, facecolor="white", metadata={"Creator": "daogou"})
    except (OSError, ValueError) as error:
        raise EvaluationError(
            f"the figure cannot be written to {path} ({error}). "
            "Give --figure a folder that exists and a name that ends in .png, .svg or .pdf"
        ) from error
    finally:
        plt.close(figure)


def _shown(evaluation: SearchEvaluation) -> Comparison | None:
    """The comparison to draw query by query: the last stage against the best of the others."""
    *others, last = evaluation.stages
    against = [one for one in evaluation.comparisons if one.stage == last and one.against in others]
    return min(against, key=lambda one: one.difference.mean, default=None)


def _dots(axes: Axes, evaluation: SearchEvaluation) -> None:
    """One row a metric; in it one dot a stage with its interval."""
    stages = list(evaluation.stages)
    step = 0.62 / max(1, len(stages))
    names = [metric.name for metric in evaluation.metrics]
    for number, stage in enumerate(stages):
        colour, marker = _LOOK[stage]
        intervals = evaluation.stages[stage].intervals
        offset = (number - (len(stages) - 1) / 2) * step
        for row, name in enumerate(names):
            if name not in intervals:
                continue
            found = intervals[name]
            y = row + offset
            axes.plot([found.low, found.high], [y, y], color=colour, lw=2, alpha=0.45, zorder=2)
            axes.plot(found.mean, y, marker, color=colour, ms=7, mec="white", mew=0.8, zorder=3)
            axes.annotate(
                f"{found.mean:.3f}",
                (found.high, y),
                (5, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=FAINT,
            )
        axes.plot([], [], marker, color=colour, ms=7, label=stage.value)
    for row in range(1, len(names)):
        axes.axhline(row - 0.5, color="#EEF0F2", lw=1, zorder=0)
    axes.set(ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)), yticklabels=names)
    axes.margins(x=0.12)
    axes.grid(axis="x", color="#EEF0F2", zorder=0)
    axes.set_axisbelow(True)
    axes.set_title(f"Stage by stage, {evaluation.protocol}", pad=30)
    counts = sorted(
        {found.queries for one in evaluation.stages.values() for found in one.intervals.values()}
    )
    queries = " to ".join(map(str, dict.fromkeys([counts[0], counts[-1]]))) if counts else "no"
    axes.set_xlabel(f"mean over {queries} queries, with 95% bootstrap interval")
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=4, frameon=False, handletextpad=0.1
    )


def _bars(axes: Axes, evaluation: SearchEvaluation, shown: Comparison) -> None:
    """One bar a query, the biggest gain at the top, the ends named."""
    stage, against = (evaluation.stages[one].values for one in (shown.stage, shown.against))
    changes = {
        query_id: value - against[shown.metric][query_id]
        for query_id, value in stage[shown.metric].items()
    }
    order = sorted(changes, key=lambda query_id: -changes[query_id])
    heights = [changes[query_id] for query_id in order]
    colours = [_GAIN if change > 0 else _LOSS for change in heights]
    axes.barh(range(len(order)), heights, height=0.86, color=colours, lw=0)
    axes.axvline(0, color="#C9CED4", lw=1)
    reach = max(0.05, *(abs(change) for change in heights))
    axes.set(xlim=(-1.08 * reach, 1.08 * reach), ylim=(len(order) - 0.2, -0.8), yticks=[])
    _name_ends(axes, order, changes, evaluation.judged.texts)
    axes.set_title(f"Query by query: {shown.stage} against {shown.against}", pad=30)
    axes.set_xlabel(f"change in {shown.metric}")
    unchanged = len(order) - shown.gained - shown.lost
    axes.annotate(
        f"{shown.gained} gained, {shown.lost} lost, {unchanged} unchanged; "
        f"mean {_signed(shown.difference.mean)} ({_signed(shown.difference.low)} to "
        f"{_signed(shown.difference.high)}), p = {shown.p:.2g}",
        (0, 1),
        (0, 8),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=9,
        color=FAINT,
    )


def _signed(value: float, places: int = 3) -> str:
    return f"{value:+.{places}f}".replace("-", "−")


def _name_ends(
    axes: Axes, order: Sequence[str], changes: Mapping[str, float], texts: Mapping[str, str]
) -> None:
    """Write the words of the biggest gains and losses across the empty half beside their bars.

    The names stand at even distances, joined to their bars by a thin line: bars are too thin
    to stand beside each.
    """
    gains = [place for place, query_id in enumerate(order) if changes[query_id] > 0][:_NAMED]
    losses = [place for place, query_id in enumerate(order) if changes[query_id] < 0][-_NAMED:]
    pitch = max(1.0, len(order) / 26)  # bars between the lines of text
    lines = [(place, number * pitch, -0.03) for number, place in enumerate(gains)]
    lines += [
        (place, len(order) - 1 - number * pitch, 0.03)
        for number, place in enumerate(reversed(losses))
    ]
    for place, y, side in lines:
        query_id = order[place]
        _name(axes, place, y=y, side=side, text=texts[query_id], change=changes[query_id])


def _name(axes: Axes, place: int, *, y: float, side: float, text: str, change: float) -> None:
    reach = axes.get_xlim()[1]
    short = text if len(text) <= _NAME_LENGTH else text[: _NAME_LENGTH - 1].rstrip() + "…"
    axes.annotate(
        f"{short}  {_signed(change, 2)}",
        xy=(0, place),
        xytext=(side * 2 * reach, y),
        ha="right" if side < 0 else "left",
        va="center",
        fontsize=8.5,
        color=_INK,
        parse_math=False,
        arrowprops={
            "arrowstyle": "-",
            "color": "#C9CED4",
            "lw": 0.7,
            "relpos": (1, 0.5) if side < 0 else (0, 0.5),
            "shrinkA": 2,
            "shrinkB": 0,
        },
    )
