"""Writes a self-contained HTML page about a run: samples beside real images, training curves and attention maps."""

import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from xmcgan.data.images import open_image
from xmcgan.data.records import Record
from xmcgan.inference.pipeline import Pipeline, PipelineOutput, attention_overlay
from xmcgan.pages.data_urls import data_url, png_url
from xmcgan.runtime.field_types import shortened
from xmcgan.runtime.files import read_json_lines, read_object, write_text
from xmcgan.runtime.locks import locked_folder

PICTURE = 128
"""Side of an image on the page, in CSS pixels."""

CURVES = (
    ("Adversarial losses", ("d_hinge", "g_hinge", "d_relativistic", "g_relativistic"), "loss"),
    (
        "Contrastive losses",
        ("real_sentence", "real_word", "fake_sentence", "fake_word", "image_discriminator", "image_encoder"),
        "symmetric cross entropy",
    ),
    (
        "Contrastive accuracy in the batch",
        ("real_sentence_accuracy", "real_word_accuracy", "fake_sentence_accuracy", "fake_word_accuracy"),
        "accuracy",
    ),
)

STYLE = (Path(__file__).parent / "templates" / "run.css").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Curves:
    """The columns of log.jsonl."""

    steps: list[int]
    columns: dict[str, list[float]]


def read_log(path: Path) -> Curves:
    """Reads the log of a run.

    Raises:
        FileNotFoundError: if there is no log.
        ValueError: naming the line that is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: this is not a training run, or it has not logged yet")
    lines = read_json_lines(path)
    for number, line in enumerate(lines, 1):
        for name, value in line.items():
            if type(value) not in (int, float) or (name == "step" and type(value) is not int):
                raise ValueError(f"{path}, line {number}: {name} is {shortened(value)}; it should be a number")
        if "step" not in line:
            raise ValueError(f"{path}, line {number} has no step")
    names = {name for line in lines for name in line} - {"step", "time"}
    columns = {name: [line.get(name, float("nan")) for line in lines] for name in sorted(names)}
    return Curves([line["step"] for line in lines], columns)


def plot_evaluations(curves: Curves) -> Figure:
    """Plots each metric over the steps (compare FID and contrastive accuracy in the paper's Figure 5)."""
    figure = Figure(figsize=(13.5, 3.2), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(curves.columns)))
    for axis, (name, values) in zip(axes, curves.columns.items(), strict=True):
        axis.plot(curves.steps, values, marker="o", markersize=4)
        axis.set(title=name, xlabel="step")
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def evaluations_section(path: Path) -> list[str]:
    """The section on metrics computed during training; empty if there are none."""
    if not path.is_file():
        return []
    figure = figure_url(plot_evaluations(read_log(path)))
    return ["<h2>Metrics during training</h2>", f'<img class="wide" alt="metrics against the step" src="{figure}">']


def plot_curves(curves: Curves) -> Figure:
    """Plots losses and accuracies over the steps."""
    figure = Figure(figsize=(13.5, 3.9), layout="constrained")
    for axis, (title, names, unit) in zip(figure.subplots(1, len(CURVES)), CURVES, strict=True):
        for name in (name for name in names if name in curves.columns):
            axis.plot(curves.steps, curves.columns[name], label=name.removesuffix("_accuracy").replace("_", " "))
        axis.set(title=title, xlabel="step", ylabel=unit)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        if axis.has_data():
            axis.legend(frameon=False, fontsize=8)
    return figure


def write_report(
    page: Path,
    *,
    run: Path,
    pipe: Pipeline,
    held_out: Sequence[Record],
    typed: Sequence[str],
    images_a_caption: int = 4,
) -> Path:
    """Writes the page of a run.

    Args:
        page: the file to write; an existing page is replaced.
        run: folder of the training run, for its log and sample grids.
        pipe: the run's pipeline.
        held_out: captioned images not used in training; samples for the first caption of each appear beside it.
        typed: captions without an image.
        images_a_caption: images generated for each caption, with seeds 0, 1, ...
    """
    config = pipe.config
    captions = [record.captions[0] for record in held_out]
    beside = pipe(captions, num_images=images_a_caption)
    alone = pipe(list(typed), num_images=images_a_caption)
    sections = [
        f"<h1>XMC-GAN, step {pipe.step:,}</h1>",
        paragraph(
            f"{config.image_size} px, {config.training.batch_size} images a batch, base width "
            f"{config.generator.width}, trained on {trained_on(run)}. The images are generated with the EMA weights, "
            "from captions that were not used in training.",
            soft=True,
        ),
        "<h2>Typed captions</h2>",
        samples_table(alone, [None] * len(typed), images_a_caption),
        "<h2>Held-out captions, beside the real image</h2>",
        paragraph("The image with a grey border is real; the others are generated from its caption, seeds 0, 1, ..."),
        samples_table(beside, held_out, images_a_caption),
        attention_section(alone, images_a_caption),
        "<h2>Training</h2>",
        f'<img class="wide" alt="training curves" src="{figure_url(plot_curves(read_log(run / "log.jsonl")))}">',
        *evaluations_section(run / "evaluations.jsonl"),
        "<h2>The same captions over the course of training</h2>",
        progress_row(run / "samples"),
        "<h2>Next steps</h2>",
        "<pre>"
        + html.escape(
            f'xmcgan generate "{typed[0]}" --model {run} --seed 7 --count 8 --output out\n'
            f"tensorboard --logdir {run}/tensorboard"
        )
        + "</pre>",
    ]
    title = f"XMC-GAN, {run.name}, step {pipe.step}"
    document = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n<body>\n'
        + "\n".join(sections)
        + "\n</body></html>\n"
    )
    with locked_folder(page, "written", beside=True, wait=True):
        return write_text(page, document)


