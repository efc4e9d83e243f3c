"""Reads WebDataset: tar files in which consecutive members with the same name, up to the first dot, are a sample."""

import tarfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from glob import escape
from io import SEEK_END
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from xmcgan.data.readers.annotations import (
    array,
    box,
    elements,
    field,
    good_ones,
    lines,
    narrative,
    number,
    parse_json,
    printable,
    shown,
    stroke,
    text,
    utterance,
    whole_number,
    words,
)
from xmcgan.data.records import Box, Narrative, Problem, Record, Slice, Utterance, details

IMAGES = ("jpg", "jpeg", "png", "webp")
TEXTS = ("json", "txt", "caption")
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
CAPTIONS = ("captions", "caption", "text")


class Sample(NamedTuple):
    """The members with one key: suffix and location of images, suffix and content of texts."""

    key: str
    images: list[tuple[str, Slice]]
    texts: list[tuple[str, bytes]]


def read_webdataset(root: Path, split: str, *, annotations: bool = False) -> Iterator[Record | Problem]:
    """The samples of a split's shards, in order; images are read in place from the tar.

    A sample is one image and its captions: "captions" (a list), "caption" or "text" in a ``.json``; otherwise the lines
    of a ``.txt`` or ``.caption``. Its id is the "id" in the ``.json``, otherwise the sample's key.

    Args:
        root: the folder of ``{split}*.tar`` or ``{split}/*.tar``.
        split: the beginning of the shards' names, or the name of their folder.
        annotations: also read boxes from the ``.json``, as "boxes": [[category, left, top, width, height], ...], and a
            narrative, as "narrative": {"caption", "utterances": [[words, start, end], ...],
            "strokes": [[[x, y, t], ...], ...]}.

    Raises:
        FileNotFoundError: if there is no shard.
        ValueError: if all shards are compressed, or no sample is usable.
    """
    found = find_tars(root, split)
    if not found:
        raise FileNotFoundError(f"{root / split}*.tar is missing, and so is {root / split}/*.tar: the split's shards")
    empty = True
    for file in found:
        for sample in samples(file):
            for entry in [sample] if isinstance(sample, Problem) else read_sample(file, sample, annotations):
                empty = empty and isinstance(entry, Problem)
                yield entry
    if empty:
        raise ValueError(f"{', '.join(map(str, found[:3]))}{' ...' if found[3:] else ''}: no sample is usable")


def find_tars(root: Path, split: str) -> list[Path]:
    """A split's shards in order, including compressed ones."""
    return sorted(
        file
        for suffix in (".tar", *COMPRESSED)
        for pattern in (f"{escape(split)}*{suffix}", f"{escape(split)}/*{suffix}")
        for file in root.glob(pattern)
        if file.is_file()
    )


def samples(file: Path) -> Iterator[Sample | Problem]:
    """The samples of a shard up to the first damage; a sample cut by the damage is dropped."""
    if file.suffix != ".tar":
        yield Problem(str(file), "is compressed; it should be a plain .tar, from which images are read in place")
        return
    sample = Sample("", [], [])
    try:
        with file.open("rb") as stream:
            for member in members(stream):
                key, suffix = key_and_suffix(member.name)
                if reason := refusal(member):
                    yield Problem(f"{file}, {printable(member.name)}", reason)
                    continue
                if not member.isfile() or suffix not in (*IMAGES, *TEXTS):
                    continue
                if key != sample.key:
                    if sample.images or sample.texts:
                        yield sample
                    sample = Sample(key, [], [])
                if suffix in IMAGES:
                    sample.images.append((suffix, Slice(file, member.offset_data, member.size)))
                else:
                    stream.seek(member.offset_data)
                    sample.texts.append((suffix, stream.read(member.size)))
    except ValueError as error:
        yield Problem(str(file), f"{error}; the rest is skipped")
        return
    if sample.images or sample.texts:
        yield sample


