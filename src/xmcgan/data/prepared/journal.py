"""The journal of a preparation: which shards are finished, and what was wrong with their entries."""

import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xmcgan.data.prepared.manifest import JOURNAL, PROBLEMS
from xmcgan.data.prepared.plan import _check_plan, _space_for, _write
from xmcgan.data.prepared.shards import checksum, source_name
from xmcgan.data.records import Problem, Record

_ENTRIES_TO_COUNT = 1000  # before that many, a share of bad ones says little


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
        self._hash.update(json.dumps(_content_of(entry) if is_record else None).encode())
        if is_record or not entry.detail:
            self._is_ahead &= not is_record
            self.entries += 1
            self.ahead += self._is_ahead

    def digest(self) -> str:
        """A fingerprint of what the entries say, without their images."""
        return self._hash.hexdigest()


def _content_of(record: Record) -> list[Any]:
    narrative = record.narrative
    # Of a mouse trace its length: thousands of points are worth no second of a start.
    narrative = narrative and [narrative.caption, narrative.utterances, list(map(len, narrative.strokes))]
    return [record.id, record.captions, source_name(record), record.boxes, narrative]


def _lost(problems: Iterable[Problem]) -> int:
    """How many of the problems are no details."""
    return sum(not problem.detail for problem in problems)


class _ErrorLimit:
    """Stops where too many of a split's entries are bad: of those in the journal and in the part at hand.

    Args:
        total: about how many records there are, if that is known.
    """

    def __init__(self, split: str, journal: _Journal, most_bad: float, total: int | None):
        self._split, self._journal, self._most_bad, self._total = split, journal, most_bad, total or 0
        self.expected = total

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

    def _stop_above(self, bad: int, seen: int, part: _Part, at_least: int = _ENTRIES_TO_COUNT) -> None:
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
