"""Chooses a study's captions, those for practice and attention checks, and finds their pictures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xmcgan.data.records import Record, one_line
from xmcgan.evaluation.image_set import REQUESTS, Request, find_images
from xmcgan.study.settings import Settings


class Chosen(NamedTuple):
    """Captions by their use; each has only one."""

    main: list[Request]
    practice: list[Request]
    attention: list[Request]

    @property
    def all(self) -> list[Request]:
        """Every caption of the study."""
        return [*self.main, *self.practice, *self.attention]


def captions_file(systems: Mapping[str, Path], given: Path | None) -> Path:
    """The file of captions: the given one, or the first system's that has one.

    Raises:
        ValueError: if there is none.
    """
    if given is not None:
        return given
    for folder in systems.values():
        if (folder / REQUESTS).is_file():
            return folder / REQUESTS
    raise ValueError(
        f"no folder of --systems has a {REQUESTS} with the captions; name a file by --captions-file, "
        "as `xmcgan evaluate --write-captions FILE` writes it"
    )


def read_captions(path: Path) -> list[Request]:
    """Captions from a file of JSON lines with ``id``, ``caption`` and, if known, ``image_id``.

    Raises:
        ValueError: naming the line that is wrong.
    """
    found: dict[str, Request] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            entry = json.loads(line)
            id, caption, image = entry["id"], entry["caption"], entry.get("image_id", entry["id"])
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f'{path}, line {number} should be {{"id": ..., "caption": ...}}: {error!r}') from error
        if not (isinstance(id, str) and id and isinstance(caption, str) and one_line(caption)):
            raise ValueError(f"{path}, line {number}: id and caption should be text, and not empty")
        if id in found:
            raise ValueError(f"{path}, line {number}: the id {id} occurs twice")
        found[id] = Request(id, str(image), one_line(caption), 0)
    return list(found.values())


def choose_captions(captions: Sequence[Request], count: int | None, settings: Settings, seed: int) -> Chosen:
    """Draws the captions of the main items, and others for practice and attention checks.

    A block gets ``min_attention_checks`` checks if there are enough captions for them, and fewer otherwise.

    Args:
        count: number of captions of the main items; None for all that practice and checks leave.

    Raises:
        ValueError: if there are too few captions, with the possible numbers.
    """
    free = len(captions) - settings.practice

    def checks(main: int, least: int) -> int:
        block = min(main, settings.most_per_annotator or main)
        return max(least, -(-block // settings.attention_every)) if settings.attention_every else 0

    def most(least: int) -> int:
        return max((main for main in range(1, free + 1) if main + checks(main, least) <= free), default=0)

    if not (possible := most(1)):
        raise ValueError(
            f"there are {len(captions)} captions; the fewest are {settings.practice} for practice, {checks(1, 1)} for "
            "attention checks and 1 for the study itself"
        )
    if count is None:
        count = most(settings.min_attention_checks) or possible
    if not 1 <= count <= possible:
        kept = settings.practice + checks(max(1, count), 1)
        raise ValueError(
            f"captions is {count}; it can be 1 to {possible}: practice and attention checks take {kept} of the "
            f"{len(captions)} captions in the file"
        )
    attention = min(checks(count, settings.min_attention_checks), free - count)
    order = np.random.default_rng(seed).permutation(len(captions))
    drawn = [captions[index] for index in order[: count + settings.practice + attention]]
    return Chosen(drawn[:count], drawn[count : count + settings.practice], drawn[count + settings.practice :])


def find_systems(systems: Mapping[str, Path], chosen: Chosen, *, real: bool) -> dict[str, dict[str, Record]]:
    """The picture of every system and caption, by system and caption id.

    Args:
        real: whether attention checks use photographs, so that systems need no pictures for them.

    Raises:
        FileNotFoundError: naming the folder and the first caption that it lacks.
    """
    requests = [*chosen.main, *chosen.practice] if real else chosen.all
    found = {}
    for name, folder in systems.items():
        if not folder.is_dir():
            raise FileNotFoundError(f"--systems {name}={folder}: there is no such folder")
        found[name] = {record.id: record for record in find_images(folder, requests)}
    return found


def find_photographs(folder: Path, requests: Sequence[Request]) -> dict[str, Record]:
    """The photograph of each caption: a file named by the caption's id or its image's.

    Raises:
        FileNotFoundError: naming the first caption without one.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"--real {folder}: there is no such folder")
    files = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in (".png", ".jpg", ".jpeg")}
    found = {}
    for request in requests:
        path = files.get(request.id) or files.get(request.image_id)
        if path is None:
            raise FileNotFoundError(f"--real {folder} has no photograph of caption {request.id}: no {request.id}.png "
                                    f"or .jpg, and no {request.image_id}.png or .jpg")  # fmt: skip
        found[request.id] = Record(path, (request.caption,), request.id)
    return found
