"""The manifest of a prepared folder, and the names of its files."""

import json
from pathlib import Path
from typing import Any

from xmcgan.data.remote import is_url, remote

LIBRARY, VERSION = "xmcgan", 1  # of the format: a reader of one version refuses the others

MANIFEST, PROBLEMS, JOURNAL = "manifest.json", "problems.jsonl", "preparing.jsonl"


# ---------------------------------------------------------------------------------------------------- reading


def is_prepared(root: str | Path) -> bool:
    """Whether a folder or URL was written by `prepare`.

    Raises:
        ValueError: if its preparation is unfinished, or its manifest is damaged.
    """
    try:
        content = _content(root, MANIFEST)
    except (FileNotFoundError, NotADirectoryError):
        content = None
    if content is not None:
        # A damaged manifest of ours is reported on opening, not taken for another kind of folder.
        if f'"library": "{LIBRARY}"'.encode() in content:
            return True
        try:
            json.loads(content)
        except (ValueError, RecursionError):
            size = "is empty" if not content.strip(b"\0 \n") else "is not JSON"
            raise ValueError(
                f"{root}/{MANIFEST} is damaged: it {size}. Prepare the data again into "
                "another folder, or remove the file if it is not of prepared data"
            ) from None
        return False
    try:
        _content(root, JOURNAL)
    except (FileNotFoundError, NotADirectoryError):
        return False
    raise ValueError(f"{root} is unfinished: its preparation was interrupted; the same command resumes it")


def read_manifest(root: str | Path) -> dict[str, Any]:
    """The manifest of prepared data, checked.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged or of another version.
    """
    path = f"{root}/{MANIFEST}"
    try:
        manifest = json.loads(_content(root, MANIFEST))
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f"{root} is no prepared data: it has no {MANIFEST}; `xmcgan data prepare` writes such a folder"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged, it is not JSON: {error}") from error
    match manifest:
        case {"library": str(library), "version": version} if (library, version) != (LIBRARY, VERSION):
            raise ValueError(f"{path} is of {library}, version {version!r}; this reads {LIBRARY}, version {VERSION}")
        case {"library": _, "version": _, "layout": str(), "splits": dict(splits)}:
            pass
        case _:
            raise ValueError(f"{path} is damaged: library, version, layout or splits are missing or of a wrong type")
    for name, split in splits.items():
        match split:
            case {"records": int(records), "shards": list(shards)} if _is_name(name) and all(map(_is_shard, shards)):
                if records != sum(shard["records"] for shard in shards):
                    raise ValueError(f"{path} is damaged: {name} has {records} records, its shards another number")
            case _:
                raise ValueError(f"{path} is damaged: splits.{name} has no records, or shards that make no sense")
    return manifest


def _is_shard(value: Any) -> bool:
    match value:
        case {"file": str(file), "records": int(records), "sha256": str(digest), "bytes": int()}:
            return _is_name(file) and _is_name(digest) and records >= 0
    return False


def _is_name(text: str) -> bool:
    """Whether the text is a plain name of a folder entry, not a path."""
    return Path(text).name == text and text not in ("", "..") and text.isprintable()


def _content(root: str | Path, name: str) -> bytes:
    if not is_url(root):
        return Path(root, name).read_bytes()
    with remote(f"{root}/{name}") as (filesystem, path):
        return filesystem.cat_file(path)
