"""The reliability diagram: what the reranker promises against what people said, class by class."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from engine.types import Relevance
from indexer.evaluate.calibration_report import CalibrationReport
from indexer.evaluate.figure import FAINT, STYLE, save

# Told apart with any colour vision (Okabe and Ito 2008), as in `indexer.evaluate.figure`.
_COLOURS = {
    Relevance.EXACT: "#0072B2",
    Relevance.SUBSTITUTE: "#009E73",
    Relevance.COMPLEMENT: "#E69F00",
    Relevance.IRRELEVANT: "#D55E00",
}


def draw_reliability(report: CalibrationReport, path: Path) -> None:
    """Write the picture to `path`, one panel a class; its suffix says the format.

    Raises:
        EvaluationError: the format is unknown or the file cannot be written.
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(_COLOURS), figsize=(13, 3.9), layout="constrained")
        for panel, relevance in zip(axes, _COLOURS, strict=True):
            _panel(panel, report, relevance)
        axes[0].set_ylabel("share that people gave the class")
        save(figure, path)


def _panel(axes: Axes, report: CalibrationReport, relevance: Relevance) -> None:
    bins = report.reliability[relevance]
    found = report.calibration_error[relevance]
    top = min(1.0, 1.08 * float(np.max([bins.predicted, bins.observed])) + 0.02)
    axes.plot([0, top], [0, top], color="#C9CED4", lw=1, ls="--", zorder=1)
    # The gap that the calibration error averages.
    axes.vlines(bins.predicted, bins.predicted, bins.observed, color=FAINT, lw=1, alpha=0.5)
    axes.plot(bins.predicted, bins.observed, "-o", color=_COLOURS[relevance], ms=5, lw=1.4)
    axes.set(xlim=(0, top), ylim=(0, top), aspect="equal")
    axes.grid(color="#EEF0F2", zorder=0)
    axes.set_axisbelow(True)
    axes.set_title(relevance.name.capitalize(), pad=20)
    axes.set_xlabel("mean probability in the bin")
    axes.annotate(
        f"calibration error {found.mean:.3f} ({found.low:.3f} to {found.high:.3f})",
        (0, 1),
        (0, 6),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=9,
        color=FAINT,
    )
