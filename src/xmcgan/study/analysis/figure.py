"""The paper's Figure 3: the share of answers that rank each system best, for each criterion."""

import io
from typing import Literal

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from xmcgan.study.analysis.results import Results
from xmcgan.study.records import criterion_name

BEST, OTHER, INK, SOFT = "#2f5d8a", "#a9b8c6", "#23262b", "#5c6169"


def figure_3(results: Results) -> Figure:
    """A panel of bars for each criterion with answers, with 95 % intervals.

    Raises:
        ValueError: if there are no answers.
    """
    if not results.criteria:
        raise ValueError("no answers count yet: there is nothing to plot")
    rows = max(len(each.systems) for each in results.criteria)
    panels = len(results.criteria)
    figure = Figure(figsize=(0.8 + 3.4 * panels, 0.9 + 0.42 * rows), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for axis, criterion in zip(axes, results.criteria, strict=True):
        best = max(each.best.value for each in criterion.systems)
        for row, each in enumerate(reversed(criterion.systems)):
            value, low, high, _ = each.best
            axis.barh(row, value, height=0.62, color=BEST if value == best else OTHER)
            if low is not None and high is not None:
                axis.plot([low, high], [row, row], color=INK, linewidth=1.2, solid_capstyle="butt")
                for end in (low, high):
                    axis.plot([end, end], [row - 0.12, row + 0.12], color=INK, linewidth=1.2)
            end = value if high is None else high
            axis.text(end + 0.02, row, f"{100 * value:.1f}", va="center", fontsize=9, color=INK)
        names = [each.system for each in reversed(criterion.systems)]
        axis.set_yticks(range(len(names)), names, fontsize=10, color=INK)
        axis.set_xlim(0, 1.12)
        axis.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axis.xaxis.set_major_formatter(PercentFormatter(1))
        axis.tick_params(axis="x", labelsize=8, colors=SOFT)
        axis.tick_params(length=0)
        axis.spines[["top", "right", "bottom"]].set_visible(False)
        axis.spines["left"].set_color(SOFT)
        axis.set_title(criterion_name(criterion.criterion), fontsize=10.5, color=INK, loc="left")
        axis.set_xlabel(f"ranked best, of {criterion.answers:,} answers", fontsize=8.5, color=SOFT)
    return figure


def rendered(figure: Figure, kind: Literal["svg", "png"]) -> bytes:
    """The figure as a file; equal figures give equal bytes."""
    buffer = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with matplotlib.rc_context({"svg.hashsalt": "xmcgan", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(buffer, format=kind, dpi=200, metadata=metadata)
    return buffer.getvalue()
