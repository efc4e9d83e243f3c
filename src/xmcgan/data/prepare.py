"""Preparing a data set: every image resized once and stored with its captions in shards (`shards`).

Shard k of a split holds the good ones of its entries k * shard_records to (k + 1) * shard_records: what is in it
depends neither on the number of workers nor on how often the work was interrupted. A shard is written under another
name, put on the disk, renamed, and then noted in a journal, ``preparing.jsonl``; the same command again keeps what the
journal knows, after a look at its checksum, and makes the rest; what the source has other entries for since, it makes
anew. The manifest comes last.
"""

import contextlib
import errno
import hashlib
import io
import itertools
import json
import multiprocessing
import operator
import os
import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout
from tqdm import tqdm

from xmcgan import __version__
from xmcgan.data.captions import Fit, ImageTransform, image_bytes, is_upright_jpeg, leave_signals, open_image
from xmcgan.data.crop import crop_record
from xmcgan.data.records import Problem, Record
from xmcgan.data.shards import (
    JOURNAL,
    LIBRARY,
    MANIFEST,
    PROBLEMS,
    VERSION,
    checksum,
    is_prepared,
    read_manifest,
    source_name,
    write_shard,
)

LOCK = "preparing.lock"

_CHUNK = 8  # images a worker is given at once
_CHUNKS_WAITING = 3  # for each worker: what bounds the memory
_ENTRIES_TO_JUDGE = 1000  # before that many, a share of bad ones says little

_Numbered = tuple[int, Record | Problem]  # number of its shard
_Answer = tuple[bytes, int, int] | str  # a worker's for one image: its JPEG, what size it had, or what is wrong with it
_Answered = tuple[int, Record | Problem, _Answer | None]


class _Done(NamedTuple):
    """What the journal says of one finished shard."""

    split: str
    number: int
    shard: dict[str, Any]  # as in the manifest
    captions: int
    entries: int  # records, good or not, and problems that are no details
    digest: str  # of the entries: another one, and the source has changed
    problems: list[Problem]
    ahead: int = 0  # of the entries: problems before the split's first record, as of annotations that are read first
    unreadable: tuple[str, ...] = ()  # ids of records whose images were


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

    It can be killed at any moment; the same call goes on with the first shard that was not finished. The files do not
    depend on ``workers``. Where the source was mended since, the shards that it concerns are made anew. An output that
    is finished with the same settings is left as it is.

    An image becomes a JPEG of size x size pixels without chroma subsampling. One that already is an RGB JPEG of that
    size is kept byte for byte.

    Several workers are started with multiprocessing's "forkserver", or "spawn" where there is none; a script that calls
    this needs the usual ``if __name__ == "__main__":``.

    Args:
        source: the data set, for its name alone; it is read by ``entries``.
        output: a folder that is new, empty, or of an interrupted preparation with these settings.
        name: of the data set.
        layout: of the data set.
        splits: names of splits.
        entries: a split's entries, the same ones in the same order at every call.
        size: side of the images in pixels.
        fit: ``squash`` to a square, or ``crop`` the middle square, of which boxes and traces then are (`crop`).
        quality: of the JPEGs, 1 to 100.
        shard_records: entries a shard.
        workers: processes; None for one on every core, 1 for this one alone.
        most_bad: share of a split's entries that may be left out because something is wrong with them. A detail that is
            left out, such as one caption of several, is listed and not counted here.
        progress: shows a progress bar.
        total: about how many records a split has, for the progress bar; None where that is not known.
        fingerprint: of the source: a finished output of another one is refused.

    Raises:
        ValueError: on settings that make no sense or differ from those of what is there, a finished output of another
            source, a split without a good record, or too many bad ones.
        FileExistsError: if the output holds anything else, or is being prepared by another process.
        ChildProcessError: if a worker died.
        OSError: naming the file, if the disk is full.
    """
    _check(splits, size, quality, shard_records, workers, most_bad)
    transform = ImageTransform(size, fit)
    plan = {
        "name": name,
        "layout": layout,
        "source": source.resolve().name,
        "settings": {"size": size, "fit": fit, "quality": quality, "shard_records": shard_records},
        "splits": list(splits),
    }
    _check_output(output)
    if (output / MANIFEST).exists():
        return _finished(output, plan, fingerprint)
    workers = workers or usable_cores()
    with _new_folder(output), _alone(output):
        journal = _Journal(output, plan)
        with _workers(workers) as pool:
            squares = _Squares(pool, workers, transform, quality)
            for split in splits:
                expected = total(split)
                if progress:
                    print(f"{split}: reading the annotations", file=sys.stderr, flush=True)
                done = sum(done.entries for done in journal.of(split))
                with tqdm(desc=split, total=expected, initial=done, unit="img", disable=not progress) as bar:
                    judge = _Judge(split, journal, most_bad, expected)
                    _prepare_split(output, split, partial(entries, split), shard_records, journal, squares, judge, bar)
                    bar.total = bar.n  # what was expected is an estimate
        return _finish(output, plan, journal, fingerprint)


def usable_cores() -> int:
    """Cores that this process may use: on a shared machine, often fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check(
    splits: Sequence[str], size: int, quality: int, shard_records: int, workers: int | None, most_bad: float
) -> None:
    if not splits or len(set(splits)) < len(splits):
        raise ValueError(f"splits is {list(splits)}; it should be at least one, and each once")
    for split in splits:
        if Path(split).name != split or split.startswith("."):
            raise ValueError(f"splits has {split!r}; it should be the name of a folder")
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, not {size}")
    if not 1 <= quality <= 100:
        raise ValueError(f"quality must be 1 to 100, not {quality}")
    if shard_records < 1:
        raise ValueError(f"shard_records must be at least 1, not {shard_records}")
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, or None for one on every core, not {workers}")
    if not 0 <= most_bad <= 1:
        raise ValueError(f"most_bad is a share, 0 to 1, not {most_bad}")


