"""The report of an ablation: one self-contained page, and the same report as Markdown with its figures in files."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from PIL import Image

from xmcgan.ablation.figures import plot_metric, plot_over_training, save_figure, to_svg
from xmcgan.ablation.plan import Plan, read_plan, slug
from xmcgan.ablation.statistics import Difference, Summary
from xmcgan.ablation.summary import PAPER_IMAGES, Results, changes, gather, has_direction, lower_is_better
from xmcgan.evaluation.evaluate import MISMATCHED
from xmcgan.evaluation.tables import markdown as markdown_text
from xmcgan.pages.data_urls import png_url
from xmcgan.runtime.files import atomic_file, write_text
from xmcgan.runtime.locks import locked_folder

TEMPLATES = Path(__file__).parent / "templates"

FRACTIONS = ("r-precision", "contrastive-accuracy", "soa-c", "soa-i")
"""Metrics that are fractions here and percentages in the paper."""

CHANCE = 1 / (MISMATCHED + 1)
"""R-precision of images that are independent of their captions."""

LOSSES = ("fake_sentence_accuracy", "fake_word_accuracy", "real_sentence_accuracy")
"""Statistics of the log that are plotted over training, where rows have them."""


def write_report(folder: Path, output: Path | None = None) -> Path:
    """Writes ``report.html``, ``report.md`` and the figures; returns the page.

    Args:
        folder: the ablation's folder.
        output: ``report`` in that folder unless given.

    Raises:
        FileNotFoundError: if the folder holds no ablation.
        ValueError: if no run has ended yet, or a file is damaged.
    """
    plan = read_plan(folder)
    results = gather(plan)
    output = output or folder / "report"
    with locked_folder(output, "written into", wait=True):  # processes that share an ablation end at the same time
        return write_files(results, output)


def write_files(results: Results, output: Path) -> Path:
    """The files of a report, in a folder that is locked; returns the page."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=lambda name: name is not None and name.endswith(".html"),
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters["markdown"] = markdown_text
    content = content_of(results)
    figures = draw_figures(results, output)
    samples = sample_rows(results, output)
    page = environment.get_template("report.html").render(
        **content, **figures, samples=samples, cell=cell_size(results),
        style=(TEMPLATES / "report.css").read_text(encoding="utf-8"),
    )  # fmt: skip
    markdown = environment.get_template("report.md").render(**content, **figures, samples=samples)
    write_text(output / "report.md", markdown)
    return write_text(output / "report.html", page)


def content_of(results: Results) -> dict[str, Any]:
    """The words and tables of the templates."""
    plan, replications = results.plan, results.replications()
    agreeing = sum(each.agrees for each in replications)
    certain = sum(each.agrees and each.significant for each in replications)
    against = sum(not each.agrees and each.significant for each in replications)
    captions = next((outcome.captions for outcome in results.done()), [])
    done = {(outcome.row, outcome.seed) for outcome in results.outcomes}
    return {
        "title": plan.study.title,
        "question": plan.study.question,
        "remark": plan.study.remark,
        "published": any(row.paper for row in plan.study.rows),
        "setting": setting(results),
        "cautions": cautions(results),
        "metrics": [
            {"name": name, "arrow": ("↓" if lower_is_better(name) else "↑") if has_direction(name) else ""}
            for name in results.metrics
        ],
        "rows": [table_row(results, row.name) for row in plan.study.rows],
        "replications": [
            {**each.claim.__dict__, "agrees": each.agrees, "significant": each.significant} for each in replications
        ],
        "agreement": f"As in the paper: {agreeing} of {len(replications)} pairs, {certain} of them significantly. The "
        f"reverse: {len(replications) - agreeing}, {against} of them significantly.",
        "tested": tested(results),
        "differences": list(significant_differences(results).items()),
        "captions": captions,
        "failures": [outcome.__dict__ for outcome in results.failed()],
        "missing": [f"{run.row.name}, seed {run.seed}" for run in plan.runs() if (run.row.name, run.seed) not in done],
        "costs": costs(results),
        "evaluation": evaluation(results),
    }  # fmt: skip


