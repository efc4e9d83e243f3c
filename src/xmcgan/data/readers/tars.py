"""Finds the tar files of a split, and the samples in them.

WebDataset makes a sample of consecutive members with the same name up to its first dot. Names such as ``22.05.png``
and ``22.05.txt`` have more dots, so here the name ends before the known suffix; members that share only the part up to
the first dot are compared before any of them is given up.
"""

import re
import tarfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from glob import escape
from io import SEEK_END
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple

from xmcgan.data.readers.annotations import printable
from xmcgan.data.readers.files import MOST_TEXT, Unused
from xmcgan.data.records import Problem, Slice
from xmcgan.data.remote import SourcePath

IMAGES = ("jpg", "jpeg", "png", "webp")
TEXTS = ("json", "txt", "caption")
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
TARS = (".tar", *COMPRESSED)

MOST_IMAGE = 256 << 20
"""Most bytes of an encoded image in a tar; images are read into memory."""

_MANY = 64  # names of one group that are held before complete samples are passed on


class Sample(NamedTuple):
    """The members with one name: suffix and location of images, suffix and content of texts."""

    key: str
    images: list[tuple[str, Slice]]
    texts: list[tuple[str, bytes]]


# ------------------------------------------------------------------------------------------ the tars of a split


def find_tars(root: SourcePath, split: str) -> list[SourcePath]:
    """A split's tars in order, including compressed ones.

    The tars of ``train`` are ``train.tar``, ``train-000000.tar``, ``train_0.tar``, ``train-00000-of-00010.tar`` and
    every tar in the folder ``train``; if there are none, those with a number as name, as img2dataset writes them. A
    split with braces or wildcards is a pattern of names below ``root``: ``{00000..01242}``, ``train_extra-*``.
    """
    if is_pattern(split):
        return _matching(root, split)
    own = re.compile(re.escape(split) + r"([-_.]?\d+)?(-of-\d+)?")
    found = [file for file in _tars(root) if own.fullmatch(_stem(file))] + _tars(root / split)
    if not found and split == "train":
        found = [file for file in _tars(root) if _stem(file).isdigit()]
    return sorted(found)


def not_read(root: SourcePath, split: str, found: list[SourcePath]) -> Iterator[Problem]:
    """The tars in ``root`` whose names only begin like the split's, or are numbers: easily mistaken for its tars."""
    if is_pattern(split):
        return
    for file in _tars(root):
        if file not in found and (file.name.startswith(split) or _stem(file).isdigit()):
            reason = f"is not read: the split {split} is {split} and a number; a pattern can name others"
            yield Problem(printable(file), reason, detail=True, unused=True)


def missing_tars(root: SourcePath, split: str) -> str:
    """The message for a split without tars."""
    others = [printable(file.name) for file in _tars(root)]
    there = f"; there is {', '.join(others[:3])}{' and more' if len(others) > 3 else ''}" if others else ""
    remedy = f", which a pattern such as {escape(others[0].split('-')[0])}-* can name" if others else ""
    if is_pattern(split):
        return f"no tar in {root} matches {split}{there}"
    return f"{root / split}-000000.tar is missing, and so is {root / split}/*.tar: the split's shards{there}{remedy}"


def is_pattern(split: str) -> bool:
    """Whether a split is a pattern of names: with braces or wildcards."""
    return any(sign in split for sign in "*?[{")


