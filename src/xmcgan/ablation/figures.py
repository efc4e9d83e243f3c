"""The figures of an ablation's report, as SVG for the page and PNG for elsewhere.

A figure is drawn once. Its SVG uses CSS variables for the colours of text and lines, so it follows the page's light or
dark theme, or the reader's system when it stands alone.
"""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xmcgan.ablation.summary import Results, has_direction, lower_is_better
from xmcgan.runtime.files import atomic_file, write_text

INK, SOFT, LINE = "#1d2330", "#667085", "#d0d5dd"
DARK = {INK: "#e6e9ef", SOFT: "#98a2b3", LINE: "#3b4252"}
VARIABLES = {INK: "--ink", SOFT: "--soft", LINE: "--line"}
COLOURS = ("#3b73d9", "#d9822b", "#2a9d6f", "#c2459b", "#8a63d2", "#b8493c", "#2596a8", "#8a8f2e", "#6b7688")

WIDTH = 5.2
"""In inches; narrow, because on a phone a figure fills the width of the screen."""

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "xmcgan",  # makes equal figures equal byte for byte
    "font.size": 10,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "axes.titlecolor": INK,
    "legend.labelcolor": INK,
}


def colour_of(results: Results, row: str) -> str:
    """The colour of a row, the same in every figure."""
    names = [each.name for each in results.plan.study.rows]
    return COLOURS[names.index(row) % len(COLOURS)]


def plot_metric(results: Results, metric: str) -> Figure:
    """Mean and standard deviation of each row, and a dot for every seed."""
    values, summaries = results.values(metric), results.summaries(metric)
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.9 + 0.36 * len(values)), layout="constrained")
        axis = figure.subplots()
        for place, (row, seeds) in enumerate(values.items()):
            summary, colour = summaries[row], colour_of(results, row)
            axis.plot(seeds, [place] * len(seeds), "o", markersize=5, color=colour, alpha=0.55, markeredgewidth=0)
            if summary.deviation is not None:
                axis.errorbar(summary.mean, place, xerr=summary.deviation, color=colour, capsize=3, linewidth=1.5)
            axis.plot(summary.mean, place, "|", markersize=13, markeredgewidth=2.5, color=colour)
        axis.set_yticks(range(len(values)), list(values))
        axis.tick_params(axis="y", labelcolor=INK, length=0)
        axis.set_ylim(len(values) - 0.5, -0.5)
        direction = f" ({'lower' if lower_is_better(metric) else 'higher'} is better)" if has_direction(metric) else ""
        axis.set_xlabel(f"{metric}{direction}")
        clean(axis, "x")
    return figure


def plot_over_training(results: Results, name: str) -> Figure:
    """A metric, loss or statistic against the images seen: a thin line for every seed, a thick one for their mean."""
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
        axis = figure.subplots()
        for row in results.plan.study.rows:
            curves = [
                [(line["images"], line[name]) for line in (*outcome.curve, *outcome.losses) if name in line]
                for outcome in results.done()
                if outcome.row == row.name
            ]
            draw_curves(axis, [curve for curve in curves if curve], row.name, colour_of(results, row.name))
        axis.set(xlabel="real images seen", ylabel=name)
        axis.legend(frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.2))
        clean(axis, "both")
    return figure


def draw_curves(axis: Axes, curves: Sequence[Sequence[tuple[float, float]]], label: str, colour: str) -> None:
    """The curves of a row's seeds, and their mean where all were measured at the same points."""
    for curve in curves:
        axis.plot(*zip(*curve, strict=True), color=colour, linewidth=0.8, alpha=0.4)
    if curves and len({tuple(x for x, _ in curve) for curve in curves}) == 1:
        means = [sum(y for _, y in points) / len(points) for points in zip(*curves, strict=True)]
        axis.plot([x for x, _ in curves[0]], means, color=colour, linewidth=2, label=label, marker="o", markersize=3)


def clean(axis: Axes, grid: str) -> None:
    """Replaces the frame by a light grid."""
    axis.grid(axis=grid, color=LINE, linewidth=0.6)  # ty: ignore[invalid-argument-type]
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)


def to_svg(figure: Figure, label: str) -> str:
    """A figure as an SVG element for a page, with the page's variables for its colours.

    Args:
        label: description for screen readers.
    """
    buffer = io.StringIO()
    with rc_context(STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable}, {colour})")
    text = re.sub(r'(<svg [^>]*?)width="[^"]*" height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'height="[^"]*pt" ', "", re.sub(r'width="[^"]*pt" ', "", text, count=1), count=1)
    return text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def save_figure(figure: Figure, svg: str, folder: Path, name: str) -> None:
    """Writes a figure as NAME.png, and as NAME.svg, which follows the reader's light or dark theme.

    Args:
        svg: the same figure, from ``to_svg``.
    """
    light, dark = ("".join(f"{variable}: {colours[colour]}; " for colour, variable in VARIABLES.items())
                   for colours in ({colour: colour for colour in VARIABLES}, DARK))  # fmt: skip
    style = f"<style>svg {{ {light}}} @media (prefers-color-scheme: dark) {{ svg {{ {dark}}} }}</style>"
    start, rest = svg.split(">", 1)
    write_text(folder / f"{name}.svg", f"{start}>{style}{rest}\n")
    with atomic_file(folder / f"{name}.png") as partial, rc_context(STYLE):
        figure.savefig(partial, format="png", dpi=140, facecolor="white")