def trained_on(run: Path) -> str:
    """The number of images a run was trained on, from its config.json."""
    data = read_object(run / "config.json", "data")["data"]
    records = data.get("records") if isinstance(data, dict) else None
    if type(records) is not int:
        found = f"data.records is {shortened(records)}"
        raise ValueError(f"{run / 'config.json'} is damaged: {found}; it should be a number")
    return f"{records:,} images"


def paragraph(text: str, *, soft: bool = False) -> str:
    """A paragraph of plain text."""
    return f"<p{' class=soft' if soft else ''}>{html.escape(text)}</p>"


def samples_table(pictures: PipelineOutput, real: Sequence[Record | None], images_a_caption: int) -> str:
    """A table with a row for each caption: the real image, if any, and the generated ones."""
    rows = []
    for number, record in enumerate(real):
        first = number * images_a_caption
        cells = [f'<td class="caption">{html.escape(pictures.captions[first])}</td>']
        if record is not None:
            cells.append(f'<td class="real">{picture(open_image(record), "real image")}</td>')
        for position in range(first, first + images_a_caption):
            cells.append(f"<td>{picture(pictures.images[position], f'seed {pictures.seeds[position]}')}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table>{''.join(rows)}</table>"


def attention_section(pictures: PipelineOutput, images_a_caption: int) -> str:
    """The first image of each caption with an attention map for each word; empty with plain self-modulation."""
    if pictures.attention is None:
        return ""
    rows = [
        attention_row(pictures.images[position], pictures.words[position], pictures.attention[position])
        for position in range(0, len(pictures.images), images_a_caption)
    ]
    about = paragraph(
        "Each of the 16 x 16 regions of the image attends to the words (attentional self-modulation). Bright regions "
        "attend most to the word. Each map is scaled to its own range."
    )
    return "\n".join(["<h2>Attention to each word</h2>", about, *rows])


def attention_row(image: Image.Image, words: list[str], attention: np.ndarray) -> str:
    """An image and the attention maps of its words, without [CLS] and [SEP]."""
    figures = [f"<figure>{picture(image, 'picture', 88)}<figcaption>&nbsp;</figcaption></figure>"]
    for word, word_map in list(zip(words, attention, strict=True))[1:-1]:
        overlay = picture(attention_overlay(image, word_map), word, 88)
        figures.append(f"<figure>{overlay}<figcaption>{html.escape(word)}</figcaption></figure>")
    return f'<div class="row words">{"".join(figures)}</div>'


def progress_row(folder: Path, most: int = 4) -> str:
    """Sample grids of a run, evenly spaced over its steps."""
    grids = sorted(path for path in folder.glob("step-*.png") if path.stem.removeprefix("step-").isdecimal())
    chosen = [grids[round(k * (len(grids) - 1) / max(most - 1, 1))] for k in range(most)] if grids else []
    figures = []
    for path in dict.fromkeys(chosen):
        step = int(path.stem.removeprefix("step-"))
        figures.append(
            f"<figure>{picture(read_grid(path), path.stem, 250)}<figcaption>step {step:,}</figcaption></figure>"
        )
    return f'<div class="row">{"".join(figures)}</div>'


def read_grid(path: Path) -> Image.Image:
    """A grid of samples.

    Raises:
        ValueError: naming the file, if it is no image.
    """
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except Exception as error:  # a damaged image raises anything
        raise ValueError(f"{path} cannot be read as an image: {error}") from error


def picture(image: Image.Image, alternative: str, size: int = PICTURE) -> str:
    """An HTML image with embedded data."""
    return (
        f'<img class="pixels" width="{size}" height="{size}" alt="{html.escape(alternative)}" '
        f'title="{html.escape(alternative)}" src="{png_url(image)}">'
    )


def figure_url(figure: Figure) -> str:
    """A figure as the data URL of a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return data_url("image/png", buffer.getvalue())
