"""Writes a self-contained HTML page about a trained model: samples beside real images, attention maps and figures."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from xmcgan.data.records import Record
from xmcgan.inference.pipeline import Pipeline
from xmcgan.pages.run import STYLE, attention_section, paragraph, samples_table
from xmcgan.runtime.files import write_text
from xmcgan.runtime.locks import locked_folder


def write_model_page(
    page: Path,
    *,
    name: str,
    pipe: Pipeline,
    held_out: Sequence[Record],
    typed: Sequence[str],
    figures: Mapping[str, tuple[float, float | None]],
    evaluated: int,
    images_a_caption: int = 4,
) -> Path:
    """Writes the page of a model.

    Args:
        page: the file to write; an existing page is replaced.
        name: of the model, as ``Pipeline.from_pretrained`` takes it.
        held_out: captioned images not used in training; samples for the first caption of each appear beside it.
        typed: captions without an image.
        figures: by metric, the value of generated images and of real ones, None where there is none.
        evaluated: how many held-out captions the figures are of.
        images_a_caption: images generated for each caption, with seeds 0, 1, ...
    """
    config = pipe.config
    command = f'xmcgan generate "{typed[0]}" --model {name} --seed 7 --count 8'
    alone = pipe(list(typed), num_images=images_a_caption)
    beside = pipe([record.captions[0] for record in held_out], num_images=images_a_caption)
    sections = [
        f"<h1>{html.escape(name)}</h1>",
        paragraph(
            f"A trained model, {config.image_size} px: {pipe.step:,} steps of {config.training.batch_size} images. No "
            "caption of this page was used in training. Nothing is picked: seeds 0, 1, ...",
            soft=True,
        ),
        "<h2>Typed captions</h2>",
        samples_table(alone, [None] * len(typed), images_a_caption),
        "<h2>Held-out captions, beside the real image</h2>",
        paragraph("The image with a grey border is real; the others are generated from its caption."),
        samples_table(beside, held_out, images_a_caption),
        f"<h2>Figures of {evaluated:,} held-out captions</h2>",
        figures_table(figures),
        attention_section(alone, images_a_caption),
        "<h2>Next steps</h2>",
        f"<pre>{html.escape(command)}</pre>",
    ]
    head = (
        f'<meta charset="utf-8"><title>{html.escape(name)}</title><meta name="viewport" content="width=device-width">'
    )
    document = (
        f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>\n<body>\n'
        + "\n".join(sections)
        + "\n</body></html>\n"
    )
    with locked_folder(page, "written", beside=True, wait=True):
        return write_text(page, document)


def figures_table(figures: Mapping[str, tuple[float, float | None]]) -> str:
    """A table with a row for each metric: generated and real images."""
    rows = ["<tr><th></th><th>generated</th><th>real</th></tr>"]
    for metric, values in figures.items():
        cells = "".join(f"<td>{'' if value is None else f'{value:.3f}'}</td>" for value in values)
        rows.append(f"<tr><td>{html.escape(metric)}</td>{cells}</tr>")
    return f"<table>{''.join(rows)}</table>"
