"""Writes an HTML page to browse a data set: images, captions, boxes, and mouse traces animated along the narrative.

The page is self-contained: it works from a file, and its content security policy forbids network access and foreign
scripts. Data reaches the page as JSON and is only ever inserted as text.
"""

import base64
import html
import io
import json
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from PIL import Image

from xmcgan.data.images import open_image
from xmcgan.data.records import ImageSource, Narrative, Record
from xmcgan.pages.data_urls import data_url
from xmcgan.runtime.files import make_folder, write_new

MAX_RECORDS = 500
"""Records in a page; each takes up to about 60 KB."""

TEMPLATES = Path(__file__).parent / "templates"
STYLE = (TEMPLATES / "dataset.css").read_text(encoding="utf-8")

BODY = (TEMPLATES / "dataset.html").read_text(encoding="utf-8")

SCRIPT = (TEMPLATES / "dataset.js").read_text(encoding="utf-8")


def write_browser(
    page: Path, records: Sequence[Record], *, title: str, side: int = 512, overwrite: bool = False
) -> Path:
    """Writes the page and returns its path.

    Args:
        page: the file to write, atomically.
        records: 1 to ``MAX_RECORDS`` records, with boxes and narratives if they were read.
        title: the page's heading.
        side: maximum length of an image's longer side, in pixels; smaller images keep their size.
        overwrite: replace a file that is there.

    Raises:
        FileExistsError: if a file is there with other content, and ``overwrite`` is false.
        ValueError: if there are no or too many records, or an image cannot be read.
    """
    if not records:
        raise ValueError("there are no records to show")
    if len(records) > MAX_RECORDS:
        raise ValueError(f"{len(records):,} records are too many for one page; it holds at most {MAX_RECORDS}")
    # Escape every <: "</script" would end the script element, and "<!--" has a special meaning in it.
    data = json.dumps(page_data(records, side), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    digest = base64.b64encode(sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    document = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n<body>'
        f"{BODY.format(title=html.escape(title))}"
        f'<script type="application/json" id="data">{data}</script>\n<script>{SCRIPT}</script>\n</body></html>\n'
    )
    make_folder(page.parent)
    return write_new(page, document.encode(), overwrite=overwrite)


def page_data(records: Sequence[Record], side: int) -> dict[str, Any]:
    """The data for the page's script. Records of one image share its picture; boxes refer to categories by index."""
    counts = Counter(box.category for record in records for box in record.boxes)
    categories = sorted(counts, key=lambda category: (-counts[category], category))
    numbers = {category: number for number, category in enumerate(categories)}
    pictures: list[dict[str, Any]] = []
    places: dict[ImageSource, int] = {}
    shown = []
    for record in records:
        if record.image not in places:
            places[record.image] = len(pictures)
            pictures.append(picture(open_image(record), side))
        shown.append(
            {
                "id": record.id,
                "picture": places[record.image],
                "captions": record.captions,
                "boxes": [[numbers[box.category], *(round(value, 4) for value in box[1:])] for box in record.boxes],
                "narrative": None if record.narrative is None else spoken(record.narrative),
            }
        )
    return {"records": shown, "pictures": pictures, "categories": categories}


def picture(image: Image.Image, side: int) -> dict[str, Any]:
    """The image as a JPEG data URL, with its size; shrinks the image in place."""
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=85)
    return {"source": data_url("image/jpeg", buffer.getvalue()), "width": image.width, "height": image.height}


def spoken(narrative: Narrative) -> dict[str, Any] | None:
    """A narrative with its duration, times rounded to 0.01 s; None if its duration is zero."""
    ends = [utterance.end for utterance in narrative.utterances]
    ends += [point.t for stroke in narrative.strokes for point in stroke]
    seconds = round(max(ends, default=0.0), 2)
    if seconds <= 0:
        return None
    return {
        "caption": narrative.caption,
        "seconds": seconds,
        "utterances": [
            [utterance.words, round(utterance.start, 2), round(utterance.end, 2)] for utterance in narrative.utterances
        ],
        "strokes": [
            [[round(point.x, 4), round(point.y, 4), round(point.t, 2)] for point in stroke]
            for stroke in narrative.strokes
        ],
    }