def braces(pattern: str) -> list[str]:
    """The names that a pattern with braces stands for, as in a shell: ``{a,b}``, ``{00..12}``."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)", match[1])
    if numbers:
        first, last = int(numbers[1]), int(numbers[2])
        if last - first >= 10_000_000:
            raise ValueError(f"{pattern} stands for more than ten million names")
        choices = [str(number).zfill(len(numbers[1])) for number in range(first, last + 1)]
    else:
        choices = match[1].split(",")
    before, after = pattern[: match.start()], pattern[match.end() :]
    return [name for choice in choices for name in braces(f"{before}{choice}{after}")]


def _matching(root: SourcePath, pattern: str) -> list[SourcePath]:
    """The tars below a folder that match a pattern, with or without its suffix."""
    found: dict[SourcePath, None] = {}
    for name in braces(pattern):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{pattern} leads out of {root}; a pattern names files inside it")
        names = [name] if name.endswith(TARS) else [f"{name}{suffix}" for suffix in TARS]
        for each in names:
            wild = any(sign in each for sign in "*?[")
            places = root.glob(each) if wild else [root / each]
            found |= dict.fromkeys(place for place in places if place.is_file())
    return sorted(found)


def _tars(folder: SourcePath) -> list[SourcePath]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name.endswith(TARS) and path.is_file())


def _stem(file: SourcePath) -> str:
    suffix = max((each for each in TARS if file.name.endswith(each)), key=len)
    return file.name.removesuffix(suffix)


# ------------------------------------------------------------------------------------------ the samples of a tar


def samples(file: SourcePath) -> Iterator[Sample | Problem]:
    """The samples of a tar up to the first damage; a sample cut by the damage is dropped."""
    if file.suffix != ".tar":
        yield Problem(str(file), "is compressed; it should be a plain .tar, from which images are read in place")
        return
    group, unused = _Group(file), Unused()
    try:
        with file.open("rb") as stream:
            for member in members(stream):
                key, suffix = key_and_suffix(member.name)
                where = f"{file}, {printable(member.name)}"
                if reason := refusal(member):
                    yield Problem(where, reason)
                elif member.isdir():
                    continue
                elif suffix not in (*IMAGES, *TEXTS):
                    expected = ", ".join((*IMAGES, *TEXTS))
                    yield from unused.add(where, f"is not read: its suffix is none of {expected}", suffix)
                elif member.size > (limit := MOST_IMAGE if suffix in IMAGES else MOST_TEXT):
                    yield Problem(where, f"has {member.size:,} bytes; it should have at most {limit:,}", detail=True)
                else:
                    yield from group.ready(key, unused)
                    if suffix in TEXTS:
                        stream.seek(member.offset_data)
                    content = stream.read(member.size) if suffix in TEXTS else b""
                    group.add(key, suffix, Slice(file, member.offset_data, member.size), content)
    except ValueError as error:
        yield from group.ready("", unused, damaged=True)
        yield from unused.rest()
        yield Problem(str(file), f"{error}; the rest is skipped")
        return
    yield from group.ready("", unused)
    yield from unused.rest()


class _Group:
    """The samples whose names are the same up to the first dot."""

    def __init__(self, file: SourcePath):
        self.file, self._stem, self._last = file, "", ""
        self._samples: dict[str, Sample] = {}
        self._whole: set[str] = set()  # keys of samples that have been passed on

    def add(self, key: str, suffix: str, place: Slice, content: bytes) -> None:
        self._stem, self._last = first_part(key), key
        sample = self._samples.setdefault(key, Sample(key, [], []))
        if suffix in IMAGES:
            sample.images.append((suffix, place))
        else:
            sample.texts.append((suffix, content))

    def ready(self, key: str, unused: Unused, *, damaged: bool = False) -> Iterator[Sample | Problem]:
        """The samples that can be passed on before a member with this key: all, if it begins another group."""
        if damaged:  # the last sample may lack a member
            self._samples.pop(self._last, None)
        same = key and first_part(key) == self._stem
        if same and len(self._samples) < _MANY:
            return
        held = list(self._samples.values())
        kept = [sample for sample in held if same and sample.key in (key, self._last)]
        for sample in held:
            if sample.images and sample.texts and sample not in kept:
                self._whole.add(sample.key)
                yield self._samples.pop(sample.key)
        if same and len(self._samples) < 10 * _MANY:
            return
        yield from self._given_up([sample for sample in self._samples.values() if sample not in kept], unused)
        self._samples = {sample.key: sample for sample in kept}
        if not same:
            self._whole.clear()

    def _given_up(self, left: list[Sample], unused: Unused) -> Iterator[Sample | Problem]:
        """Samples without an image or a text: parts of a complete sample, parts of each other, or bad."""
        bad = []
        for sample in left:
            owner = next((key for key in parents(sample.key) if key in self._whole), None)
            if owner is None:
                bad.append(sample)
                continue
            for suffix, _ in (*sample.images, *sample.texts):
                where = f"{self.file}, {printable(sample.key)}.{suffix}"
                reason = f"is not read: it is one more file of the sample {printable(owner)}"
                yield from unused.add(where, reason, f"{sample.key.removeprefix(owner)}.{suffix}")
        if len(bad) > 1 and any(sample.key == self._stem for sample in bad):
            cut = len(self._stem)
            bad = [
                Sample(
                    self._stem,
                    [(f"{sample.key[cut:]}.{suffix}"[1:], place) for sample in bad for suffix, place in sample.images],
                    [(f"{sample.key[cut:]}.{suffix}"[1:], text) for sample in bad for suffix, text in sample.texts],
                )
            ]
        yield from bad


def parents(key: str) -> Iterator[str]:
    """The key without its last parts between dots: ``a/b.c.d`` may belong to ``a/b.c`` or ``a/b``."""
    while "." in PurePosixPath(key).name:
        key = key.rpartition(".")[0]
        yield key


def first_part(key: str) -> str:
    """A key up to the first dot of its name, as WebDataset groups."""
    path = PurePosixPath(key)
    return (path.parent / path.name.partition(".")[0]).as_posix()


def key_and_suffix(name: str) -> tuple[str, str]:
    """A member's name before its last dot, and its suffix in lower case; no suffix for hidden files."""
    path = PurePosixPath(name)
    stem, _, suffix = path.name.rpartition(".")
    return (path.parent / stem).as_posix(), suffix.lower() if stem and not stem.startswith(".") else ""


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
