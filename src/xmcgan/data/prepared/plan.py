"""Checks the settings of a preparation, and claims its output folder."""

import contextlib
import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from xmcgan.data.prepared.manifest import JOURNAL, MANIFEST, is_prepared
from xmcgan.runtime.files import WriteFailed, atomic_file, make_folder
from xmcgan.runtime.locks import LOCK

MOST_PIXELS = 4096
"""Largest side of a prepared image: more is a slip of the finger, and would take gigabytes for one image."""


def usable_cores() -> int:
    """The number of cores this process may use; on a shared machine, often fewer than it has."""
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


# ------------------------------------------------------------------------------------------ the output folder


def _check_output(output: Path) -> None:
    """Refuses an output folder with foreign content."""
    if output.exists() and not output.is_dir():
        raise FileExistsError(f"{output} is a file; choose another output")
    names = {path.name for path in output.iterdir()} if output.exists() else set()
    # Before the journal is renamed, these two can exist.
    foreign = sorted(names - {LOCK, f"{JOURNAL}.partial"})
    if foreign and JOURNAL not in names and not (MANIFEST in names and is_prepared(output)):
        raise FileExistsError(
            f"{output} holds {', '.join(foreign[:3])}{' and more' if len(foreign) > 3 else ''}, which was not "
            "prepared by this library; choose another output"
        )


@contextlib.contextmanager
def _new_folder(output: Path) -> Generator[None, None, None]:
    """Creates the folder, and removes it again if the block fails before writing anything."""
    is_new = not output.exists()
    make_folder(output)
    try:
        yield
    except BaseException:
        if is_new and {path.name for path in output.iterdir()} <= {JOURNAL, LOCK}:
            (output / JOURNAL).unlink(missing_ok=True)
            (output / LOCK).unlink(missing_ok=True)
            output.rmdir()
        raise


@contextlib.contextmanager
def _resumable() -> Generator[None, None, None]:
    """Says of a write that failed how to go on."""
    try:
        yield
    except WriteFailed as error:
        raise WriteFailed(f"{error}; the same command then resumes") from error


def _check_plan(output: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    found, wanted = ({**plan, **plan.get("settings", {})} for plan in (found, wanted))
    differing = [key for key in wanted if key != "settings" and found.get(key) != wanted[key]]
    if differing:
        changes = "; ".join(f"{key} was {found.get(key)!r} and is {wanted[key]!r}" for key in differing)
        raise ValueError(f"{output} was prepared with other settings: {changes}. Choose another output")


def _write(path: Path, text: str) -> None:
    """Writes a file atomically, safe against power failure."""
    with atomic_file(path, partial=path.with_name(f"{path.name}.partial"), flush=True) as partial:
        partial.write_text(text, encoding="utf-8")
