"""One HTML page to look through a data set: images, captions, boxes, and mouse traces drawn while the words are said.

Nothing outside the page: it works from a file, and its policy forbids it the network. What comes from the data set
reaches the page as JSON and is only ever set as text; no script but the page's own would run.
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
from xmcgan.data.records import Narrative, Record, Slice
from xmcgan.runtime.files import write_text

MOST = 500
"""Records a page: each brings up to some 60 KB."""

TEMPLATES = Path(__file__).parent / "templates"
STYLE = (TEMPLATES / "dataset.css").read_text(encoding="utf-8")

BODY = (TEMPLATES / "dataset.html").read_text(encoding="utf-8")

SCRIPT = (TEMPLATES / "dataset.js").read_text(encoding="utf-8")


def write_browser(page: Path, records: Sequence[Record], *, title: str, side: int = 512) -> Path:
    """Writes the page and returns its path.

    Args:
        page: the file to write; an earlier page there is replaced, but only by a whole one.
        records: 1 to ``MOST``, with boxes and narratives where they were read.
        title: heading of the page.
        side: pixels of an image's longer side on the page; smaller images stay as they are.

    Raises:
        ValueError: if there are no records or too many, or naming an image that cannot be read.
    """
    if not records:
        raise ValueError("there are no records to show")
    if len(records) > MOST:
        raise ValueError(f"{len(records):,} records are too many for one page; it holds at most {MOST}")
    # What a script element holds ends at the first "</script" and reads "<!--" as its own: there is no < in the data.
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
    page.parent.mkdir(parents=True, exist_ok=True)
    return write_text(page, document)


def page_data(records: Sequence[Record], side: int) -> dict[str, Any]:
    """What the page's script reads. Records of one image share its picture; boxes name categories by number."""
    counts = Counter(box.category for record in records for box in record.boxes)
    categories = sorted(counts, key=lambda category: (-counts[category], category))
    numbers = {category: number for number, category in enumerate(categories)}
    pictures: list[dict[str, Any]] = []
    places: dict[Path | Slice | bytes, int] = {}
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
    """A JPEG as a data URL, and its size."""
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=85)
    source = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return {"source": source, "width": image.width, "height": image.height}


def spoken(narrative: Narrative) -> dict[str, Any] | None:
    """A narrative with the length of its clock, in hundredths of a second; None of one whose clock never runs."""
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
