"""Damage to the files of a data set, by number; and what a reader holds to whatever it finds."""

import json
import math
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from xmcgan.data.records import Problem, Record, Slice, one_line

STRANGE = (
    None, True, False, 0, -1, 7, 10**30, -0.5, 2.5, 1e-320, 1e308, math.nan, math.inf, "", " \n", "x", "../secret.jpg",
    "/etc/passwd", "a/../../secret.jpg", ".", "..", "a\0b", "\ud800", "n" * 5000, [], {}, [[]], [None], {"x": 1},
)  # fmt: skip


def damaged_bytes(content: bytes, chance: random.Random) -> bytes:
    """Content with one to three injuries."""
    content = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(content) + 1)
        to = min(len(content), at + chance.choice((1, 1, 2, 8, 100)))
        match chance.randrange(6):
            case 0:
                content[at:to] = b""
            case 1:
                content[at:at] = chance.randbytes(chance.choice((1, 1, 4, 600)))
            case 2:
                content[at:to] = chance.randbytes(to - at)
            case 3:
                content[at:at] = content[at:to]
            case 4 if at < len(content):
                content[at] ^= 1 << chance.randrange(8)
            case 5:
                del content[chance.randint(len(content) // 2, len(content)) :]
    return bytes(content)


def damaged_value(value: Any, chance: random.Random) -> Any:
    """A JSON value in which another takes the place of one of its parts."""
    if isinstance(value, dict | list) and value and chance.random() < 0.9:
        copy = dict(value) if isinstance(value, dict) else list(value)
        key = chance.choice(list(copy)) if isinstance(copy, dict) else chance.randrange(len(copy))
        if chance.random() < 0.1:
            del copy[key]
        else:
            copy[key] = damaged_value(copy[key], chance)
        return copy
    return chance.choice(STRANGE)


def damaged_json(content: bytes, chance: random.Random) -> bytes:
    """A JSON text, or lines of them, with a strange value somewhere."""
    lines = content.splitlines()
    at = chance.randrange(len(lines))
    lines[at] = json.dumps(damaged_value(json.loads(lines[at]), chance)).encode()
    return b"\n".join(lines) + b"\n"


def assert_holds(read: Callable[..., Iterator[Record | Problem]], root: Path, split: str) -> None:
    """A reader gives good records and problems or says what is wrong with the set; and writes nothing."""
    before, complaint = snapshot(root), str(root)
    try:
        for entry in read(root, split, annotations=True):
            if isinstance(entry, Record):
                assert_good(entry, root)
            else:
                assert isinstance(entry, Problem)
                str(entry).encode()
    except (ValueError, FileNotFoundError) as error:
        complaint = str(error)
    assert str(root) in complaint
    assert snapshot(root) == before


def assert_good(record: Record, root: Path) -> None:
    """A record keeps what records.py promises, and its image is a part of the data set."""
    image = record.image
    assert isinstance(image, Path | Slice)
    file = image.file if isinstance(image, Slice) else image
    assert file.is_relative_to(root)
    assert file.resolve().is_relative_to(root.resolve())
    assert file.is_file()
    if isinstance(image, Slice):
        assert 0 <= image.offset <= image.offset + image.length <= file.stat().st_size
    assert record.captions
    assert all(caption and caption == one_line(caption) for caption in record.captions)
    " ".join((record.id, *record.captions)).encode()
    for box in record.boxes:
        assert box.category
        assert all(0 <= side <= 1 for side in box[1:])
        assert max(box.left + box.width, box.top + box.height) < 1 + 1e-9
    if narrative := record.narrative:
        assert narrative.caption == " ".join(utterance.words for utterance in narrative.utterances)
        assert all(-math.inf < utterance.start <= utterance.end < math.inf for utterance in narrative.utterances)
        assert all(narrative.strokes)
        assert all(math.isfinite(value) for stroke in narrative.strokes for point in stroke for value in point)


def snapshot(root: Path) -> list[tuple[str, int, int]]:
    """Every file and folder below, with its size and the time of its last change."""
    found = []
    for place, folders, files in os.walk(root):
        for name in (*folders, *files):
            state = (Path(place) / name).lstat()
            found.append((f"{place}/{name}", state.st_size, state.st_mtime_ns))
    return sorted(found)
