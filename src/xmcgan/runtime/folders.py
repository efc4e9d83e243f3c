"""Output folders: refuse foreign ones, and refuse to resume with changed settings."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from xmcgan.runtime.field_types import shortened
from xmcgan.runtime.locks import LOCK

Changes = dict[str, tuple[Any, Any]]
"""Settings that differ, by name: (value in the folder, new value)."""


def refuse_foreign(folder: Path, expected: str, *, own: Collection[str] = ()) -> None:
    """Refuses a folder that is not empty.

    Args:
        expected: what the folder may already hold, for the message.
        own: names that a process may leave if it is killed before it begins. A lock is always allowed.

    Raises:
        ValueError: if it is a file or not empty.
    """
    if folder.exists() and (not folder.is_dir() or {path.name for path in folder.iterdir()} - {LOCK, *own}):
        raise ValueError(f"{folder} is neither empty nor {expected}; choose another --output")


def changed_settings(old: dict[str, Any], new: dict[str, Any], *, may_change: Collection[str] = ()) -> Changes:
    """The settings that differ, except those that may change."""
    names = [name for name in {**old, **new} if old.get(name) != new.get(name) and name not in may_change]
    return {name: (old.get(name), new.get(name)) for name in names}


def refuse_changed(folder: Path, content: str, changes: Changes, advice: str = "Choose another --output") -> None:
    """Refuses to resume with changed settings.

    Args:
        content: what the folder holds, for the message.

    Raises:
        ValueError: listing the settings that differ, with both values.
    """
    if changes:
        listed = "; ".join(
            f"{name} was {shortened(old)} and is {shortened(new)}" for name, (old, new) in changes.items()
        )
        raise ValueError(f"{folder} holds {content}: {listed}. {advice}")
