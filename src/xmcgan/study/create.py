"""Makes a study: its pictures in a folder, its items in a database. All or nothing.

STUDY/pictures/*.png   every picture under a random name
STUDY/study.sqlite     unless another database is named
STUDY/admin-token      the administrator's token, readable only by its owner
STUDY/links.txt        personal links of the first annotators, likewise
"""

import os
import random
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import get_args

import sqlalchemy as sa
from sqlalchemy import Connection

from xmcgan.data.images import ImageTransform, open_image
from xmcgan.data.records import Record
from xmcgan.evaluation.image_set import Request
from xmcgan.runtime.files import atomic_file, atomic_folder, make_folder
from xmcgan.runtime.locks import locked_folder
from xmcgan.runtime.progress import ProgressBar
from xmcgan.study.annotators import create_annotators
from xmcgan.study.attention import as_planned, references_of, remarks
from xmcgan.study.captions import Chosen, choose_captions, find_systems, read_captions
from xmcgan.study.pictures import Written, noise, write_alike
from xmcgan.study.records import CRITERIA, REFERENCE, ExclusionRules, Mode, Study
from xmcgan.study.settings import Settings
from xmcgan.study.storage import Database, migrate, now, open_database, reading, sqlite_url, writing
from xmcgan.study.tables import CAPTION, ITEM, PICTURE, STUDY
from xmcgan.study.tokens import new_token, token_hash

PICTURES, ADMIN_TOKEN, LINKS = "pictures", "admin-token", "links.txt"


def create_study(
    folder: Path,
    *,
    systems: Mapping[str, Path],
    captions_file: Path,
    captions: int | None = None,
    criteria: Sequence[str] = CRITERIA,
    mode: Mode = "rank",
    annotators: int = 5,
    links: int | None = None,
    real: Path | None = None,
    name: str | None = None,
    seed: int = 0,
    exclusion: ExclusionRules | None = None,
    settings: Settings | None = None,
    database_url: str | None = None,
    url: str = "http://127.0.0.1:8000",
    progress: bool = True,
    remark: Callable[[str], object] = lambda text: None,
) -> Study:
    """Makes a study in a new or empty folder.

    Args:
        systems: 2 to 9 folders of pictures, by system, as ``find_images`` reads them.
        captions_file: lines with ``id`` and ``caption``.
        captions: number of captions of the main items; None for all that practice and attention checks leave.
        annotators: number of distinct annotators for each item.
        links: number of personal links to make; None for ``annotators``.
        real: photographs for the attention checks; None for pictures of the systems.
        seed: seed for captions and orders, 0 to 2^31 - 1.
        database_url: PostgreSQL or SQLite; None for SQLite in the folder.
        remark: called with remarks about the attention checks, before anything is written.

    Raises:
        ValueError, FileNotFoundError: naming the argument, or the folder and the first caption that it lacks.
        FileExistsError: if another process is making a study there.
        WriteFailed: naming the file that could not be written; nothing is left then.
    """
    check(systems, criteria, mode, annotators, seed)
    refuse_used(folder)
    settings, rules = settings or Settings(), exclusion or ExclusionRules()
    chosen = choose_captions(read_captions(captions_file), captions, settings, seed)
    references = references_of(chosen, found := find_systems(systems, chosen, real=real is not None), real, seed)
    for text in remarks(chosen, settings, rules, photographs=real is not None):
        remark(text)
    settings = as_planned(settings, chosen)
    study = Study(new_token(), name or folder.name, seed, (*criteria,), mode, annotators, (*systems,), rules, now())
    with private_folder(folder) as partial, empty_database(database_url or sqlite_url(partial)) as database:
        pictures = make_folder(partial / PICTURES)
        rows = write_pictures(pictures, study, chosen, found, references, settings.size, progress)
        token = new_token()
        with writing(database) as connection:  # the secrets too: a study that nobody can open is not stored
            insert(connection, study, settings, chosen, rows, token)
            tokens = create_annotators(connection, annotators if links is None else links)
            write_secret(partial / ADMIN_TOKEN, token + "\n")
            write_secret(partial / LINKS, "".join(f"{url.rstrip('/')}/a/{each}\n" for each in tokens))
    return study


