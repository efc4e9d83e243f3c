"""A set of generated images on disk: the requests, and one PNG per request.

    SET/requests.jsonl   one line per image: file, caption, ids and seed
    SET/settings.json    the model and how captions were chosen
    SET/images/          000000.png, ...

Requests are written first, then each image atomically. An interrupted run resumes, and a set with other requests is
refused rather than mixed in.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from xmcgan.data.records import Record
from xmcgan.evaluation.remaining import begin, report, skip
from xmcgan.runtime.distributed import barrier, is_main, on_main, rank, world_size
from xmcgan.runtime.files import atomic_file, make_folder, parse_json, read_object, to_json, write_text
from xmcgan.runtime.folders import changed_settings, refuse_changed, refuse_foreign
from xmcgan.runtime.locks import locked_folder
from xmcgan.runtime.progress import ProgressBar

REQUESTS, SETTINGS, IMAGES = "requests.jsonl", "settings.json", "images"

Generate = Callable[[Sequence[str], Sequence[int]], Tensor]
"""(captions, seeds) -> uint8 pixels (B, 3, H, W) on the CPU."""


class Request(NamedTuple):
    """One image to generate."""

    id: str  # of the image to generate; the caption's id if each caption is used once
    image_id: str  # of the record that the caption describes
    caption: str
    seed: int
    category: int | None = None  # COCO category that the caption is listed under (SOA)


def caption_id(record: Record, number: int) -> str:
    """Id of a record's caption: the record's id and the caption's index, from 0."""
    return f"{record.id}-{number}"


def random_captions(records: Sequence[Record], count: int, *, seed: int = 0) -> list[Request]:
    """Choose one random caption of each of ``count`` random images (paper, section 5: 30,000 validation captions).

    If ``count`` exceeds the number of images, every image is used once before any is used again with another caption.
    Request k has seed ``seed + k``.

    Raises:
        ValueError: if there are fewer than ``count`` captions.
    """
    available = sum(len(record.captions) for record in records)
    if not 1 <= count <= available:
        raise ValueError(f"count is {count}; it should be 1 to {available}, the number of captions")
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
    raise AssertionError("count was checked against the number of captions")


def captions_sha256(requests: Sequence[Request]) -> str:
    """SHA-256 of the requested captions and their ids, in order."""
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
    """Generate the images that are still missing, shared among ranks; return all images as records, in order.

    Args:
        settings: how the images are generated; must equal the settings of an existing folder.

    Raises:
        ValueError: if the folder has other settings or requests, naming the differences, or other content.
    """
    with ExitStack() as lock:
        on_main(claim_image_set, folder, requests, settings, lock)
        draw_missing(folder, requests, generate, batch_size, progress)
        barrier()
    return as_records(requests, [folder / IMAGES / name for name in file_names(requests)])


def draw_missing(folder: Path, requests: Sequence[Request], generate: Generate, batch_size: int, progress: bool):
    """Generate this rank's share of the images that a claimed folder lacks."""
    names = file_names(requests)
    make_folder(folder / IMAGES)
    own = [number for number in range(len(requests)) if number // batch_size % world_size() == rank()]
    missing = [number for number in own if not (folder / IMAGES / names[number]).exists()]
    skip("generating", len(own) - len(missing))
    begin()
    with ProgressBar(
        total=len(own),
        initial=len(own) - len(missing),
        unit="image",
        desc="generating",
        disable=not (progress and is_main()),
    ) as bar:
        for start in range(0, len(missing), batch_size):
            chosen = missing[start : start + batch_size]
            pixels = generate(
                [requests[number].caption for number in chosen], [requests[number].seed for number in chosen]
            )
            for number, image in zip(chosen, pixels, strict=True):
                with atomic_file(folder / IMAGES / names[number]) as partial:
                    Image.fromarray(image.permute(1, 2, 0).numpy()).save(partial, format="PNG")
            bar.update(len(chosen))
            report("generating", len(chosen), bar)


def claim_image_set(folder: Path, requests: Sequence[Request], settings: dict[str, Any], lock: ExitStack) -> None:
    """Write requests and settings to a new folder, or check that an existing folder has the same ones.

    Args:
        lock: holds the folder's lock until it is closed.
    """
    names = file_names(requests)
    lines = [{"file": f"{IMAGES}/{name}", **request._asdict()} for name, request in zip(names, requests, strict=True)]
    content = {
        REQUESTS: "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines),
        SETTINGS: to_json(settings, ensure_ascii=False, sort_keys=True),
    }
    if (folder / SETTINGS).exists():
        changes = changed_settings(read_object(folder / SETTINGS), settings)
        advice = "Choose another --output, or delete that folder"
        refuse_changed(folder, "images with other settings", changes, advice)
        if (folder / REQUESTS).read_bytes() != content[REQUESTS].encode():
            raise ValueError(f"{folder} holds images of other captions or seeds. {advice}")
        lock.enter_context(locked_folder(folder, "drawn into"))
        return
    refuse_foreign(folder, "a set of generated images", own=(REQUESTS, f".partial-{REQUESTS}", f".partial-{SETTINGS}"))
    lock.enter_context(locked_folder(folder, "drawn into"))
    for name in (REQUESTS, SETTINGS):  # settings last: they mark the folder as complete
        write_text(folder / name, content[name])


def file_names(requests: Sequence[Request]) -> list[str]:
    """File name of each image, zero-padded to a common width."""
    digits = max(6, math.ceil(math.log10(len(requests) + 1)))
    return [f"{number:0{digits}}.png" for number in range(len(requests))]


def find_images(folder: Path, requests: Iterable[Request]) -> list[Record]:
    """Match images of any system to requests by id: a set written by ``generate_set``, or files ``<id>.png``/``.jpg``.

    A file outside the folder is never read, even if ``requests.jsonl`` or a link points to it.

    Raises:
        FileNotFoundError: with the number of missing images and the first missing one.
        ValueError: naming the line of ``requests.jsonl`` that is damaged, or the file outside the folder.
    """
    requests = list(requests)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; it should hold an image for each caption, <id>.png")
    if (folder / REQUESTS).is_file():
        files = listed_files(folder)
    else:
        files = {path.stem: path for path in folder.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg")}
    missing = [request.id for request in requests if request.id not in files or not files[request.id].is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} lacks {len(missing)} of {len(requests)} images; the first is {missing[0]}.png. "
            "`xmcgan evaluate --write-captions FILE` writes the captions to generate from, with their ids"
        )
    found, whole = [files[request.id] for request in requests], folder.resolve()
    for path in found:
        if not path.resolve().is_relative_to(whole):
            raise ValueError(f"{path} leads out of {folder}; the images should be files inside it")
    return as_records(requests, found)


def listed_files(folder: Path) -> dict[str, Path]:
    """The file of each id, as ``requests.jsonl`` lists them.

    Raises:
        ValueError: naming the line that is damaged.
    """
    files = {}
    for number, line in enumerate((folder / REQUESTS).read_bytes().splitlines(), 1):
        where = f"{folder / REQUESTS}, line {number}"
        entry = parse_json(line, where)
        wanted = [entry.get(name) for name in ("id", "file")] if isinstance(entry, dict) else []
        if not wanted or not all(isinstance(value, str) and value and "\0" not in value for value in wanted):
            raise ValueError(f"{where} is not a request: it should be an object with the texts id and file")
        files[wanted[0]] = folder / wanted[1]
    return files


def as_records(requests: Sequence[Request], files: Sequence[Path]) -> list[Record]:
    """Generated images as records of one caption each."""
    return [Record(path, (request.caption,), request.id) for request, path in zip(requests, files, strict=True)]
