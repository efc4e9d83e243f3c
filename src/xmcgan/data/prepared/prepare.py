"""Preparing a data set: every image resized once and stored with its captions in shards (`shards`).

Shard k of a split holds the good ones of its entries k * shard_records to (k + 1) * shard_records: what is in it
depends neither on the number of workers nor on how often the work was interrupted. A shard is written under another
name, put on the disk, renamed, and then noted in a journal, ``preparing.jsonl``; the same command again keeps what the
journal knows, after a look at its checksum, and makes the rest; what the source has other entries for since, it makes
anew. The manifest comes last.
"""

import itertools
import json
import operator
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from xmcgan import __version__
from xmcgan.data.crop import crop_record
from xmcgan.data.images import Fit, ImageTransform
from xmcgan.data.prepared.journal import _Done, _ErrorLimit, _Journal, _lost, _Part
from xmcgan.data.prepared.manifest import JOURNAL, LIBRARY, MANIFEST, VERSION, read_manifest
from xmcgan.data.prepared.plan import (
    LOCK,
    _alone,
    _check,
    _check_output,
    _check_plan,
    _new_folder,
    _space_for,
    _write,
    usable_cores,
)
from xmcgan.data.prepared.shards import checksum, write_shard
from xmcgan.data.prepared.workers import _Answered, _Numbered, _Squares, _workers
from xmcgan.data.records import Problem, Record
from xmcgan.runtime.files import flush_to_disk


def prepare(
    source: Path,
    output: Path,
    *,
    name: str,
    layout: str,
    splits: Sequence[str],
    entries: Callable[[str], Iterator[Record | Problem]],
    size: int = 256,
    fit: Fit = "squash",
    quality: int = 92,
    shard_records: int = 2048,
    workers: int | None = None,
    most_bad: float = 0.01,
    progress: bool = True,
    total: Callable[[str], int | None] = lambda split: None,
    fingerprint: str | None = None,
) -> dict[str, Any]:
    """Writes a data set to ``output``, resized once, and returns its manifest.

    It can be killed at any moment; the same call resumes at the first unfinished shard. The files do not depend on
    ``workers``. Shards whose source has changed are made anew. A finished output of the same settings stays as it is.

    An image becomes a JPEG of size x size pixels without chroma subsampling; an RGB JPEG of that size is kept as it is.
    With several workers, a script that calls this needs the usual ``if __name__ == "__main__":``.

    Args:
        source: for its name; it is read by ``entries``.
        output: a folder that is new, empty, or of an interrupted preparation with these settings.
        name, layout, splits: of the data set.
        entries: a split's entries, the same ones in the same order at every call.
        size, quality: side of the images in pixels, and quality of their JPEGs, 1 to 100.
        fit: ``squash`` to a square, or ``crop`` the middle square, of which boxes and traces then are (`crop`).
        shard_records: entries a shard.
        workers: processes; None for one on every core, 1 for this one alone.
        most_bad: share of a split's entries that may be left out as bad; details, such as one caption, do not count.
        total: about how many records a split has, for the progress bar; None where that is not known.
        fingerprint: of the source: a finished output of another one is refused.

    Raises:
        ValueError: on settings that differ from those of the output, another source, or too many bad entries.
        FileExistsError: if the output holds anything else, or is being prepared by another process.
        ChildProcessError: if a worker died. OSError: naming the file, if the disk is full.
    """
    _check(splits, size, quality, shard_records, workers, most_bad)
    settings = {"size": size, "fit": fit, "quality": quality, "shard_records": shard_records}
    origin = {"name": name, "layout": layout, "source": source.resolve().name}
    plan = {**origin, "settings": settings, "splits": list(splits)}
    _check_output(output)
    if (output / MANIFEST).exists():
        return _finished(output, plan, fingerprint)
    with _new_folder(output), _alone(output):
        journal = _Journal(output, plan)
        workers = workers or usable_cores()
        with _workers(workers) as pool:
            squares = _Squares(pool, workers, ImageTransform(size, fit), quality)
            for split in splits:
                limit = _ErrorLimit(split, journal, most_bad, total(split))
                _prepare_split(output, split, partial(entries, split), shard_records, journal, squares, limit, progress)
        return _finish(output, plan, journal, fingerprint)


def _finished(output: Path, plan: dict[str, Any], fingerprint: str | None) -> dict[str, Any]:
    """The manifest that is there, if it is of the same plan and source."""
    manifest = read_manifest(output)
    _check_plan(output, {**manifest, "splits": list(manifest["splits"])}, plan)
    known = manifest.get("fingerprint")  # older ones have none
    if known is not None and fingerprint is not None and known != fingerprint:
        raise ValueError(
            f"{output} was prepared from another {plan['source']}, or this one has changed since: its annotation files "
            "are others. Choose another output"
        )
    for leftover in (output / JOURNAL, output / LOCK):  # if the end came right after the manifest
        if leftover.exists():
            leftover.unlink()
    return manifest


