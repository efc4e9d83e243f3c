"""A preparation's output in a folder on this machine."""

import contextlib
import json
import re
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from xmcgan.data.prepared.manifest import JOURNAL, MANIFEST
from xmcgan.data.prepared.shard_file import Shard, checksum, map_file
from xmcgan.runtime.files import append_text, atomic_file, make_folder
from xmcgan.runtime.locks import LOCK, locked_folder

SHARD = re.compile(r"\d{5,}\.arrow(\.partial)?")
"""The name of a shard, finished or not."""


class FolderOutput:
    """Shards, written under temporary names and renamed, and the journal, with a line for each."""

    def __init__(self, folder: Path):
        self.folder, self._journal = folder, folder / JOURNAL

    def __str__(self) -> str:
        return str(self.folder)

    def names(self) -> set[str]:
        """The names in the folder, except files that another process may leave there at any moment.

        Raises:
            FileExistsError: if it is a file.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise FileExistsError(f"{self} is a file; choose another output")
        names = {path.name for path in self.folder.iterdir()} if self.folder.exists() else set()
        return names - {LOCK, f"{JOURNAL}.partial"}  # the second exists until the journal is renamed

    @contextlib.contextmanager
    def claimed(self) -> Generator[None]:
        """Makes and locks the folder, and removes it again if the block fails before writing anything."""
        is_new = not self.folder.exists()
        make_folder(self.folder)
        try:
            with locked_folder(self.folder, "prepared"), self._removed_unless_begun(is_new=is_new):
                yield
        except BaseException:
            with contextlib.suppress(OSError):  # not empty: something was written, or another process uses it
                if is_new:
                    self.folder.rmdir()
            raise

    @contextlib.contextmanager
    def _removed_unless_begun(self, *, is_new: bool) -> Generator[None]:
        """Removes a new journal, while the folder is locked, if the block fails before a shard is written."""
        try:
            yield
        except BaseException:
            if is_new and self.names() <= {JOURNAL}:
                self._journal.unlink(missing_ok=True)
            raise

    def journal(self) -> list[dict[str, Any]]:
        """The plan, and the entry of each finished shard; empty if no preparation has begun."""
        lines = []
        for line in self._journal.read_bytes().splitlines() if self._journal.exists() else []:
            try:
                lines.append(json.loads(line))
            except ValueError:
                break  # an incomplete line after a power failure; later shards are written again
        return lines

    def has(self, split: str, shard: dict[str, Any]) -> bool:
        """Whether a shard exists with the right checksum."""
        path = self.folder / split / shard["file"]
        return path.exists() and checksum(path) == shard["sha256"]

    def begin(self, plan: dict[str, Any], entries: Sequence[dict[str, Any]]) -> None:
        """Rewrites the journal, because its last line may be incomplete, and removes shards that are not in it."""
        known = {self.folder / entry["split"] / entry["shard"]["file"] for entry in entries}
        for folder in filter(Path.is_dir, list(self.folder.iterdir())):
            for path in list(folder.iterdir()):
                if path not in known and SHARD.fullmatch(path.name):
                    path.unlink()
            if not any(folder.iterdir()):
                folder.rmdir()
        self.write(JOURNAL, "".join(json.dumps(line) + "\n" for line in (plan, *entries)))

    def path(self, split: str, name: str) -> Path:
        """Where to write a shard."""
        return make_folder(self.folder / split) / name

    def add(self, entry: dict[str, Any]) -> None:
        """Records in the journal that a shard is finished."""
        append_text(self._journal, json.dumps(entry) + "\n")

    def drop(self, split: str, name: str) -> None:
        """Removes a shard. Its line stays in the journal until the next start, which skips lines without a shard."""
        (self.folder / split / name).unlink()

    def texts(self, split: str, shard: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
        """Id and captions of each record of a shard."""
        path = self.folder / split / shard["file"]
        yield from Shard(path, shard["records"]).texts(map_file(path))

    def write(self, name: str, text: str) -> None:
        """Writes a file atomically, safe against power failure."""
        path = self.folder / name
        with atomic_file(path, partial=path.with_name(f"{name}.partial"), flush=True) as partial:
            partial.write_text(text, encoding="utf-8")

    def finish(self, manifest: str) -> None:
        """Writes the manifest and removes the journal."""
        self.write(MANIFEST, manifest)
        self._journal.unlink(missing_ok=True)  # another process may have seen the manifest and removed it

    def tidy(self) -> None:
        """Removes leftovers of a process that was killed right after writing the manifest."""
        for left in (JOURNAL, LOCK):
            (self.folder / left).unlink(missing_ok=True)
