"""Prepares a data set: resizes every image once and stores it with its captions in shards (`shards`).

Shard k of a split holds the usable ones among its entries k * shard_records to (k + 1) * shard_records, so its content
depends neither on the number of workers nor on interruptions. A shard is written under a temporary name, flushed to
disk, renamed, and then recorded in a journal, ``preparing.jsonl``. Run again, the same command keeps the shards in the
journal whose checksums match, rewrites those whose entries changed in the source, and writes the rest. The manifest is
written last.
"""

import itertools
import json
import operator
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from xmcgan import __version__
from xmcgan.data.crop import crop_record
from xmcgan.data.images import Fit, ImageTransform
from xmcgan.data.prepared.journal import _count_lost, _Done, _ErrorLimit, _Journal, _Part
from xmcgan.data.prepared.manifest import LIBRARY, VERSION, read_manifest
from xmcgan.data.prepared.plan import (
    Output,
    _check,
    _check_output,
    _check_plan,
    _output_at,
    _resumable,
    usable_cores,
)
from xmcgan.data.prepared.shard_file import checksum, write_shard
from xmcgan.data.prepared.workers import _EncodedEntry, _Encoder, _Numbered, _Pool
from xmcgan.data.records import Problem, Record, text_digest
from xmcgan.data.remote import RemotePath, SourcePath
from xmcgan.runtime.progress import ProgressBar, say