def refuse_used(folder: Path) -> None:
    """Refuses a folder that has content."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there already and not empty; name a new folder for the study")


def check(systems: Mapping[str, Path], criteria: Sequence[str], mode: str, annotators: int, seed: int) -> None:
    """Refuses arguments that no study can be made from."""
    if not 2 <= len(systems) <= 9:
        raise ValueError(f"systems has {len(systems)}; a study compares 2 to 9")
    for name in systems:
        if not name or name == REFERENCE or name.startswith("noise-") or set(name) & set(">=\n\t "):
            raise ValueError(f"the system name {name!r} is empty, reserved, or has a space, > or = in it")
    if not criteria or len(set(criteria)) != len(criteria) or not set(criteria) <= {*CRITERIA}:
        raise ValueError(f"criteria is {','.join(criteria)!r}; it can be {', '.join(CRITERIA)}, each once")
    if mode not in get_args(Mode):
        raise ValueError(f"mode is {mode!r}; it can be {', '.join(get_args(Mode))}")
    if not 1 <= annotators <= 1000:
        raise ValueError(f"annotators is {annotators}; it should be 1 to 1000 for each item")
    if not 0 <= seed < 2**31:
        raise ValueError(f"seed is {seed}; it should be 0 to {2**31 - 1}")


def write_pictures(
    folder: Path,
    study: Study,
    chosen: Chosen,
    found: Mapping[str, Mapping[str, Record]],
    references: Mapping[str, Record],
    size: int,
    progress: bool,
) -> dict[str, dict[str, Written]]:
    """Encodes every picture alike; returns the written files by caption id and system."""
    square = ImageTransform(size, "squash").square
    noises = [f"noise-{number}" for number in range(1, len(study.systems) if study.mode == "rank" else 2)]
    rows = {}
    bar = ProgressBar(total=len(chosen.all), unit="caption", desc="pictures", disable=not progress)
    for request in bar.over(chosen.all):
        if request.id in references:
            pictures = {REFERENCE: square(open_image(references[request.id]))}
            pictures |= {name: noise(size, f"{study.seed} {request.id} {name}") for name in noises}
        else:
            pictures = {name: square(open_image(found[name][request.id])) for name in study.systems}
        rows[request.id] = write_alike(folder, pictures)
    return rows


def insert(
    connection: Connection,
    study: Study,
    settings: Settings,
    chosen: Chosen,
    pictures: Mapping[str, Mapping[str, Written]],
    admin_token: str,
) -> None:
    """Writes the study, its captions, pictures and items."""
    stored = asdict(study) | {"settings": asdict(settings), "admin_token_hash": token_hash(admin_token)}
    connection.execute(sa.insert(STUDY), {"number": 1, **stored})
    ids = {request.id: number for number, request in enumerate(chosen.all, 1)}
    connection.execute(
        sa.insert(CAPTION),
        [{"id": ids[request.id], "caption_id": request.id, "caption": request.caption} for request in chosen.all],
    )
    connection.execute(
        sa.insert(PICTURE),
        [
            {"name": written.name, "caption": ids[id], "system": system, "sha256": written.sha256}
            for id, of_caption in pictures.items()
            for system, written in of_caption.items()
        ],
    )
    connection.execute(sa.insert(ITEM), items(study, chosen, pictures, ids))


def items(
    study: Study, chosen: Chosen, pictures: Mapping[str, Mapping[str, Written]], ids: Mapping[str, int]
) -> list[dict[str, object]]:
    """The items of every block: a caption with the systems that are compared, in an order drawn by the seed."""
    rows: list[dict[str, object]] = []

    def add(requests: list[Request], criterion: str, kind: str, quota: int) -> None:
        draw = random.Random(f"{study.seed} {criterion} {kind}")
        pairs = []
        for request in requests:
            names = [*study.systems] if kind != "attention" else sorted(pictures[request.id])
            if study.mode == "rank":
                pairs.append((request, names))
            elif kind == "main":
                pairs += [(request, [*pair]) for pair in combinations(names, 2)]
            else:
                pairs.append((request, draw.sample(names, 2)))
        draw.shuffle(pairs)
        for position, (request, names) in enumerate(pairs):
            rows.append({"caption": ids[request.id], "criterion": criterion, "kind": kind, "systems": names,
                         "position": position, "quota": quota, "taken": 0})  # fmt: skip

    for criterion in study.criteria:
        add(chosen.main, criterion, "main", study.annotators_per_item)
        add(chosen.attention, criterion, "attention", 0)
        add(chosen.practice, criterion, "practice", 0)
    return rows


@contextmanager
def empty_database(url: str) -> Generator[Database]:
    """Opens a database and makes the tables; refuses one that holds a study already."""
    database = open_database(url)
    try:
        migrate(database)
        with reading(database) as connection:
            if connection.execute(sa.select(STUDY.c.name)).first() is not None:
                place = database.engine.url.render_as_string(hide_password=True)
                raise ValueError(f"{place} holds a study already; name another database")
        yield database
    finally:
        database.engine.dispose()


@contextmanager
def private_folder(folder: Path) -> Generator[Path]:
    """``atomic_folder`` that only its owner can enter, locked until it has its name."""
    with locked_folder(folder, "made", beside=True), atomic_folder(folder) as partial:
        partial.chmod(0o700)
        yield partial


def write_secret(path: Path, text: str) -> None:
    """Writes a new file that only its owner can read."""
    with (
        atomic_file(path) as partial,
        os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file,
    ):
        file.write(text)
