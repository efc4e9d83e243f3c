"""A set of drawn images on disk: what was asked for, and a PNG for each request.

    SET/requests.jsonl   one line an image: its file, caption, ids and seed
    SET/settings.json    the model and the rule by which captions were chosen
    SET/images/          000000.png, ...

Requests are written first, images as they are drawn, each under another name until it is whole. So a drawing that was
stopped goes on where it stood, and a set of other requests is never mixed into it.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from xmcgan.data.records import Record
from xmcgan.runtime.distributed import barrier, is_main, on_main, rank, world_size
from xmcgan.runtime.files import atomic_file, to_json, write_text
from xmcgan.runtime.folders import changed_settings, refuse_changed, refuse_foreign

REQUESTS, SETTINGS, IMAGES = "requests.jsonl", "settings.json", "images"

Generate = Callable[[Sequence[str], Sequence[int]], Tensor]
"""Captions and a seed each to uint8 pixels (B, 3, H, W) on the CPU."""


class Request(NamedTuple):
    """One image that is asked for."""

    id: str  # of the image that is asked for; where each caption is drawn once, its caption's id
    image_id: str  # of the record that the caption describes
    caption: str
    seed: int
    category: int | None = None  # the COCO category that the caption is listed for (SOA)


def caption_id(record: Record, number: int) -> str:
    """The name of a record's caption: the record's id and the caption's place among its captions, from 0."""
    return f"{record.id}-{number}"


def random_captions(records: Sequence[Record], count: int, *, seed: int = 0) -> list[Request]:
    """A random caption of each of ``count`` random images (paper, section 5: 30,000 random validation captions).

    With more captions asked for than there are images, every image is taken once before one is taken again, each time
    with another caption. Request k has seed ``seed + k``.

    Raises:
        ValueError: if there are fewer captions than asked for.
    """
    available = sum(len(record.captions) for record in records)
    if not 1 <= count <= available:
        raise ValueError(f"{count} captions are asked for; it should be 1 to {available}, which is all there are")
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(records))
    captions = [generator.permutation(len(record.captions)) for record in records]
    chosen: list[Request] = []
    for turn in range(max(len(record.captions) for record in records)):
        for index in order:
            record = records[index]
            if turn < len(record.captions):
                number = int(captions[index][turn])
                id, caption = caption_id(record, number), record.captions[number]
                chosen.append(Request(id, record.id, caption, seed + len(chosen)))
                if len(chosen) == count:
                    return chosen
    raise AssertionError("every caption has been taken, and still there were not enough")


def captions_sha256(requests: Sequence[Request]) -> str:
    """A hash of the captions asked for, with their ids, in their order."""
    return hashlib.sha256("\n".join(f"{request.id} {request.caption}" for request in requests).encode()).hexdigest()


def generate_set(
    folder: Path,
    requests: Sequence[Request],
    generate: Generate,
    *,
    settings: dict[str, Any],
    batch_size: int = 64,
    progress: bool = True,
) -> list[Record]:
    """Draws what is not there yet of the requests, split over the ranks; the images as records, in order.

    Args:
        settings: what made the images; a folder of other settings or requests is refused.

    Raises:
        ValueError: if the folder holds something else; what differs is named.
    """
    on_main(claim_image_set, folder, requests, settings)
    names = file_names(requests)
    here = [number for number in range(len(requests)) if number // batch_size % world_size() == rank()]
    missing = [number for number in here if not (folder / IMAGES / names[number]).exists()]
    bar = tqdm(
        total=len(here),
        initial=len(here) - len(missing),
        unit="image",
        desc="drawing",
        disable=not (progress and is_main()),
    )
    with bar:
        for start in range(0, len(missing), batch_size):
            chosen = missing[start : start + batch_size]
            pixels = generate(
                [requests[number].caption for number in chosen], [requests[number].seed for number in chosen]
            )
            for number, image in zip(chosen, pixels, strict=True):
                path = folder / IMAGES / names[number]
                with atomic_file(path) as partial:
                    Image.fromarray(image.permute(1, 2, 0).numpy()).save(partial, format="PNG")
            bar.update(len(chosen))
    barrier()
    return as_records(requests, [folder / IMAGES / name for name in names])


def claim_image_set(folder: Path, requests: Sequence[Request], settings: dict[str, Any]) -> None:
    """Writes requests and settings beside the images to come, or checks that those there are the same."""
    names = file_names(requests)
    lines = [{"file": f"{IMAGES}/{name}", **request._asdict()} for name, request in zip(names, requests, strict=True)]
    content = {
        REQUESTS: "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines),
        SETTINGS: to_json(settings, ensure_ascii=False, sort_keys=True),
    }
    if (folder / SETTINGS).exists():
        there = json.loads((folder / SETTINGS).read_text())
        refuse_changed(folder, "images of other settings", changed_settings(there, settings))
        if (folder / REQUESTS).read_text() != content[REQUESTS]:
            raise ValueError(f"{folder} holds images of other captions or seeds. Choose another --output")
        return
    refuse_foreign(folder, "a set of generated images")
    (folder / IMAGES).mkdir(parents=True, exist_ok=True)
    for name in (REQUESTS, SETTINGS):  # the settings last: a folder with them has everything
        write_text(folder / name, content[name])


def file_names(requests: Sequence[Request]) -> list[str]:
    """The image files' names, by position."""
    digits = max(6, math.ceil(math.log10(len(requests) + 1)))
    return [f"{number:0{digits}}.png" for number in range(len(requests))]


def find_images(folder: Path, requests: Iterable[Request]) -> list[Record]:
    """Images that any system drew, matched to the requests by id: a drawn set, or files named ``<id>.png`` or ``.jpg``.

    Raises:
        FileNotFoundError: naming the ids without an image, and how many.
    """
    requests = list(requests)
    if (folder / REQUESTS).is_file():
        files = {}
        for number, line in enumerate((folder / REQUESTS).read_text().splitlines(), 1):
            try:
                entry = json.loads(line)
                files[entry["id"]] = folder / entry["file"]
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise ValueError(f"{folder / REQUESTS}, line {number} is no request: {error!r}") from error
    else:
        files = {path.stem: path for path in folder.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg")}
    missing = [request.id for request in requests if request.id not in files or not files[request.id].is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} lacks {len(missing)} of {len(requests)} images, the first of them {missing[0]}.png; "
            "`xmcgan evaluate --write_captions FILE` writes the captions to draw, with their ids"
        )
    return as_records(requests, [files[request.id] for request in requests])


def as_records(requests: Sequence[Request], files: Sequence[Path]) -> list[Record]:
    """Drawn images as the records that every reader of images takes."""
    return [Record(path, (request.caption,), request.id) for request, path in zip(requests, files, strict=True)]
