"""A preparation's output at a URL: in a bucket, or on another machine.

    OUTPUT/preparing.jsonl                    the plan, written first
    OUTPUT/train2014/00000.arrow              a complete shard
    OUTPUT/.preparing/train2014/00000.json    its entry of the journal, written after it
    OUTPUT/manifest.json                      written last; then the plan and the entries are removed

A shard is written to a temporary folder on this machine, uploaded, and removed. Object stores show an object only when
it is complete; elsewhere a file is uploaded under a temporary name and renamed.
"""

import contextlib
import json
import os
import socket
import tempfile
import uuid
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from xmcgan.data.prepared.folder_output import SHARD
from xmcgan.data.prepared.manifest import JOURNAL, MANIFEST
from xmcgan.data.prepared.shard_file import Shard, checksum, map_file
from xmcgan.data.remote import remote
from xmcgan.runtime.files import make_folder
from xmcgan.runtime.locks import LOCK

_ENTRIES = ".preparing"

_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci", "obs", "hf", "memory"})
"""Protocols whose storage shows a new object only when it is complete."""

READ_ONLY = ("http://", "https://", "github://", "zip://", "tar://")
"""Prefixes of URLs that cannot be written to."""


class UrlOutput:
    """Shards that are uploaded one by one, and the journal, with a small file for each.

    Raises:
        ValueError: if the package for the URL's protocol is missing, or nothing can be written there.
    """

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        if url.startswith(READ_ONLY) or "::" in url:
            raise ValueError(f"{url} can only be read; the output should be a folder, or such as s3:// or gs://")
        with remote(self.url) as (self._files, base):
            self._base = base.rstrip("/")
        protocols = self._files.protocol
        self._is_object_store = bool(_OBJECT_STORES & {protocols, *(protocols if isinstance(protocols, tuple) else ())})
        self._scratch_folder = ""

    def __str__(self) -> str:
        return self.url

    def names(self) -> set[str]:
        """The names at the URL, except the lock."""
        return self._list("") - {LOCK, f"{JOURNAL}.partial"}

    @contextlib.contextmanager
    def claimed(self) -> Generator[None]:
        """Locks the output, and removes everything again if the block fails before a shard is written."""
        own = json.dumps({"host": socket.gethostname(), "process": os.getpid(), "id": uuid.uuid4().hex}).encode()
        self._lock(own)
        try:
            with tempfile.TemporaryDirectory(prefix="xmcgan-") as self._scratch_folder:
                yield
        except BaseException:
            if self.names() <= {JOURNAL}:
                self._remove(JOURNAL)
            raise
        finally:
            if self._read(LOCK) == own:
                self._remove(LOCK)

    def journal(self) -> list[dict[str, Any]]:
        """The plan, and the entry of each finished shard; empty if no preparation has begun."""
        plan = self._read(JOURNAL)
        if plan is None:
            return []
        folders = [f"{_ENTRIES}/{split}" for split in sorted(self._list(_ENTRIES))]
        entries = [self._read(f"{folder}/{name}") for folder in folders for name in sorted(self._list(folder))]
        return [json.loads(line) for line in (plan, *entries) if line is not None]

    def has(self, split: str, shard: dict[str, Any]) -> bool:
        """Whether a shard exists with the right size and checksum. It is fetched again, to check and for its texts."""
        name, path = f"{split}/{shard['file']}", self.path(split, shard["file"])
        with self._errors(name, "read"):
            try:
                if self._files.info(self._at(name))["size"] != shard["bytes"]:
                    return False
                self._files.get_file(self._at(name), str(path))
            except FileNotFoundError:
                return False
        is_whole = checksum(path) == shard["sha256"]
        if is_whole:
            self._keep_texts(split, shard)
        path.unlink()
        return is_whole

    def begin(self, plan: dict[str, Any], entries: Sequence[dict[str, Any]]) -> None:
        """Writes the plan, and removes the shards and entries that are not in ``entries``."""
        self.write(JOURNAL, json.dumps(plan) + "\n")
        known = {(entry["split"], Path(entry["shard"]["file"]).stem) for entry in entries}
        for split in self._list(_ENTRIES):
            for name in self._list(f"{_ENTRIES}/{split}"):
                if (split, Path(name).stem) not in known:
                    self._remove(f"{_ENTRIES}/{split}/{name}")
        for split in plan["splits"]:
            for name in self._list(split):
                if SHARD.fullmatch(name) and (split, Path(name).stem) not in known:
                    self._remove(f"{split}/{name}")

    def path(self, split: str, name: str) -> Path:
        """Where to write a shard, on this machine."""
        return make_folder(Path(self._scratch_folder, split)) / name

    def add(self, entry: dict[str, Any]) -> None:
        """Uploads a shard, and then its entry; only the texts stay on this machine."""
        split, shard = entry["split"], entry["shard"]
        path = self.path(split, shard["file"])
        self._keep_texts(split, shard)
        self._put(path, f"{split}/{shard['file']}")
        path.unlink()
        self.write(self._entry(split, shard["file"]), json.dumps(entry) + "\n")

    def drop(self, split: str, name: str) -> None:
        """Removes a shard, after its entry."""
        self._remove(self._entry(split, name))
        self._remove(f"{split}/{name}")

    def texts(self, split: str, shard: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
        """Id and captions of each record of a shard."""
        with self._texts_file(split, shard).open(encoding="utf-8") as file:
            for line in file:
                record_id, captions = json.loads(line)
                yield record_id, captions

    def write(self, name: str, text: str) -> None:
        """Writes a small file atomically."""
        path = make_folder(Path(self._scratch_folder)) / "upload"
        path.write_text(text, encoding="utf-8")
        self._put(path, name)

    def finish(self, manifest: str) -> None:
        """Writes the manifest and removes the journal."""
        self.write(MANIFEST, manifest)
        self.tidy()

    def tidy(self) -> None:
        """Removes the journal, also one left by a process that was killed right after writing the manifest."""
        for split in self._list(_ENTRIES):
            for name in self._list(f"{_ENTRIES}/{split}"):
                self._remove(f"{_ENTRIES}/{split}/{name}")
            self._remove(f"{_ENTRIES}/{split}")
        self._remove(_ENTRIES)
        self._remove(JOURNAL)
        if (found := self._read(LOCK)) is not None and _has_ended(found):
            self._remove(LOCK)

    # ------------------------------------------------------------------------------------------ the storage

    def _lock(self, own: bytes) -> None:
        """Writes the lock; a lock of an ended process on this machine is replaced.

        Raises:
            FileExistsError: if another process holds it, or may hold it.
        """
        found = self._read(LOCK)
        if found is not None and not _has_ended(found):
            raise FileExistsError(self._held(found))
        with self._errors(LOCK, "written"):
            try:
                self._files.pipe_file(self._at(LOCK), own, mode="overwrite" if found else "create")
            except FileExistsError:
                raise FileExistsError(self._held(self._read(LOCK) or b"{}")) from None
            except (TypeError, ValueError, NotImplementedError):  # storage that cannot write only what is new
                self._files.pipe_file(self._at(LOCK), own)
        if (found := self._read(LOCK)) != own:
            raise FileExistsError(self._held(found or b"{}"))

    def _held(self, lock: bytes) -> str:
        holder = _holder(lock)
        by = f"process {holder.get('process', '?')} on {holder.get('host', '?')}"
        return f"{self.url} is being prepared by {by}; wait for it, or remove {self.url}/{LOCK} if it has ended"

    def _put(self, path: Path, name: str) -> None:
        place, size = self._at(name), path.stat().st_size
        with self._errors(name, "written"):
            if self._is_object_store:
                self._files.put_file(str(path), place)
            else:
                self._files.makedirs(place.rpartition("/")[0], exist_ok=True)
                self._files.put_file(str(path), f"{place}.partial")
                self._files.mv(f"{place}.partial", place)
            self._files.invalidate_cache(place)
            found = self._files.info(place)["size"]
            if found != size:
                raise OSError(f"{found:,} of its {size:,} bytes are there")

    def _read(self, name: str) -> bytes | None:
        with self._errors(name, "read"):
            try:
                return self._files.cat_file(self._at(name))
            except (FileNotFoundError, NotADirectoryError):
                return None

    def _list(self, folder: str) -> set[str]:
        """The names in a folder; none if there is none."""
        place = self._at(folder)
        with self._errors(folder, "read"):
            self._files.invalidate_cache(place)
            try:
                found = [name.rstrip("/") for name in self._files.ls(place, detail=False)]
            except FileNotFoundError:
                return set()
        return {name.rpartition("/")[2] for name in found if name.rpartition("/")[0].strip("/") == place.strip("/")}

    def _remove(self, name: str) -> None:
        with self._errors(name, "removed"), contextlib.suppress(FileNotFoundError):
            place = self._at(name)
            if self._files.isdir(place):
                self._files.rmdir(place)
            else:
                self._files.rm_file(place)

    def _at(self, name: str) -> str:
        return f"{self._base}/{name}" if name else self._base

    @contextlib.contextmanager
    def _errors(self, name: str, action: str) -> Generator[None]:
        with remote(f"{self.url}/{name}" if name else self.url, action):
            yield

    # ------------------------------------------------------------------------------------------ the texts

    def _keep_texts(self, split: str, shard: dict[str, Any]) -> None:
        """Keeps ids and captions of a shard on this machine, for the digest of all of them."""
        path = self.path(split, shard["file"])
        with self._texts_file(split, shard).open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(each) + "\n" for each in Shard(path, shard["records"]).texts(map_file(path)))

    def _texts_file(self, split: str, shard: dict[str, Any]) -> Path:
        return self.path(split, f"{shard['file']}.texts")

    @staticmethod
    def _entry(split: str, name: str) -> str:
        return f"{_ENTRIES}/{split}/{Path(name).stem}.json"


def _holder(lock: bytes) -> dict[str, Any]:
    try:
        holder = json.loads(lock)
    except (ValueError, RecursionError):  # nested thousands of levels deep
        return {}
    return holder if isinstance(holder, dict) else {}


def _has_ended(lock: bytes) -> bool:
    """Whether the holder of a lock is a process on this machine that has ended; False for other machines."""
    holder = _holder(lock)
    process = holder.get("process")
    if holder.get("host") != socket.gethostname() or not isinstance(process, int) or os.name != "posix":
        return False
    if process == os.getpid():
        return True  # a former process with this id: this one has no lock
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # OverflowError: a number that no process can have
        return False
    return False
