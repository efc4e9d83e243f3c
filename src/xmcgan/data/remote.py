"""Files at a URL, through fsspec, with the part of ``pathlib.Path`` that the readers use.

A folder is listed once, and a file that is read through is copied to a temporary folder once, so that a set does not
change while it is read. Images are fetched on their own: whole files, or parts of a tar.
"""

import os
import tempfile
from collections import OrderedDict
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import quote, unquote

import fsspec
from fsspec.implementations.local import LocalFileSystem

from xmcgan.runtime.files import WriteFailed

_COPIES = 4 << 30
"""Most bytes of temporary copies; beyond this, the least recently used one is removed."""


def is_url(place: object) -> bool:
    """Whether a place is a URL, not a path."""
    return isinstance(place, str) and "://" in place


def source_path(place: "str | Path") -> "SourcePath":
    """The place of a data set: a path, also for ``file://``, or a remote path for another URL.

    Raises:
        ValueError: if it is a URL that cannot be opened.
    """
    if not isinstance(place, str) or not is_url(place):
        return Path(place)
    with remote(place) as (filesystem, path):
        is_here = isinstance(filesystem, LocalFileSystem)
    return Path(path) if is_here else RemotePath(place)


@contextmanager
def remote(url: str, action: str = "read") -> Generator[tuple[fsspec.AbstractFileSystem, str]]:
    """The file system for a URL, and the path in it. Errors within the block name the URL.

    Raises:
        ValueError: if the package for the URL's protocol is missing, or there is no such protocol.
        ConnectionError: if the storage refuses, or cannot be reached.
    """
    try:
        opened = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:  # the package for this protocol is not installed, or does not exist
        raise ValueError(f"{url} cannot be opened: {error}") from error
    try:
        yield opened
    except (FileNotFoundError, NotADirectoryError, FileExistsError, WriteFailed):
        raise
    except Exception as error:  # each storage library has its own exceptions for network and credentials
        raise ConnectionError(f"{url} cannot be {action}: {error or type(error).__name__}") from error


class _Entry(NamedTuple):
    kind: str  # "file", "directory", or another kind that is not read
    size: int | None


class _Tree:
    """The contents of a URL: entries and local copies by their paths relative to it; "" is the URL itself."""

    def __init__(self, root: str):
        self.root = root.rstrip("/") if not root.endswith("://") else root
        with remote(self.root) as (self.filesystem, base):
            self._base = base.rstrip("/")
        self._is_web = self._base.startswith(("http://", "https://"))
        if self._is_web and "?" in self._base:
            raise ValueError(f"{root} has a query; a data set's URL should end in the name of its folder or table")
        self._entries: dict[str, _Entry | None] = {}
        self._listed: dict[str, dict[str, _Entry]] = {}
        self._copies: OrderedDict[str, Path] = OrderedDict()
        self._scratch: tempfile.TemporaryDirectory | None = None
        self._made = 0

    def url(self, path: str) -> str:
        return f"{self.root}/{path}" if path else self.root

    def at(self, path: str) -> str:
        """A path as the file system names it."""
        path = quote(path) if self._is_web else path
        return f"{self._base}/{path}" if path and self._base else path or self._base

    def entry(self, path: str) -> _Entry | None:
        """The kind of a path; None if nothing is there.

        A web server may have no page that lists a folder, so there the path itself is asked for too.
        """
        if path not in self._entries:
            parent, _, name = path.rpartition("/")
            found = self.listing(parent).get(name) if path else None
            if found is None and (self._is_web or not path):
                found = self._ask(path)
            self._entries[path] = found
        return self._entries[path]

    def listing(self, path: str) -> dict[str, _Entry]:
        """The entries of a folder by name; empty if there is no such folder."""
        if path not in self._listed:
            place, found = self.at(path), []
            with self.errors(path), _absent(self._is_web):
                found = self.filesystem.ls(f"{place}/" if self._is_web else place, detail=True)
            self._listed[path] = {}
            for each in found:
                above, _, name = each["name"].rstrip("/").rpartition("/")
                if above.strip("/") != place.strip("/") or (self._is_web and ("?" in name or "#" in name)):
                    continue  # the folder itself, or a link on a page that leads elsewhere
                self._listed[path][unquote(name) if self._is_web else name] = _Entry(each["type"], each.get("size"))
        return self._listed[path]

    def size(self, path: str) -> int:
        """Bytes of a file."""
        found = self.entry(path)
        if found is not None and found.size is None:
            found = self._ask(path)
        if found is None or found.size is None:
            raise FileNotFoundError(f"{self.url(path)} is not there, or its size is not known")
        return found.size

    def copy(self, path: str) -> Path:
        """A temporary copy of a file on this machine."""
        if path not in self._copies:
            self._scratch = self._scratch or tempfile.TemporaryDirectory(prefix="xmcgan-")
            self._made += 1
            place = Path(self._scratch.name, str(self._made))
            with self.errors(path):
                self.filesystem.get_file(self.at(path), str(place))
                expected, found = self.size(path), place.stat().st_size
                if found != expected:
                    raise OSError(f"{found:,} of {expected:,} bytes came")
            self._copies[path] = place
            while len(self._copies) > 1 and sum(each.stat().st_size for each in self._copies.values()) > _COPIES:
                self._copies.popitem(last=False)[1].unlink()
        self._copies.move_to_end(path)
        return self._copies[path]

    def read(self, path: str, start: int | None, end: int | None) -> bytes:
        """A file, or bytes ``start`` to ``end`` of it."""
        if path in self._copies:
            with self._copies[path].open("rb") as stream:
                stream.seek(start or 0)
                return stream.read(-1 if end is None else end - (start or 0))
        with self.errors(path):
            content = self.filesystem.cat_file(self.at(path), start=start, end=end)
            check_part(content, start, end)
        return content

    @contextmanager
    def errors(self, path: str) -> Generator[None]:
        """Makes errors within the block name the URL of a path."""
        with remote(self.url(path)):
            yield

    def _ask(self, path: str) -> _Entry | None:
        info: dict[str, Any] = {}
        with self.errors(path), _absent(self._is_web):
            info = self.filesystem.info(self.at(path))
        if not info:
            return None
        is_page = self._is_web and info.get("mimetype", "").startswith("text/html")
        return _Entry("directory" if is_page else info["type"], info.get("size"))