# ------------------------------------------------------------------------------------------ the output folder


def _check_output(output: Path) -> None:
    """Refuses a folder that is not ours to write to."""
    if output.exists() and not output.is_dir():
        raise FileExistsError(f"{output} is a file; choose another output")
    names = {path.name for path in output.iterdir()} if output.exists() else set()
    # Before the journal has its name there can be these two.
    foreign = sorted(names - {LOCK, f"{JOURNAL}.partial"})
    if foreign and JOURNAL not in names and not (MANIFEST in names and is_prepared(output)):
        raise FileExistsError(
            f"{output} holds {', '.join(foreign[:3])}{' and more' if len(foreign) > 3 else ''}, and that was not "
            "prepared by this library; choose another output"
        )


@contextlib.contextmanager
def _new_folder(output: Path) -> Generator[None, None, None]:
    """Makes the folder, and takes one it made away again if nothing came of it."""
    is_new = not output.exists()
    output.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        if is_new and {path.name for path in output.iterdir()} <= {JOURNAL}:
            (output / JOURNAL).unlink(missing_ok=True)
            output.rmdir()
        raise


@contextlib.contextmanager
def _space_for(path: Path) -> Generator[None, None, None]:
    """Says of a full disk which file did not fit."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            f"{path} cannot be written: {os.strerror(error.errno)}. Free some space; the same command then goes on"
        ) from error


@contextlib.contextmanager
def _alone(output: Path) -> Generator[None, None, None]:
    """Two at once would remove each other's files."""
    lock = FileLock(output / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise FileExistsError(f"{output} is being prepared by another process") from None
    try:
        yield
    finally:
        lock.release()
        (output / LOCK).unlink(missing_ok=True)


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


def _check_plan(output: Path, found: dict[str, Any], asked: dict[str, Any]) -> None:
    found, asked = ({**plan, **plan.get("settings", {})} for plan in (found, asked))
    differing = [key for key in asked if key != "settings" and found.get(key) != asked[key]]
    if differing:
        what = "; ".join(f"{key} is {found.get(key)!r} there, {asked[key]!r} was asked for" for key in differing)
        raise ValueError(f"{output} was prepared with other settings: {what}. Choose another output")


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


def _write(path: Path, text: str) -> None:
    """A whole file or none, also when the power fails."""
    new = path.with_name(f"{path.name}.partial")
    with _space_for(path), new.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    _keep_names(path.parent)


def _keep_names(folder: Path) -> None:
    """Puts a folder's names on the disk: a file that has been renamed is only there if its folder says so."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class _Journal:
    """The finished shards, a line each, below a line with the plan."""

    def __init__(self, output: Path, plan: dict[str, Any]):
        self.output, self.path = output, output / JOURNAL
        self.done: dict[tuple[str, int], _Done] = {}
        lines = self._lines()
        if len(lines) > 1:
            _check_plan(output, lines[0], plan)
        for line in lines[1:]:
            done = _Done(**line)
            done = done._replace(problems=[Problem(*each) for each in done.problems], unreadable=tuple(done.unreadable))
            path = output / done.split / done.shard["file"]
            if path.exists() and checksum(path) == done.shard["sha256"]:
                self.done[done.split, done.number] = done
        self._remove_leftovers()
        # Anew: the last line may be half a one.
        _write(self.path, "".join(map(_line, [plan, *(done._asdict() for done in self.done.values())])))

    def add(self, done: _Done) -> None:
        with _space_for(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(_line(done._asdict()))
            file.flush()
            os.fsync(file.fileno())
        self.done[done.split, done.number] = done

    def drop(self, split: str, number: int) -> None:
        """Forgets a shard. Its line stays in the file until the next start, which knows it by the missing shard."""
        done = self.done.pop((split, number))
        (self.output / split / done.shard["file"]).unlink()

    def of(self, split: str) -> list[_Done]:
        """The finished shards of a split, in their order."""
        return [done for _, done in sorted(self.done.items()) if done.split == split]

    def report(self, unfinished: Sequence[tuple[str, Problem]]) -> Path:
        """Writes the problems known so far; also those of a shard that is not finished."""
        known = [(each.split, problem) for _, each in sorted(self.done.items()) for problem in each.problems]
        lines = [_line({"split": split, **problem._asdict()}) for split, problem in [*known, *unfinished]]
        _write(self.output / PROBLEMS, "".join(lines))
        return self.output / PROBLEMS

    def _lines(self) -> list[dict[str, Any]]:
        lines = []
        if self.path.exists():
            for line in self.path.read_bytes().splitlines():
                try:
                    lines.append(json.loads(line))
                except ValueError:
                    break  # written when the power failed; what comes after is made again
        return lines

    def _remove_leftovers(self) -> None:
        """Shards that were not finished, or not noted."""
        known = {self.output / done.split / done.shard["file"] for done in self.done.values()}
        for folder in filter(Path.is_dir, list(self.output.iterdir())):
            for path in list(folder.iterdir()):
                if path not in known and re.fullmatch(r"\d{5,}\.arrow(\.partial)?", path.name):
                    path.unlink()
            if not any(folder.iterdir()):
                folder.rmdir()


def _line(content: dict[str, Any]) -> str:
    return json.dumps(content) + "\n"


# -------------------------------------------------------------------------------------------------- one split


class _Part:
    """What has been seen of the entries of one shard.

    Args:
        is_first: whether no record of the split came before it.
    """

    def __init__(self, *, is_first: bool = False):
        self.entries, self.ahead, self.problems, self.unreadable = 0, 0, list[Problem](), list[str]()
        self._is_ahead, self._hash = is_first, hashlib.sha256()

    def add(self, entry: Record | Problem) -> None:
        is_record = isinstance(entry, Record)
        # What a problem says has paths in it, and the source may have moved.
        self._hash.update(json.dumps(_said(entry) if is_record else None).encode())
        if is_record or not entry.detail:
            self._is_ahead &= not is_record
            self.entries += 1
            self.ahead += self._is_ahead

    def digest(self) -> str:
        """A fingerprint of what the entries say, without their images."""
        return self._hash.hexdigest()


def _said(record: Record) -> list[Any]:
    told = record.narrative
    # Of a mouse trace its length: thousands of points are worth no second of a start.
    told = told and [told.caption, told.utterances, list(map(len, told.strokes))]
    return [record.id, record.captions, source_name(record), record.boxes, told]


def _prepare_split(
    output: Path,
    split: str,
    entries: Callable[[], Iterator[Record | Problem]],
    shard_records: int,
    journal: _Journal,
    squares: "_Squares",
    judge: "_Judge",
    bar: tqdm,
) -> None:
    folder = output / split
    for is_last_try in (False, True):
        changed: list[int] = []
        left = _left(split, entries(), shard_records, journal, squares, changed, bar)
        for number, answers in itertools.groupby(squares(left), key=operator.itemgetter(0)):
            earlier = (done for done in journal.of(split) if done.number < number)
            part = _Part(is_first=not any(done.entries > done.ahead for done in earlier))
            path = folder / f"{number:05d}.arrow"
            new = path.with_name(f"{path.name}.partial")
            folder.mkdir(exist_ok=True)
            rows = _good(answers, part, judge, bar, cropped=squares.transform.fit == "crop")
            with _space_for(path):
                records, captions = write_shard(new, rows)
            shard = {
                "file": path.name,
                "records": records,
                "sha256": checksum(new),
                "bytes": new.stat().st_size,
            }
            new.replace(path)
            _keep_names(folder)
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

    judge.at_the_end()
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
    answers: Iterable[_Answered], part: _Part, judge: "_Judge", bar: tqdm, *, cropped: bool
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
            judge.on_the_way(part)
        else:
            part.problems.append(entry)
            if not entry.detail:
                judge.on_the_way(part)


def _lost(problems: Iterable[Problem]) -> int:
    """How many of the problems are no details."""
    return sum(not problem.detail for problem in problems)


class _Judge:
    """Stops where too many of a split's entries are bad: of those in the journal and in the part at hand.

    Args:
        total: about how many records there are, if that is known.
    """

    def __init__(self, split: str, journal: _Journal, most_bad: float, total: int | None):
        self._split, self._journal, self._most_bad, self._total = split, journal, most_bad, total or 0

    def on_the_way(self, part: _Part) -> None:
        """Looks only at what came among records: annotations are read ahead of them, bad ones in one go."""
        parts = [*self._journal.of(self._split), part]
        seen, bad = sum(each.entries for each in parts), sum(_lost(each.problems) for each in parts)
        ahead = sum(each.ahead for each in parts)
        self._stop_above(bad - ahead, seen - ahead, part)
        if self._total:
            self._stop_above(bad, max(seen, self._total + bad), part)  # whatever else comes, it will be too many

    def at_the_end(self) -> None:
        """Looks at all of it."""
        done = self._journal.of(self._split)
        self._stop_above(sum(_lost(each.problems) for each in done), sum(each.entries for each in done), _Part(), 0)

    def _stop_above(self, bad: int, seen: int, part: _Part, at_least: int = _ENTRIES_TO_JUDGE) -> None:
        if seen < at_least or bad <= self._most_bad * seen:
            return
        finished = itertools.chain.from_iterable(done.problems for done in self._journal.of(self._split))
        lost = [problem for problem in (*finished, *part.problems) if not problem.detail]
        report = self._journal.report([(self._split, problem) for problem in part.problems])
        share = bad / seen
        raise ValueError(
            f"{bad} of {seen} entries of {self._split} are bad: {share:.2%}, and most_bad allows {self._most_bad:.2%}. "
            f"The first: {'; '.join(map(str, lost[:3]))}. All so far are in {report}. Mend them, or leave them out "
            f"with most_bad {min(1.0, share + 0.0001):.4f}; the same command then goes on"
        )


# ------------------------------------------------------------------------------------------------- the workers


@contextlib.contextmanager
def _workers(count: int) -> Generator[Executor | None, None, None]:
    """A pool of processes; none where one is enough."""
    if count == 1:
        yield None
        return
    # Importing torch takes a worker seconds and 300 MB; where a server can fork them, it is done once.
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if forks else "spawn")
    if forks:
        context.set_forkserver_preload([__name__])
    # An executor, unlike a multiprocessing.Pool, ends with an error where its processes cannot start.
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_be_a_worker)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a worker process died, perhaps for want of memory; the same command again goes on from here"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _be_a_worker() -> None:
    leave_signals(0)
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A pool's workers hold both ends of its queue: they would wait for ever after a killed parent.
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


class _Squares:
    """Entries to entries with their JPEG, in their order, so many at a time that every worker has something to do."""

    def __init__(self, pool: Executor | None, workers: int, transform: ImageTransform, quality: int):
        self._pool, self._waiting = pool, workers * _CHUNKS_WAITING if pool else 0
        self.transform, self._quality = transform, quality

    def __call__(self, entries: Iterable[_Numbered]) -> Iterator[_Answered]:
        waiting: deque[tuple[list[_Numbered], Future[list[_Answer]]]] = deque()
        entries = iter(entries)
        while chunk := list(itertools.islice(entries, _CHUNK)):
            # The image alone travels; what was said of it can be long.
            images = [Record(entry.image, (), entry.id) for _, entry in chunk if isinstance(entry, Record)]
            waiting.append((chunk, self._submit(images)))
            if len(waiting) > self._waiting:
                yield from _joined(*waiting.popleft())
        while waiting:
            yield from _joined(*waiting.popleft())

    def one(self, record: Record) -> _Answer:
        """One record's, in this process."""
        return _square(record, self.transform, self._quality)

    def _submit(self, images: list[Record]) -> Future[list[_Answer]]:
        if self._pool is not None:
            return self._pool.submit(_squares, images, self.transform, self._quality)
        here: Future[list[_Answer]] = Future()
        here.set_result(_squares(images, self.transform, self._quality))
        return here


def _joined(chunk: list[_Numbered], future: Future[list[_Answer]]) -> Iterator[_Answered]:
    answers = iter(future.result())
    for number, entry in chunk:
        yield number, entry, next(answers) if isinstance(entry, Record) else None


def _squares(records: list[Record], transform: ImageTransform, quality: int) -> list[_Answer]:
    return [_square(record, transform, quality) for record in records]


def _square(record: Record, transform: ImageTransform, quality: int) -> _Answer:
    try:
        image = open_image(record)
        if image.size == (transform.size, transform.size):
            content = image_bytes(record)
            if is_upright_jpeg(content):
                return content, *image.size
        encoded = io.BytesIO()
        # Chroma subsampling would save a fifth of the bytes and lose the sharpness of colours.
        transform.square(image).save(encoded, "JPEG", quality=quality, subsampling="4:4:4")
        return encoded.getvalue(), *image.size
    except (ValueError, OSError) as error:
        return str(error)
