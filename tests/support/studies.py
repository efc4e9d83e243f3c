"""Small studies: folders of pictures, and annotators that act without a browser."""

import atexit
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from PIL import Image
from sqlalchemy import func, select

from xmcgan.study.annotators import consent, create_annotators, find_annotator, introduce
from xmcgan.study.answering import save_answer, undo
from xmcgan.study.assignment import Step, next_step
from xmcgan.study.create import create_study
from xmcgan.study.settings import Settings
from xmcgan.study.storage import Database, read_study, reading, writing
from xmcgan.study.tables import ANSWER, ASSIGNMENT, ITEM

SYSTEMS = ("xmc-gan", "op-gan", "sd-gan", "cp-gan")


def write_systems(folder: Path, count: int, systems: Sequence[str] = SYSTEMS, side: int = 16) -> dict[str, Path]:
    """Folders of ``count`` plain pictures for each system, the first with the captions; colours tell systems apart."""
    found = {}
    for number, system in enumerate(systems):
        at = folder / system
        at.mkdir(parents=True)
        for index in range(count):
            pixels = np.full((side, side, 3), (40 + 60 * number, 5 * index % 256, 255 - 60 * number), np.uint8)
            pixels[index % side, :: number + 1] = 255
            Image.fromarray(pixels).save(at / f"{index}-0.png")
        found[system] = at
    write_captions(folder / "captions.jsonl", count)
    return found


def write_captions(path: Path, count: int) -> Path:
    lines = [
        {"id": f"{index}-0", "image_id": str(index), "caption": f"a scene number {index}"} for index in range(count)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@cache
def drawn_systems(count: int, systems: tuple[str, ...]) -> tuple[dict[str, Path], Path]:
    """The folders of ``write_systems`` and their captions, to be read by all tests of this process."""
    folder = Path(tempfile.mkdtemp(prefix="xmcgan-systems-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return write_systems(folder, count, systems), folder / "captions.jsonl"


def make_study(folder: Path, database_url: str | None = None, *, captions: int = 4, **fields: Any) -> Path:
    """A study of ``captions`` captions at ``folder/study``; without practice, checks and repeats unless named."""
    fields = {"practice": 0, "attention_every": 0, "repeat_every": 0, "size": 16, **fields}
    settings = Settings(**{name: fields.pop(name) for name in Settings.__slots__ if name in fields})
    systems = fields.pop("systems", SYSTEMS)
    folders, captions_file = drawn_systems(captions + 60, (*systems,))
    create_study(
        folder / "study",
        systems=folders,
        captions_file=captions_file,
        captions=captions,
        database_url=database_url,
        settings=settings,
        progress=False,
        **fields,
    )
    return folder / "study"


def new_tokens(database: Database, count: int, *, introduced: bool = True) -> list[str]:
    """Annotators that have read everything."""
    with writing(database) as connection:
        study, _ = read_study(connection)
        tokens = create_annotators(connection, count)
        for token in tokens if introduced else []:
            annotator = find_annotator(connection, token)
            consent(connection, annotator)
            for criterion in study.criteria:
                introduce(connection, find_annotator(connection, token), criterion)
    return tokens


def step(database: Database, token: str, clock: float | None = None) -> Step:
    """What the annotator is shown next."""
    with writing(database) as connection:
        study, settings = read_study(connection)
        annotator = find_annotator(connection, token, lock=True)
        return next_step(connection, study, settings, annotator, time.time() if clock is None else clock)


def answer(
    database: Database,
    token: str,
    key: str,
    ranking: Sequence[Sequence[int]] | None = None,
    *,
    client_key: str | None = None,
    clock: float | None = None,
    seconds: float = 2.0,
) -> str:
    """Answers an item, from left to right unless a ranking is given."""
    with writing(database) as connection:
        study, _ = read_study(connection)
        annotator = find_annotator(connection, token, lock=True)
        count = len(study.systems) if study.mode == "rank" else 2
        return save_answer(
            connection,
            study,
            annotator,
            key=key,
            client_key=client_key or uuid4().hex,
            ranking=ranking if ranking is not None else [[position] for position in range(count)],
            seconds=seconds,
            clock=time.time() if clock is None else clock,
        )


def work(database: Database, token: str, most: int = 10_000) -> int:
    """Answers items until there is no other, or ``most``; how many."""
    for done in range(most):
        found = step(database, token)
        if found.task is None:
            return done
        answer(database, token, found.task.key)
    return most


def check_invariants(database: Database) -> None:
    """No item has more annotators than it should, none twice, and the counts of slots are true."""
    with reading(database) as connection:
        for item in connection.execute(select(ITEM)).all():
            mine = [ASSIGNMENT.c.item == item.id, ASSIGNMENT.c.kind == "main"]
            slots = list(
                connection.execute(select(ASSIGNMENT.c.slot).where(*mine, ASSIGNMENT.c.slot.is_not(None))).scalars()
            )
            assert item.taken == len(slots) == len(set(slots)), item
            if item.kind == "main":
                assert item.taken <= item.quota
                assert all(0 <= slot < item.quota for slot in slots)
            standing = (
                select(ASSIGNMENT.c.annotator)
                .join(ANSWER, ANSWER.c.assignment == ASSIGNMENT.c.id)
                .where(*mine, ANSWER.c.withdrawn_at.is_(None))
            )
            annotators = list(connection.execute(standing).scalars())
            assert len(annotators) == len(set(annotators)) <= max(item.quota, 0)
        seen = select(func.count()).select_from(ASSIGNMENT).where(ASSIGNMENT.c.kind == "main")
        seen = seen.group_by(ASSIGNMENT.c.annotator, ASSIGNMENT.c.caption, ASSIGNMENT.c.criterion)
        assert all(count == 1 for count in connection.execute(seen).scalars())


def undo_last(database: Database, token: str, clock: float | None = None) -> bool:
    """Takes the annotator's last answer back."""
    with writing(database) as connection:
        annotator = find_annotator(connection, token, lock=True)
        return undo(connection, annotator, clock=time.time() if clock is None else clock, minutes=1)