@contextmanager
def _absent(is_web: bool) -> Generator[None]:
    """Ignores errors that mean that nothing is there; web servers also refuse access to what they do not list."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        pass
    except Exception as error:
        if not is_web or getattr(error, "status", None) not in (401, 403, 404, 405, 410):
            raise


def check_part(content: bytes, start: int | None, end: int | None) -> None:
    """Refuses content of another length than was asked for."""
    if end is not None and len(content) != end - (start or 0):
        raise OSError(
            f"{len(content):,} bytes came where {end - (start or 0):,} were asked for; the server may not send parts "
            "of files. Use --workers 1, or download the files first"
        )


class _Stat(NamedTuple):
    st_size: int
    st_mtime_ns: int = 0  # not known


class RemotePath:
    """A file or folder at a URL.

    Args:
        root: the URL; or the tree, which other paths below the URL share.
        path: the path relative to it.
    """

    __slots__ = ("_path", "_tree")

    def __init__(self, root: "str | _Tree", path: str = ""):
        self._tree = _Tree(root) if isinstance(root, str) else root
        self._path = "" if path == "." else path

    def __reduce__(self) -> tuple:
        return _reopened, (self._tree.root, self._path)

    def __str__(self) -> str:
        return self._tree.url(self._path)

    def __repr__(self) -> str:
        return f"RemotePath({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __lt__(self, other: "RemotePath") -> bool:
        return str(self) < str(other)

    def __truediv__(self, name: str | PurePosixPath) -> "RemotePath":
        return RemotePath(self._tree, str(PurePosixPath(self._path, name)))

    @property
    def protocol(self) -> str:
        """The URL's protocol, such as "s3"."""
        return self._tree.root.partition("://")[0]

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self._path or self._tree.root.partition("://")[2]).name

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The end of the name from its last dot on."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> "RemotePath":
        """The folder that contains it."""
        if self._path:
            return RemotePath(self._tree, str(PurePosixPath(self._path).parent))
        return RemotePath(self._tree.root.rpartition("/")[0])

    def with_name(self, name: str) -> "RemotePath":
        """Another name in the same folder."""
        return self.parent / name

    def with_suffix(self, suffix: str) -> "RemotePath":
        """The same name with another suffix."""
        return self.with_name(f"{self.stem}{suffix}")

    def exists(self) -> bool:
        """Whether anything exists there."""
        return self._tree.entry(self._path) is not None

    def is_file(self) -> bool:
        """Whether it is a file; a link is not."""
        found = self._tree.entry(self._path)
        return found is not None and found.kind == "file"

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        found = self._tree.entry(self._path)
        return found is not None and found.kind == "directory"

    def is_symlink(self) -> bool:
        """Whether it is a link; those to folders are not followed."""
        found = self._tree.entry(self._path)
        return found is not None and found.kind == "link"

    def iterdir(self) -> "Iterator[RemotePath]":
        """The folder's contents."""
        return (self / name for name in self._tree.listing(self._path))

    def glob(self, pattern: str) -> "Iterator[RemotePath]":
        """The paths below the folder that match a pattern; ``**`` stands for any number of folders."""
        first, _, rest = pattern.partition("/")
        if first == "**":
            yield from self.glob(rest or "*")
            for each in self.iterdir():
                if each.is_dir():
                    yield from each.glob(pattern)
            return
        for each in self.iterdir():
            if fnmatchcase(each.name, first):
                if not rest:
                    yield each
                elif each.is_dir():
                    yield from each.glob(rest)

    def stat(self) -> _Stat:
        """Its size, as a stat result."""
        return _Stat(self._tree.size(self._path))

    def open(self, mode: str = "rb") -> BinaryIO:
        """A temporary copy of the file, open for reading bytes."""
        if mode != "rb":
            raise ValueError(f"{self} can be opened for reading bytes, not as {mode!r}")
        return self._tree.copy(self._path).open("rb")

    def read_bytes(self) -> bytes:
        """The content of the file."""
        return self._tree.read(self._path, None, None)

    def read_part(self, offset: int, length: int) -> bytes:
        """Some bytes of the file."""
        return self._tree.read(self._path, offset, offset + length)


