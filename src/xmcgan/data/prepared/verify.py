"""Verifies prepared data on demand: checksums of all shards, and the records of damaged ones that cannot be read."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from xmcgan.data.images import open_image
from xmcgan.data.prepared.manifest import read_manifest
from xmcgan.data.prepared.shard_file import Shard, checksum, map_file
from xmcgan.data.prepared.shards import open_shards


class Damage(NamedTuple):
    """A damaged shard, and the records in it that cannot be read."""

    shard: str
    reason: str
    records: tuple[str, ...] = ()  # each with its reason

    def __str__(self) -> str:
        return f"{self.shard}: {'; '.join((self.reason, *self.records))}"


def verify(
    root: str | Path,
    split: str,
    *,
    decode: bool = False,
    cache: Path | None = None,
    progress: Callable[[int], object] = lambda records: None,
) -> Iterator[Damage]:
    """The damaged shards of one split; none if all match the manifest.

    In a shard whose SHA-256 differs, every image is decoded, to name the records that are lost. Not every changed byte
    of a JPEG makes it undecodable: then no record can be named, but the shard should still be made again.

    Args:
        root: a folder or URL of prepared data.
        decode: decode the images of the other shards too.
        cache: folder for shards fetched from a URL.
        progress: called with the number of records of each shard when it is done.

    Raises:
        FileNotFoundError: if there is no manifest.
        ValueError: if the manifest is damaged, or has no such split.
    """
    manifest = read_manifest(root)
    records = open_shards(root, split, layout=manifest["layout"], cache=cache, check_sizes=False)
    for number, shard in enumerate(manifest["splits"][split]["shards"]):
        name = f"{root}/{split}/{shard['file']}"
        try:
            path = records.path(number)
        except (ValueError, OSError) as error:
            path = Path(root, split, shard["file"])
            lost = _unreadable(path, shard, manifest) if path.is_file() else ()
            yield Damage(name, str(error).removeprefix(f"{name} "), lost)
            continue
        finally:
            progress(shard["records"])
        is_whole = checksum(path) == shard["sha256"]
        lost = _unreadable(path, shard, manifest) if decode or not is_whole else ()
        if not is_whole:
            reason = "its SHA-256 differs from the manifest's"
            yield Damage(name, reason if lost else f"{reason}, though all its images can be decoded", lost)
        elif lost:
            yield Damage(name, "its SHA-256 is the manifest's, but not all of its images can be decoded", lost)


def _unreadable(path: Path, expected: dict[str, Any], manifest: dict[str, Any]) -> tuple[str, ...]:
    """The records of a shard that cannot be read, each with the reason."""
    size, lost = manifest.get("settings", {}).get("size"), []
    try:
        shard, memory = Shard(path, expected["records"]), map_file(path)
    except (ValueError, OSError) as error:
        return (f"no record can be read: {error}",)
    for row in range(expected["records"]):
        try:
            record = shard.record(memory, row)
            image = open_image(record)
            if size is not None and image.size != (size, size):
                raise ValueError(f"the image has {image.size[0]} x {image.size[1]} pixels")
        except ValueError as error:
            lost.append(f"record {row} {error}")
    return tuple(lost)
