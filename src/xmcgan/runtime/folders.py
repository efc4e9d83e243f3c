"""Output folders that a command goes on with: only with the settings it was started with."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

Changes = dict[str, tuple[Any, Any]]
"""Settings that differ by name: the value in the folder and the new one."""


def refuse_foreign(folder: Path, expected: str) -> None:
    """Refuses a folder that holds something else.

    Raises:
        ValueError: if it is a file, or not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is neither empty nor {expected}; choose another --output")


def changed_settings(known: dict[str, Any], asked: dict[str, Any], *, may_change: Collection[str] = ()) -> Changes:
    """The settings that differ, without those that may."""
    names = [name for name in {**known, **asked} if known.get(name) != asked.get(name) and name not in may_change]
    return {name: (known.get(name), asked.get(name)) for name in names}


def refuse_changed(folder: Path, content: str, changes: Changes, advice: str = "Choose another --output") -> None:
    """Refuses to go on with other settings.

    Raises:
        ValueError: naming those that differ, with both values.
    """
    if changes:
        listed = "; ".join(f"{name} was {old!r} and is {new!r}" for name, (old, new) in changes.items())
        raise ValueError(f"{folder} holds {content}: {listed}. {advice}")