def setting(results: Results) -> str:
    """The data, the networks and the budget in a sentence."""
    plan, (fewest, most) = results.plan, results.seeds()
    config = plan.study.rows[0].config
    widths = f"base width {config.generator.width}"
    if config.discriminator.kind == "contrastive":
        widths += f" and {config.discriminator.width}"
    images = sorted({outcome.images for outcome in results.done()})
    seen = " to ".join(f"{each:,}" for each in dict.fromkeys([*images[:1], *images[-1:]]))
    seeds = str(most) if fewest == most else f"{fewest} to {most}"
    return (
        f"Variants of {plan.recipe} at {config.image_size} px ({widths}, batch {config.training.batch_size}), "
        f"{seen or 'no'} images a run, {seeds} seed{'' if most == 1 else 's'} a variant."
    )


def cautions(results: Results) -> list[str]:
    """The limits of a study, from its own numbers."""
    found, (fewest, _) = [], results.seeds()
    done = results.done()
    if done:
        images = max(outcome.images for outcome in done)
        if images < PAPER_IMAGES / 10:
            found.append(
                f"A run saw {images:,} images, 1/{round(PAPER_IMAGES / images):,} of the paper's {PAPER_IMAGES:,} "
                "(1000 epochs of COCO-14). This shows how the variants start, not where they end."
            )
        count = min(outcome.protocol.get("count", 0) for outcome in done)
        if count < 5000:
            found.append(f"Metrics use {count:,} generated images, where the paper has 30,000: FID is biased upwards.")
    means = [summary.mean for summary in results.summaries("r-precision").values()]
    if means and max(means) < 2 * CHANCE:
        found.append(f"R-precision is at chance ({CHANCE:g}) in every variant: none follows its captions yet.")
    if fewest == 0:
        found.append("Some variants have no finished run yet.")
    elif fewest < 3:
        seeds = {1: "one seed", 2: "two seeds"}[fewest]
        found.append(f"Some variants have {seeds} only, too few to estimate the variance.")
    return found


def table_row(results: Results, row: str) -> dict[str, Any]:
    """A variant's row of the table."""
    paper = next(each.paper for each in results.plan.study.rows if each.name == row)
    cells = []
    for metric in results.metrics:
        summaries = results.summaries(metric)
        summary = summaries.get(row)
        published = paper.get(metric)
        cell: dict[str, Any] = {"paper": f"{published} %" if published and metric in FRACTIONS else published}
        if summary is not None:
            cell |= {
                "value": number(summary.mean, summary),
                "deviation": None if summary.deviation is None else number(summary.deviation, summary),
                "best": has_direction(metric) and differ(summaries) and summary.mean == best(metric, summaries),
            }
        cells.append(cell)
    return {"name": row, "seeds": sum(outcome.row == row for outcome in results.done()), "cells": cells}


def differ(summaries: dict[str, Summary]) -> bool:
    """Whether the means are not all the same."""
    return len({summary.mean for summary in summaries.values()}) > 1


def best(metric: str, summaries: dict[str, Summary]) -> float:
    """The best mean."""
    means = [summary.mean for summary in summaries.values()]
    return min(means) if lower_is_better(metric) else max(means)


def number(value: float, summary: Summary) -> str:
    """A value to the second significant digit of its deviation; without one, four significant digits."""
    scale = summary.deviation or abs(summary.mean) / 100
    decimals = 4 if scale == 0 else min(6, max(0, 1 - math.floor(math.log10(scale))))
    return f"{value:,.{decimals}f}"


def tested(results: Results) -> str:
    """How differences were tested, and how many are significant."""
    pairs = [each for metric in results.metrics for each in results.differences(metric)]
    testable = [each for each in pairs if each.p is not None]
    if not testable:
        return "No pair of variants can be tested: a test needs at least two seeds of each."
    found = sum(each.significant for each in testable)
    return (
        f"Welch's t-test of every pair of variants by every metric, with Holm's correction within a metric, at 5 %: "
        f"{found or 'none'} of {len(testable)} pairs {'differs' if found == 1 else 'differ'} significantly."
    )


def significant_differences(results: Results) -> dict[str, list[str]]:
    """The significant differences in words, by metric."""
    found = {
        metric: [describe(metric, each) for each in results.differences(metric) if each.significant]
        for metric in results.metrics
    }
    return {metric: lines for metric, lines in found.items() if lines}


