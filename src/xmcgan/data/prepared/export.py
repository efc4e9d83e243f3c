"""Exports prepared data as WebDataset tars, for other libraries."""

import io
import itertools
import json
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xmcgan.data.images import image_bytes
from xmcgan.data.prepared.manifest import read_manifest
from xmcgan.data.prepared.shards import open_shards
from xmcgan.data.records import Record
from xmcgan.runtime.files import atomic_stream, give_name, make_folder
from xmcgan.runtime.locks import locked_folder


def export_webdataset(root: str | Path, split: str, output: Path, *, shard_records: int = 1000) -> list[Path]:
    """Writes one split of prepared data as ``output/split-00000.tar``, ... and returns their paths.

    The record with number 12 is ``000000012.jpg``, ``000000012.txt`` (its captions, one per line) and
    ``000000012.json``: {"id", "captions", "boxes": [[category, left, top, width, height], ...], "narrative": null or
    {"caption", "utterances": [[words, start, end], ...], "strokes": [[[x, y, t], ...], ...]}}.

    The tars are written to a folder ``.split.partial`` in ``output`` and moved to their names once all are complete.
    After an interruption, the same call starts again. The tars depend only on the records, not on the time.

    Raises:
        ValueError: if the prepared data is damaged or has no such split, or ``shard_records`` is below 1.
        WriteFailed: naming the file, if the system cannot write it.
        FileExistsError: if the output already holds tars of this split, or another process is writing them.
    """
    if shard_records < 1:
        raise ValueError(f"shard_records must be at least 1, not {shard_records}")
    records = open_shards(root, split, layout=read_manifest(root)["layout"])
    with locked_folder(output / split, "exported", beside=True):
        return _export_locked(records, split, output, shard_records)


def _export_locked(records: Sequence[Record], split: str, output: Path, shard_records: int) -> list[Path]:
    partial = output / f".{split}.partial"
    there = sorted(output.glob(f"{split}-*.tar"))
    # If there is a partial folder, they are from an interrupted export and are replaced.
    if there and not partial.exists():
        raise FileExistsError(f"{there[0]} exists; choose another output")
    shutil.rmtree(partial, ignore_errors=True)
    make_folder(partial)
    for path in there:
        path.unlink()

    numbers = iter(range(len(records)))
    names = []
    while part := list(itertools.islice(numbers, shard_records)):
        names.append(f"{split}-{len(names):05d}.tar")
        with (
            atomic_stream(partial / names[-1]) as stream,
            tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar,
        ):
            for number in part:
                _add(tar, f"{number:09d}", records[number])
    for name in names:
        give_name(partial / name, output / name)
    partial.rmdir()
    return [output / name for name in names]


def _add(tar: tarfile.TarFile, key: str, record: Record) -> None:
    described = json.dumps(_described(record), ensure_ascii=False)
    members = {
        "jpg": image_bytes(record),
        "txt": "\n".join(record.captions).encode(),
        "json": described.encode(),
    }
    for ending, content in members.items():
        member = tarfile.TarInfo(f"{key}.{ending}")  # owner, mode and time are constants
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))


def _described(record: Record) -> dict[str, Any]:
    # JSON writes a named tuple as a list.
    narrative = record.narrative
    return {
        "id": record.id,
        "captions": record.captions,
        "boxes": record.boxes,
        "narrative": narrative
        and {"caption": narrative.caption, "utterances": narrative.utterances, "strokes": narrative.strokes},
    }