def members(stream: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """The complete members of a tar.

    Raises:
        ValueError: where the tar is damaged or truncated.
    """
    size = stream.seek(0, SEEK_END)
    stream.seek(0)
    with damage_named():
        tar = tarfile.TarFile(fileobj=stream, encoding="utf-8")
    last = -1
    while True:
        with damage_named():
            member = tar.next()
        if member is None:
            break
        tar.members.clear()  # ty: ignore[missing-attribute]  # otherwise it keeps them all
        # A header that points backwards would loop forever (CVE-2025-8194).
        if member.offset <= last or member.size < 0 or member.offset_data + member.size > size:
            raise ValueError(f"is damaged or truncated at its member {printable(member.name)}")
        last = member.offset
        yield member
    # tarfile takes any damaged header but the first for the end of the tar, which two empty blocks should mark.
    stream.seek(tar.offset)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise ValueError(f"is damaged or truncated at byte {tar.offset}")


@contextmanager
def damage_named() -> Generator[None, None, None]:
    """Turns the various errors that tarfile raises on a damaged header into a ValueError."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"is damaged or not a tar: {error}") from error


def refusal(member: tarfile.TarInfo) -> str:
    """The reason to refuse a member; empty for regular files and folders."""
    if member.name.startswith("/") or ".." in PurePosixPath(member.name).parts:
        return "its name leads out of the archive"
    if not (member.isreg() or member.isdir()) or member.issparse():
        return "is a link or another special file"
    return ""


def key_and_suffix(name: str) -> tuple[str, str]:
    """A member's sample key, and its suffix after the first dot, in lower case."""
    path = PurePosixPath(name)
    stem, _, suffix = path.name.partition(".")
    return (path.parent / stem).as_posix(), suffix.lower() if stem else ""


def read_sample(file: Path, sample: Sample, annotations: bool) -> Iterator[Record | Problem]:
    """A sample's record, and its problems."""
    where, texts = f"{file}, sample {printable(sample.key)}", dict(sample.texts)
    try:
        if len(sample.images) != 1 or len(texts) != len(sample.texts):
            suffixes = [suffix for suffix, _ in (*sample.images, *sample.texts)]
            raise ValueError(f"has {', '.join(suffixes)}; it should have one image, and at most one text of each kind")
        content = parse_json(texts["json"]) if "json" in texts else {}
        if not isinstance(content, dict):
            raise ValueError(f"its json is {shown(content)}; it should be an object")
        record_id = field(content, "id", identity) if "id" in content else text(sample.key)
        found_captions = captions_of(content, texts)
    except ValueError as error:
        yield Problem(where, str(error))
        return
    captions = yield from details(good_ones(where, "caption", found_captions, words))
    boxes, spoken = (), None
    if annotations:
        try:
            listed = field(content, "boxes", array) if "boxes" in content else []
            boxes = yield from details(good_ones(where, "boxes", listed, read_box))
            spoken = field(content, "narrative", read_narrative) if content.get("narrative") is not None else None
        except ValueError as error:
            yield Problem(where, f"{error} (the captions are kept)", detail=True)
    if captions:
        yield Record(sample.images[0][1], captions, record_id, boxes, spoken)
    else:
        yield Problem(where, "has no usable caption")


def captions_of(content: dict[str, Any], texts: dict[str, bytes]) -> list[Any]:
    """The captions of a sample from its json, otherwise from its other texts."""
    if keys := [key for key in CAPTIONS if key in content]:
        if len(keys) > 1:
            raise ValueError(f"its json has {' and '.join(keys)}; it should have only one of them")
        found_captions = content[keys[0]]
        found_captions = found_captions if isinstance(found_captions, list) else [found_captions]
    else:
        found_captions = next((list(lines(texts[suffix])) for suffix in ("txt", "caption") if suffix in texts), [])
    if not found_captions:
        raise ValueError("has no captions, neither in a .json nor in a .txt or .caption")
    return found_captions


def identity(value: Any) -> str:
    """A record's id."""
    if isinstance(value, int):
        return str(whole_number(value))
    if not text(value):
        raise ValueError("is empty")
    return value


def read_box(value: Any) -> Box:
    """A box from [category, left, top, width, height]."""
    if len(array(value)) != 5:
        raise ValueError(f"is {shown(value)}; it should be category, left, top, width and height")
    left, top, width, height = map(number, value[1:])
    return box(words(value[0]), left, top, width, height)


def read_narrative(value: Any) -> Narrative:
    """A narrative from an object with caption, utterances and strokes."""
    utterances, strokes = elements(value, "utterances", read_utterance), elements(value, "strokes", stroke)
    return narrative(field(value, "caption", words), utterances, strokes)


def read_utterance(value: Any) -> Utterance:
    """An utterance from [words, start, end]."""
    if len(array(value)) != 3:
        raise ValueError(f"is {shown(value)}; it should be words, start and end")
    return utterance(*value)
