"""Checks the settings of a preparation, and finds its output."""

import contextlib
import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from xmcgan.data.prepared.folder_output import FolderOutput
from xmcgan.data.prepared.manifest import JOURNAL, MANIFEST, is_prepared
from xmcgan.data.prepared.url_output import READ_ONLY, UrlOutput
from xmcgan.data.remote import is_url, source_path
from xmcgan.runtime.files import WriteFailed

MOST_PIXELS = 4096
"""Largest side of a prepared image: more is a typing error, and would take gigabytes for one image."""


def usable_cores() -> int:
    """The number of cores this process may use; on a shared machine, often fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check(
    splits: Sequence[str], size: int, quality: int, shard_records: int, workers: int | None, most_bad: float
) -> None:
    if not splits or len(set(splits)) < len(splits):
        raise ValueError(f"splits is {list(splits)}; it should name at least one split, and each only once")
    for split in splits:
        if Path(split).name != split or split.startswith("."):
            raise ValueError(f"splits has {split!r}; it should be the name of a folder")
    if not 1 <= size <= MOST_PIXELS:
        raise ValueError(f"size must be 1 to {MOST_PIXELS} pixels, not {size}")
    if not 1 <= quality <= 100:
        raise ValueError(f"quality must be 1 to 100, not {quality}")
    if shard_records < 1:
        raise ValueError(f"shard_records must be at least 1, not {shard_records}")
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, or None for one on every core, not {workers}")
    if not 0 <= most_bad <= 1:
        raise ValueError(f"most_bad is a share, 0 to 1, not {most_bad}")


# ------------------------------------------------------------------------------------------------- the output

Output = FolderOutput | UrlOutput


def _output_at(place: Path | str) -> Output:
    """The output in a folder, or behind a URL."""
    if isinstance(place, Path) or not is_url(place):
        return FolderOutput(Path(place))
    found = None if place.startswith(READ_ONLY) else source_path(place)
    return FolderOutput(found) if isinstance(found, Path) else UrlOutput(place)


def _check_output(output: Output) -> bool:
    """Whether the output is finished.

    Raises:
        FileExistsError: if it contains anything that a preparation does not write.
    """
    names = output.names()
    if MANIFEST in names and is_prepared(str(output)):
        return True
    if names and JOURNAL not in names:
        raise FileExistsError(
            f"{output} holds {', '.join(sorted(names)[:3])}{' and more' if len(names) > 3 else ''}, which was not "
            "prepared by this library; choose another output"
        )
    return False


@contextlib.contextmanager
def _resumable() -> Generator[None, None, None]:
    """Adds to the error of a failed write, or of storage that does not answer, how to continue."""
    try:
        yield
    except (WriteFailed, ConnectionError) as error:
        raise type(error)(f"{error}; the same command then resumes") from error


def _check_plan(output: Output, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    found, wanted = ({**plan, **plan.get("settings", {})} for plan in (found, wanted))
    differing = [key for key in wanted if key != "settings" and found.get(key) != wanted[key]]
    if differing:
        changes = "; ".join(f"{key} was {found.get(key)!r} and is {wanted[key]!r}" for key in differing)
        raise ValueError(f"{output} was prepared with other settings: {changes}. Choose another output")
