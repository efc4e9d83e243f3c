"""Results: a measured number and everything it depends on, one line of JSON each.

People, ``xmcgan compare`` and other programs read these files years later, so every line is self-contained and records
every choice that would change the number.
"""

import json
import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from xmcgan import __version__
from xmcgan.runtime.field_types import shortened
from xmcgan.runtime.files import append_text, make_folder, parse_json, write_errors

Setting = str | int | float | bool | None

REAL_IMAGES = "real images"
"""System name of real images; tables give them their own row and never mark them as best."""


@dataclass(frozen=True)
class Result:
    """One metric of one system.

    Args:
        metric: name such as fid, is, r-precision or soa-c.
        value: in the metric's own unit; r-precision, SOA and other fractions are between 0 and 1.
        uncertainty: standard deviation over splits, folds or subsets; None if the metric has none.
        samples: number of evaluated images.
        system: name of the system that generated the images.
        protocol: flat settings that change the number: ``network`` and its ``weights_sha256``, ``resize``, ``fit``,
            ``reference``, ``captions``, ``splits``, ``seed``, ... Only settings that should be equal for all systems
            belong here; whatever identifies the generator belongs in ``system``.
        seconds: time to compute it.
        version: version of this package.

    Raises:
        ValueError: naming the invalid field, such as a value that is not finite.
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
            tidy = isinstance(text, str) and text and text == " ".join(text.split()) and is_unicode(text)
            check(tidy, name, text, "words separated by single spaces")
        check(is_finite(self.value), "value", self.value, "a finite number")
        expected = "a finite number of at least 0, or None"
        check(self.uncertainty is None or is_non_negative(self.uncertainty), "uncertainty", self.uncertainty, expected)
        whole = isinstance(self.samples, int) and not isinstance(self.samples, bool)
        check(whole and self.samples >= 1, "samples", self.samples, "an integer of at least 1")
        check(is_non_negative(self.seconds), "seconds", self.seconds, "a finite number of at least 0")
        check(isinstance(self.protocol, dict), "protocol", self.protocol, "settings by name")
        for name, setting in self.protocol.items():
            check(isinstance(name, str) and name, "protocol", name, "settings by name")
            written = isinstance(setting, bool) or (isinstance(setting, str) and is_unicode(setting))
            plain = setting is None or written or is_finite(setting)
            check(plain, f"protocol.{name}", setting, "text, a finite number, true, false or None")


def check(valid: object, name: str, value: Any, expected: str):
    """Raise ValueError unless the value of a field is valid."""
    if not valid:
        raise ValueError(f"{name} of a result is {shortened(value)}; it should be {expected}")


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: an undecodable byte from the command line cannot."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def is_finite(value: Any) -> bool:
    """Whether the value is a number that a float can hold."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer larger than any float
        return False


def is_non_negative(value: Any) -> bool:
    """Whether the value is a finite number of at least 0."""
    return is_finite(value) and value >= 0


def to_line(result: Result) -> str:
    """A result as one line of JSON, without the newline."""
    return json.dumps(asdict(result), ensure_ascii=False, allow_nan=False)


def from_line(line: str) -> Result:
    """Parse a line of JSON.

    Raises:
        ValueError: if it is not JSON, or a field is missing, unknown or invalid.
    """
    entry = parse_json(line, "the line")
    names = [field.name for field in fields(Result)]
    if not isinstance(entry, dict):
        raise ValueError(f"not a result; it should be an object with {', '.join(names)}")
    missing = [name for name in names if name not in entry]
    unknown = [name for name in entry if name not in names]
    if missing or unknown:
        lacks = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has unknown {', '.join(unknown)}"] * bool(unknown)
        raise ValueError(f"not a result: it {' and '.join(lacks)}")
    return Result(**entry)


def append_results(path: Path, results: Sequence[Result]) -> None:
    """Append results to a file in a single write, and flush it to disk.

    Raises:
        ValueError: if the file does not end with a complete line; nothing is appended then.
        WriteFailed: naming the file, if it cannot be written; it keeps its former lines.
    """
    check_appendable(path)
    append_text(path, "".join(f"{to_line(result)}\n" for result in results))


def check_appendable(path: Path) -> None:
    """Checks that results can be added to a file, before the work that makes them.

    Raises:
        ValueError: if the file does not end with a complete line.
        WriteFailed: naming the file, if it cannot be opened for writing.
    """
    make_folder(path.parent)
    if not path.exists():
        with write_errors(path), tempfile.TemporaryFile(dir=path.parent):  # checks that a file can be created there
            return
    with write_errors(path), path.open("a+b") as stream:
        if stream.seek(0, os.SEEK_END):
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                raise ValueError(f"{path} ends with an incomplete line: a write was interrupted. Remove that line")


def read_results(path: Path) -> list[Result]:
    """Read all results of a file, in order, skipping empty lines.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: naming the file and the line that is not a result.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; it should be a results file written by `xmcgan evaluate`")
    lines = path.read_bytes().split(b"\n")
    results = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            results.append(from_line(line.decode()))
        except ValueError as error:
            cut = "; the line is incomplete because a write was interrupted: remove it" if number == len(lines) else ""
            raise ValueError(f"{path}, line {number}: {error}{cut}") from error
    return results