def prepare(
    source: SourcePath,
    output: Path | str,
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
    executor: Executor | None = None,
    most_bad: float = 0.01,
    progress: bool = True,
    total: Callable[[str], int | None] = lambda split: None,
    fingerprint: str | None = None,
    rules: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Writes a resized copy of a data set to ``output`` and returns its manifest.

    It can be killed at any time; the same call resumes at the first unfinished shard, and keeps a finished output. The
    files do not depend on ``workers``. Shards whose source has changed are rewritten.
    Images become JPEGs of size x size pixels without chroma subsampling; an RGB JPEG of that size is copied unchanged.

    Args:
        source: the data set's place, whose name is recorded.
        output: a folder or URL (`url_output`), new, empty, or of an interrupted preparation with the same settings.
        name, layout, splits: the set's.
        entries: yields a split's entries, the same ones in the same order at every call.
        size, quality, shard_records: side of the images in pixels, JPEG quality (1 to 100), entries in a shard.
        fit: ``squash`` the image to a square, or ``crop`` the middle square (boxes and traces too, see `crop`).
        workers: processes (a script needs ``if __name__ == "__main__":``), or tasks at a time; None for one per core.
        executor: encodes images instead of processes here; its workers need this library and the source's paths.
        most_bad: share of a split's entries that may be bad, 0 to 1; details, such as a single caption, do not count.
        total: about how many records a split has, for the progress bar; None if unknown.
        fingerprint: the source's; a finished output with another fingerprint is refused.
        rules: how the images of a split were chosen, as a sentence for the manifest.

    Raises:
        ValueError, FileExistsError: if the output has other settings, source or kind, or is in use, or too much is bad.
        ChildProcessError, OSError: if workers died several times in a row, or a file or URL cannot be read or written.
    """
    _check(splits, size, quality, shard_records, workers, most_bad)
    settings = {"size": size, "fit": fit, "quality": quality, "shard_records": shard_records}
    plan = {"name": name, "layout": layout, "source": _name_of(source), "settings": settings, "splits": list(splits)}
    if isinstance(source, RemotePath) and source.protocol == "memory":  # other processes cannot see this memory
        workers, executor = 1, None
    place = _output_at(output)
    if _check_output(place):
        return _finished(place, plan, fingerprint)
    with _resumable(), place.claimed():
        journal = _Journal(place, plan)
        with closing(_Pool(workers or usable_cores(), executor)) as pool:
            encoder = _Encoder(pool, ImageTransform(size, fit), quality)
            for split in splits:
                limit = _ErrorLimit(split, journal, most_bad, total(split))
                _prepare_split(split, partial(entries, split), shard_records, journal, encoder, limit, progress)
        return _finish(plan, journal, fingerprint, rules or {})


def _name_of(source: SourcePath) -> str:
    return source.resolve().name if isinstance(source, Path) else source.name


def _finished(output: Output, plan: dict[str, Any], fingerprint: str | None) -> dict[str, Any]:
    """The manifest of a finished output, after checking that plan and source are the same."""
    manifest = read_manifest(str(output))
    _check_plan(output, {**manifest, "splits": list(manifest["splits"])}, plan)
    known = manifest.get("fingerprint")  # older manifests have none
    if known is not None and fingerprint is not None and known != fingerprint:
        raise ValueError(
            f"{output} was prepared from another {plan['source']}, or this one has changed: its annotation files, "
            "or the dialect of its table, differ. Choose another output"
        )
    output.tidy()
    return manifest


def _finish(
    plan: dict[str, Any], journal: "_Journal", fingerprint: str | None, rules: Mapping[str, str]
) -> dict[str, Any]:
    splits = {}
    for split in plan["splits"]:
        done = journal.of(split)
        splits[split] = {
            **({"rule": rules[split]} if split in rules else {}),
            "records": sum(each.shard["records"] for each in done),
            "captions": sum(each.captions for each in done),
            "problems": sum(not problem.unused for each in done for problem in each.problems),
            "unused": sum(problem.unused for each in done for problem in each.problems),
            "lost": sum(_count_lost(each.problems) for each in done),
            "bytes": sum(each.shard["bytes"] for each in done),
            "texts_sha256": text_digest(pair for each in done for pair in journal.output.texts(split, each.shard)),
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
    journal.output.finish(json.dumps(manifest, indent=1) + "\n")
    return manifest


def _prepare_split(
    split: str,
    entries: Callable[[], Iterator[Record | Problem]],
    shard_records: int,
    journal: _Journal,
    encoder: "_Encoder",
    limit: "_ErrorLimit",
    progress: bool,
) -> None:
    if progress:
        say(f"{split}: reading the annotations", sys.stderr)
    done = sum(done.entries for done in journal.of(split))
    with ProgressBar(desc=split, total=limit.expected, initial=done, unit="image", disable=not progress) as bar:
        _write_shards(split, entries, shard_records, journal, encoder, limit, bar)
        bar.total = bar.n  # the expected total is an estimate


def _write_shards(
    split: str,
    entries: Callable[[], Iterator[Record | Problem]],
    shard_records: int,
    journal: _Journal,
    encoder: "_Encoder",
    limit: "_ErrorLimit",
    bar: ProgressBar,
) -> None:
    for is_last_try in (False, True):
        changed: list[int] = []
        left = _unfinished(split, entries(), shard_records, journal, encoder, changed, bar)
        for number, encoded in itertools.groupby(encoder(left), key=operator.itemgetter(0)):
            earlier = (done for done in journal.of(split) if done.number < number)
            part = _Part(is_first=not any(done.entries > done.ahead for done in earlier))
            path = journal.output.path(split, f"{number:05d}.arrow")
            rows = _usable(encoded, part, limit, bar, cropped=encoder.transform.fit == "crop")
            records, captions = write_shard(path, rows)
            shard = {
                "file": path.name,
                "records": records,
                "sha256": checksum(path),
                "bytes": path.stat().st_size,
            }
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
        # The entries of the changed shards have passed already: read the source once more.
        if is_last_try:
            raise ValueError(f"the source yields different entries of {split} each time it is read")

    limit.check_all()
    if not any(done.shard["records"] for done in journal.of(split)):
        raise ValueError(f"the split {split} has no usable record")


def _numbered(entries: Iterator[Record | Problem], shard_records: int) -> Iterator[_Numbered]:
    """Each entry with the number of its shard; details are not counted and stay with the entry before them."""
    count = 0
    for entry in entries:
        count += isinstance(entry, Record) or not entry.detail
        yield max(count - 1, 0) // shard_records, entry


def _unfinished(
    split: str,
    entries: Iterator[Record | Problem],
    shard_records: int,
    journal: _Journal,
    encoder: "_Encoder",
    changed: list[int],
    bar: ProgressBar,
) -> Iterator[_Numbered]:
    """The entries of unfinished shards; finished shards whose entries changed in the source are dropped."""
    finished, last = {done.number: done for done in journal.of(split)}, -1
    for last, numbered in itertools.groupby(_numbered(entries, shard_records), key=operator.itemgetter(0)):
        if last not in finished:
            yield from numbered
            continue
        done, part = finished[last], _Part()
        is_repaired = False
        for _, entry in numbered:
            part.add(entry)
            if isinstance(entry, Record) and entry.id in done.unreadable:
                is_repaired = is_repaired or not isinstance(encoder.encode(entry), str)
        if is_repaired or part.digest() != done.digest:
            journal.drop(split, last)
            bar.update(-done.entries)
            changed.append(last)
    for number in [number for number in finished if number > last]:  # the source has fewer entries now
        journal.drop(split, number)
        bar.update(-finished[number].entries)


def _usable(
    entries: Iterable[_EncodedEntry], part: _Part, limit: "_ErrorLimit", bar: ProgressBar, *, cropped: bool
) -> Iterator[tuple[Record, bytes]]:
    """The usable records of a shard with their JPEGs; bad ones are counted."""
    for _, entry, encoded in entries:
        before = part.entries
        part.add(entry)
        bar.update(part.entries - before)
        if isinstance(entry, Record) and isinstance(encoded, tuple):
            jpeg, width, height = encoded
            yield crop_record(entry, width, height) if cropped else entry, jpeg
        elif isinstance(entry, Record):
            part.problems.append(Problem(f"record {entry.id}", str(encoded)))
            part.unreadable.append(entry.id)
            limit.check(part)
        else:
            part.problems.append(entry)
            if not entry.detail:
                limit.check(part)