def describe(metric: str, difference: Difference) -> str:
    """A difference in words."""
    first_is_better = (difference.difference < 0) == lower_is_better(metric)
    comparative = "better" if has_direction(metric) else "higher"
    better, worse = (difference.first, difference.second) if first_is_better else (difference.second, difference.first)
    assert difference.adjusted is not None
    return (
        f"{better} is {comparative} than {worse} by {abs(difference.difference):.3g} "
        f"(p = {difference.adjusted:.2g} after correction)"
    )


def costs(results: Results) -> list[dict[str, Any]]:
    """Steps, images, seconds and settings of every variant."""
    found, differing = [], changes(results.plan)
    for row in results.plan.study.rows:
        runs = [outcome for outcome in results.done() if outcome.row == row.name]
        seconds = [outcome.seconds for outcome in runs]
        found.append({
            "name": row.name,
            "steps": f"{runs[0].steps:,}" if runs else "-",
            "images": f"{runs[0].images:,}" if runs else "-",
            "seconds": f"{sum(seconds) / len(seconds):,.0f}" if seconds else "-",
            "changes": differing[row.name],
            "reused": ", ".join(dict.fromkeys(run.reused for run in runs if run.reused)),
        })  # fmt: skip
    return found


def evaluation(results: Results) -> str:
    """How the metrics were computed."""
    done = results.done()
    if not done:
        return ""
    known = done[0].protocol
    pairs = results.plan.pairs
    text = (
        f"Metrics: {known['count']:,} captions of {known['split']} ({known['data']}), one image each, always the same "
        f"captions and seeds; the real images are all {known['reference']:,} of that split; feature extractor "
        f"{known['extractor']}, dual encoder {known['encoder']}, detector {known['detector']}."
    )
    if "diversity" in results.metrics:
        text += (
            f" Diversity: mean cosine distance of two images (seeds 0 and 1) of {min(pairs, known['reference'])} "
            "captions, in the feature extractor."
        )
    return f"{text} Devices: {', '.join(sorted({outcome.device for outcome in done}))}."


def draw_figures(results: Results, output: Path) -> dict[str, list[dict[str, str]]]:
    """Draws and writes all figures; returns the lists of them for the templates."""
    found: dict[str, list[dict[str, str]]] = {"metric_figures": [], "curve_figures": []}
    done = results.done()

    def add(kind: str, figure: Any, name: str, label: str, caption: str) -> None:
        svg = to_svg(figure, label)
        save_figure(figure, svg, output, name)
        found[kind].append({"svg": svg, "file": f"{name}.svg", "label": label, "caption": caption})

    for metric in results.metrics:
        label = f"{metric} of each variant"
        add("metric_figures", plot_metric(results, metric), f"metric-{slug(metric)}", label, label)
    for metric in results.metrics:
        if any(metric in point for outcome in done for point in outcome.curve):
            label = f"{metric} over training"
            add("curve_figures", plot_over_training(results, metric), f"curve-{slug(metric)}", label, label)
    for name in LOSSES:
        if any(name in line for outcome in done for line in outcome.losses):
            label = f"{name.replace('_', ' ')} in training batches"
            add("curve_figures", plot_over_training(results, name), f"loss-{slug(name)}", label, label)
    return found


def sample_files(plan: Plan, results: Results) -> Sequence[tuple[str, Path]]:
    """Each variant's first sample grid, in the order of the runs."""
    found: dict[str, Path] = {}
    done = {(outcome.row, outcome.seed) for outcome in results.done()}
    for run in plan.runs():
        if (run.row.name, run.seed) in done and run.row.name not in found and plan.samples_file(run).is_file():
            found[run.row.name] = plan.samples_file(run)
    return list(found.items())


def sample_rows(results: Results, output: Path) -> list[dict[str, Any]]:
    """The sample grids: embedded as PNG for the page, written as JPEG for the Markdown."""
    rows = []
    for row, path in sample_files(results.plan, results):
        with Image.open(path) as image:
            file = output / f"samples-{slug(row)}.jpg"
            with atomic_file(file) as partial:
                image.convert("RGB").save(partial, format="JPEG", quality=90)
            url = png_url(image)
            rows.append({"row": row, "url": url, "file": file.name, "width": image.width, "height": image.height})
    return rows


def cell_size(results: Results) -> int:
    """Side of a sample in pixels."""
    return results.plan.study.rows[0].config.image_size
