"""Writes a page with the generated images nearest to training images, and with interpolations."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from xmcgan.data.images import open_image
from xmcgan.data.records import Record
from xmcgan.inference.pipeline import Pipeline
from xmcgan.pages.data_urls import png_url
from xmcgan.runtime.files import write_text
from xmcgan.runtime.locks import locked_folder

TEMPLATES = Path(__file__).parent / "templates"
STYLE = (TEMPLATES / "neighbours.css").read_text(encoding="utf-8")

SIDE = 128
"""Pixels of an image on the page, at most; smaller images keep their size and are shown enlarged."""

STEPS = 9


class Pair(NamedTuple):
    """A generated image and the training image nearest to it."""

    generated: Record
    training: Record
    distance: float
    own_distance: float  # of the training image to the nearest other training image


class Closest(NamedTuple):
    """The closest pairs, and the usual distances."""

    pairs: Sequence[Pair]  # the closest first
    images: int  # generated images that were compared
    median: float  # distance of a generated image to its nearest training image
    fresh: float | None  # the same of held-out real images; None if unknown


def write_neighbours_page(page: Path, closest: Closest, *, title: str, pipe: Pipeline | None = None) -> Path:
    """Writes the page, replacing an earlier one.

    Args:
        page: the file to write.
        title: name of the system.
        pipe: for strips between two captions and two seeds; None leaves them out.
    """
    fresh = "" if closest.fresh is None else f", that of a held-out real image {closest.fresh:.3f}"
    sections = [
        f"<h1>{html.escape(title)}: nearest training images</h1>",
        f"<p>Of {closest.images:,} generated images, the {len(closest.pairs)} that are nearest to a training image, in "
        "the features of the evaluation network: left the generated one, right its nearest training image. The median "
        f"distance of a generated image is {closest.median:.3f}{fresh}. A pair is marked where the generated image is "
        "nearer to the training image than any other training image is: such an image is not authentic.</p>",
        f'<div class="pairs">{"".join(map(figure, closest.pairs))}</div>',
    ]
    if pipe is not None:
        captions = list(dict.fromkeys(pair.generated.captions[0] for pair in closest.pairs))
        sections += ["<h2>Between two captions and between two seeds</h2>", *strips(pipe, captions)]
    head = (
        f'<meta charset="utf-8"><title>{html.escape(title)}</title><meta name="viewport" content="width=device-width">'
    )
    body = "\n".join(sections)
    document = (
        f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>\n<body><main>\n{body}\n'
        "</main></body></html>\n"
    )
    with locked_folder(page, "written", beside=True, wait=True):
        return write_text(page, document)


def figure(pair: Pair) -> str:
    """A pair side by side, with both captions."""
    copied = pair.distance <= pair.own_distance
    mark = ' class="copied"' if copied else ""
    caption, other = (html.escape(record.captions[0]) for record in (pair.generated, pair.training))
    return (
        f"<figure{mark}><div>{picture(open_image(pair.generated), caption)}"
        f"{picture(open_image(pair.training), other)}</div>"
        f"<figcaption><b>{pair.distance:.3f}</b>{' not authentic' if copied else ''}<br>{caption}<br>"
        f'<span class="soft">{other}</span></figcaption></figure>'
    )


def strips(pipe: Pipeline, captions: Sequence[str]) -> list[str]:
    """A strip from one caption to another with one seed, and one from one seed to another with one caption."""
    if not captions:
        return []
    first, last = captions[0], captions[-1]
    between_captions = pipe.interpolate((first, last), seeds=(0, 0), steps=STEPS)
    between_seeds = pipe.interpolate((first, first), seeds=(0, 1), steps=STEPS)
    start, end = first.rstrip("."), last.rstrip(".")
    texts = (f"{start} → {end}, seed 0", f"{start}, seed 0 → seed 1")
    return [
        f'<figure class="strip"><div>{"".join(picture(image, text) for image in images)}</div>'
        f"<figcaption>{html.escape(text)}</figcaption></figure>"
        for images, text in zip((between_captions, between_seeds), texts, strict=True)
    ]


def picture(image: Image.Image, text: str) -> str:
    """An image as an element of the page itself."""
    image = image.convert("RGB")
    image.thumbnail((SIDE, SIDE))
    return f'<img alt="{html.escape(text, quote=True)}" src="{png_url(image)}">'
