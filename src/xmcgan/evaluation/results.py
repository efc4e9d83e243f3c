"""A measured number and all that it depends on: one line of JSON.

A file of results is read by people, by ``xmcgan compare`` and by other programs, years after it was written. So every
line stands alone, and holds each choice that would have given another number.
"""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from xmcgan import __version__

Setting = str | int | float | bool | None

REAL_IMAGES = "real images"
"""The system of real images: a row of its own in tables, and never the best."""


@dataclass(frozen=True)
class Result:
    """One metric of one system.

    Args:
        metric: its name, such as fid, is, r-precision or soa-c.
        value: in the metric's own unit: shares, such as those of r-precision and SOA, are in 0 to 1.
        uncertainty: standard deviation over splits, folds or subsets; None for a metric that has none.
        samples: images that were judged.
        system: what made the images.
        protocol: every choice that changes the number, by name, without nesting: ``network``, ``weights_sha256`` of
            the judging network, ``resize``, ``fit``, ``reference``, ``captions``, ``splits``, ``seed``, ... Only what
            is to be the same for all systems belongs here; what made the images is ``system``.
        seconds: that it took.
        version: of this package.

    Raises:
        ValueError: naming the field that no result can have, such as a value that is not finite.
    """

    metric: str
    value: float
    uncertainty: float | None
    samples: int
    system: str
    protocol: dict[str, Setting]
    seconds: float
    version: str = __version__

    def __post_init__(self):
        for name in ("metric", "system", "version"):
            text = getattr(self, name)
            tidy = isinstance(text, str) and text and text == " ".join(text.split())
            check(tidy, name, text, "words with one space between them")
        check(is_finite(self.value), "value", self.value, "a finite number")
        about = "a finite number of at least 0, or none"
        check(self.uncertainty is None or is_amount(self.uncertainty), "uncertainty", self.uncertainty, about)
        whole = isinstance(self.samples, int) and not isinstance(self.samples, bool)
        check(whole and self.samples >= 1, "samples", self.samples, "a whole number of at least 1")
        check(is_amount(self.seconds), "seconds", self.seconds, "a finite number of at least 0")
        check(isinstance(self.protocol, dict), "protocol", self.protocol, "settings by name")
        for name, setting in self.protocol.items():
            check(isinstance(name, str) and name, "protocol", name, "settings by name")
            plain = setting is None or isinstance(setting, str | bool) or is_finite(setting)
            check(plain, f"protocol.{name}", setting, "text, a finite number, true, false or none")


def check(right: object, name: str, value: Any, wanted: str):
    """Refuses a value that a field cannot have."""
    if not right:
        raise ValueError(f"{name} of a result is {value!r}; it should be {wanted}")


def is_finite(value: Any) -> bool:
    """Whether it is a number, and one that a float can hold."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def is_amount(value: Any) -> bool:
    """Whether it is a finite number that is not negative."""
    return is_finite(value) and value >= 0


def to_line(result: Result) -> str:
    """A result as one line of JSON, without the end of the line."""
    return json.dumps(asdict(result), ensure_ascii=False, allow_nan=False)


def from_line(line: str) -> Result:
    """The result that a line of JSON holds.

    Raises:
        ValueError: if it is no JSON, or a field is missing, unknown, or not as it should be.
    """
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise ValueError(f"is no JSON: {error}") from error
    names = [field.name for field in fields(Result)]
    if not isinstance(entry, dict):
        raise ValueError(f"is no result; it should be an object with {', '.join(names)}")
    missing = [name for name in names if name not in entry]
    unknown = [name for name in entry if name not in names]
    if missing or unknown:
        lacks = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has unknown {', '.join(unknown)}"] * bool(unknown)
        raise ValueError(f"is no result: it {' and '.join(lacks)}")
    return Result(**entry)


def append_results(path: Path, results: Sequence[Result]):
    """Adds lines to a file of results, all of them in one write, and sees them onto the disk.

    Raises:
        ValueError: if what is there does not end with a whole line; nothing is added then.
    """
    lines = "".join(f"{to_line(result)}\n" for result in results).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b", buffering=0) as stream:
        if stream.seek(0, os.SEEK_END):
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                raise ValueError(f"{path} does not end with a whole line: a writing was cut off; remove its last line")
        stream.write(lines)
        os.fsync(stream.fileno())


def read_results(path: Path) -> list[Result]:
    """Every result of a file, in its order; empty lines are passed over.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: on a line that is no result; file and line are named.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: a file of results, as `xmcgan evaluate` writes it")
    lines = path.read_bytes().split(b"\n")
    results = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            results.append(from_line(line.decode()))
        except ValueError as error:
            cut = "; the line has no end: its writing was cut off, remove it" if number == len(lines) else ""
            raise ValueError(f"{path}, line {number}: {error}{cut}") from error
    return results