SourcePath = Path | RemotePath
"""Where a data set, or a file of one, is."""


@lru_cache(maxsize=16)
def _shared(root: str) -> _Tree:
    return _Tree(root)


def _reopened(root: str, path: str) -> RemotePath:
    """A path that came from another process; paths below one URL share its tree."""
    return RemotePath(_shared(root), path)


Part = tuple[RemotePath, int | None, int | None]
"""A file and, if only a part of it is wanted, where that part begins and ends, in bytes."""


def read_together(parts: Sequence[Part]) -> list[bytes | FileNotFoundError]:
    """The contents of files or parts of files, fetched at the same time where the storage library can do that.

    Raises:
        ConnectionError: naming the first that cannot be read, unless it is only missing.
    """
    contents: list[bytes | FileNotFoundError] = []
    if not parts:
        return contents
    tree = parts[0][0]._tree
    if any(path._tree is not tree or path._path in tree._copies for path, _, _ in parts):
        return [path._tree.read(path._path, start, end) for path, start, end in parts]
    places = [tree.at(path._path) for path, _, _ in parts]
    with tree.errors(""):
        found = tree.filesystem.cat_ranges(places, [part[1] for part in parts], [part[2] for part in parts])
    for (path, start, end), content in zip(parts, found, strict=True):
        if isinstance(content, FileNotFoundError):  # fsspec's own error is only the path
            contents.append(FileNotFoundError(f"{path} is not there"))
            continue
        with tree.errors(path._path):
            if isinstance(content, Exception):
                raise content
            check_part(content, start, end)
        contents.append(content)
    return contents


def read_part(file: SourcePath, offset: int, length: int) -> bytes:
    """Some bytes of a file."""
    if isinstance(file, RemotePath):
        return file.read_part(offset, length)
    with file.open("rb") as stream:
        stream.seek(offset)
        return stream.read(length)


def walk(folder: SourcePath, onerror: Any = None) -> Iterator[tuple[SourcePath, list[str], list[str]]]:
    """Each folder below one, with the names of its subfolders and files; the caller may remove subfolders.

    Links to folders are not followed.

    Args:
        onerror: called with the error of a folder that cannot be listed, as in ``os.walk``.
    """
    if isinstance(folder, Path):
        for place, subfolders, names in os.walk(folder, onerror=onerror):
            yield Path(place), subfolders, names
        return
    entries = list(folder.iterdir())
    subfolders = [each.name for each in entries if each.is_dir()]
    yield folder, subfolders, [each.name for each in entries if not each.is_dir()]
    for name in subfolders:
        yield from walk(folder / name, onerror)