def _finish(output: Path, plan: dict[str, Any], journal: "_Journal", fingerprint: str | None) -> dict[str, Any]:
    splits = {}
    for split in plan["splits"]:
        done = journal.of(split)
        splits[split] = {
            "records": sum(each.shard["records"] for each in done),
            "captions": sum(each.captions for each in done),
            "problems": sum(len(each.problems) for each in done),
            "lost": sum(_lost(each.problems) for each in done),
            "bytes": sum(each.shard["bytes"] for each in done),
            "shards": [each.shard for each in done],
        }
    manifest = {
        "library": LIBRARY,
        "version": VERSION,
        "made_by": f"{LIBRARY} {__version__}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **plan,
        **({"fingerprint": fingerprint} if fingerprint is not None else {}),
        "splits": splits,
    }
    journal.report([])
    _write(output / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    journal.path.unlink()
    return manifest


def _prepare_split(
    output: Path,
    split: str,
    entries: Callable[[], Iterator[Record | Problem]],
    shard_records: int,
    journal: _Journal,
    squares: "_Squares",
    limit: "_ErrorLimit",
    progress: bool,
) -> None:
    if progress:
        print(f"{split}: reading the annotations", file=sys.stderr, flush=True)
    done = sum(done.entries for done in journal.of(split))
    with tqdm(desc=split, total=limit.expected, initial=done, unit="img", disable=not progress) as bar:
        _write_shards(output / split, split, entries, shard_records, journal, squares, limit, bar)
        bar.total = bar.n  # what was expected is an estimate


def _write_shards(
    folder: Path,
    split: str,
    entries: Callable[[], Iterator[Record | Problem]],
    shard_records: int,
    journal: _Journal,
    squares: "_Squares",
    limit: "_ErrorLimit",
    bar: tqdm,
) -> None:
    for is_last_try in (False, True):
        changed: list[int] = []
        left = _left(split, entries(), shard_records, journal, squares, changed, bar)
        for number, answers in itertools.groupby(squares(left), key=operator.itemgetter(0)):
            earlier = (done for done in journal.of(split) if done.number < number)
            part = _Part(is_first=not any(done.entries > done.ahead for done in earlier))
            path = folder / f"{number:05d}.arrow"
            new = path.with_name(f"{path.name}.partial")
            folder.mkdir(exist_ok=True)
            rows = _good(answers, part, limit, bar, cropped=squares.transform.fit == "crop")
            with _space_for(path):
                records, captions = write_shard(new, rows)
            shard = {
                "file": path.name,
                "records": records,
                "sha256": checksum(new),
                "bytes": new.stat().st_size,
            }
            new.replace(path)
            flush_to_disk(folder)
            journal.add(
                _Done(
                    split,
                    number,
                    shard,
                    captions,
                    part.entries,
                    part.digest(),
                    part.problems,
                    part.ahead,
                    tuple(part.unreadable),
                )
            )
        if not changed:
            break
        # Their entries have gone by: they are read once more.
        if is_last_try:
            raise ValueError(f"the source gives other entries of {split} at every reading")

    limit.at_the_end()
    if not any(done.shard["records"] for done in journal.of(split)):
        raise ValueError(f"the split {split} has no record that could be prepared")


def _numbered(entries: Iterator[Record | Problem], shard_records: int) -> Iterator[_Numbered]:
    """Each entry with the number of its shard; a detail counts nothing and goes with the entry before it."""
    count = 0
    for entry in entries:
        count += isinstance(entry, Record) or not entry.detail
        yield max(count - 1, 0) // shard_records, entry


def _left(
    split: str,
    entries: Iterator[Record | Problem],
    shard_records: int,
    journal: _Journal,
    squares: "_Squares",
    changed: list[int],
    bar: tqdm,
) -> Iterator[_Numbered]:
    """The entries of the shards that are not there yet; shards of which the source has other ones are dropped."""
    finished, last = {done.number: done for done in journal.of(split)}, -1
    for last, numbered in itertools.groupby(_numbered(entries, shard_records), key=operator.itemgetter(0)):
        if last not in finished:
            yield from numbered
            continue
        done, part = finished[last], _Part()
        is_mended = False
        for _, entry in numbered:
            part.add(entry)
            if isinstance(entry, Record) and entry.id in done.unreadable:
                is_mended = is_mended or not isinstance(squares.one(entry), str)
        if is_mended or part.digest() != done.digest:
            journal.drop(split, last)
            bar.update(-done.entries)
            changed.append(last)
    for number in [number for number in finished if number > last]:  # the source has fewer entries now
        journal.drop(split, number)
        bar.update(-finished[number].entries)


def _good(
    answers: Iterable[_Answered], part: _Part, limit: "_ErrorLimit", bar: tqdm, *, cropped: bool
) -> Iterator[tuple[Record, bytes]]:
    """The records of a shard with their JPEGs; what is bad is counted."""
    for _, entry, answer in answers:
        before = part.entries
        part.add(entry)
        bar.update(part.entries - before)
        if isinstance(entry, Record) and isinstance(answer, tuple):
            jpeg, width, height = answer
            yield crop_record(entry, width, height) if cropped else entry, jpeg
        elif isinstance(entry, Record):
            part.problems.append(Problem(f"record {entry.id}", str(answer)))
            part.unreadable.append(entry.id)
            limit.on_the_way(part)
        else:
            part.problems.append(entry)
            if not entry.detail:
                limit.on_the_way(part)
