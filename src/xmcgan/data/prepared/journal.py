"""The journal of a preparation: its finished shards and the problems in their entries."""

import hashlib
import itertools
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from xmcgan.data.prepared.manifest import PROBLEMS
from xmcgan.data.prepared.plan import Output, _check_plan
from xmcgan.data.prepared.shard_file import source_name
from xmcgan.data.records import Problem, Record

_MIN_ENTRIES = 1000  # with fewer entries, the share of bad ones is not meaningful


class _Done(NamedTuple):
    """The journal's entry for a finished shard."""

    split: str
    number: int
    shard: dict[str, Any]  # as in the manifest
    captions: int
    entries: int  # records, usable or not, and problems other than details
    digest: str  # of the entries; it differs if the source has changed
    problems: list[Problem]
    ahead: int = 0  # entries that are problems before the split's first record, as in annotations read first
    unreadable: tuple[str, ...] = ()  # ids of records with unreadable images


class _Journal:
    """The finished part of a preparation, as its output records it."""

    def __init__(self, output: Output, plan: dict[str, Any]):
        self.output = output
        self.done: dict[tuple[str, int], _Done] = {}
        lines = output.journal()
        if len(lines) > 1:
            _check_plan(output, lines[0], plan)
        for line in lines[1:]:
            done = _Done(**line)
            done = done._replace(problems=[Problem(*each) for each in done.problems], unreadable=tuple(done.unreadable))
            if output.has(done.split, done.shard):
                self.done[done.split, done.number] = done
        output.begin(plan, [done._asdict() for done in self.done.values()])

    def add(self, done: _Done) -> None:
        """Records that a shard is finished."""
        self.output.add(done._asdict())
        self.done[done.split, done.number] = done

    def drop(self, split: str, number: int) -> None:
        """Removes a shard."""
        self.output.drop(split, self.done.pop((split, number)).shard["file"])

    def of(self, split: str) -> list[_Done]:
        """The finished shards of a split, in order."""
        return [done for _, done in sorted(self.done.items()) if done.split == split]

    def report(self, unfinished: Sequence[tuple[str, Problem]]) -> str:
        """Writes all problems so far, including those of an unfinished shard, and returns the file's place."""
        known = [(each.split, problem) for _, each in sorted(self.done.items()) for problem in each.problems]
        lines = ({"split": split, **problem._asdict()} for split, problem in [*known, *unfinished])
        self.output.write(PROBLEMS, "".join(json.dumps(line) + "\n" for line in lines))
        return f"{self.output}/{PROBLEMS}"


# -------------------------------------------------------------------------------------------------- one split


class _Part:
    """Counts, problems and digest of the entries of one shard.

    Args:
        is_first: whether no record of the split comes before this shard.
    """

    def __init__(self, *, is_first: bool = False):
        self.entries, self.ahead, self.problems, self.unreadable = 0, 0, list[Problem](), list[str]()
        self._is_ahead, self._hash = is_first, hashlib.sha256()

    def add(self, entry: Record | Problem) -> None:
        is_record = isinstance(entry, Record)
        # Leave out the text of problems: it contains paths, and the source may have moved.
        self._hash.update(json.dumps(_content_of(entry) if is_record else None).encode())
        if is_record or not entry.detail:
            self._is_ahead &= not is_record
            self.entries += 1
            self.ahead += self._is_ahead

    def digest(self) -> str:
        """A digest of the entries, without their images."""
        return self._hash.hexdigest()


def _content_of(record: Record) -> list[Any]:
    narrative = record.narrative
    # Only the length of each mouse stroke: hashing thousands of points would slow every start.
    narrative = narrative and [narrative.caption, narrative.utterances, list(map(len, narrative.strokes))]
    return [record.id, record.captions, source_name(record), record.boxes, narrative]


def _count_lost(problems: Iterable[Problem]) -> int:
    """The number of problems that lose a record, that is, are not details."""
    return sum(not problem.detail for problem in problems)


class _ErrorLimit:
    """Raises an error when too many of a split's entries are bad, in the journal and the current part together.

    Args:
        total: the approximate number of records, if known.
    """

    def __init__(self, split: str, journal: _Journal, most_bad: float, total: int | None):
        self._split, self._journal, self._most_bad, self._total = split, journal, most_bad, total or 0
        self.expected = total

    def check(self, part: _Part) -> None:
        """Checks the entries so far, except problems before the first record, which come all at once."""
        parts = [*self._journal.of(self._split), part]
        seen, bad = sum(each.entries for each in parts), sum(_count_lost(each.problems) for each in parts)
        ahead = sum(each.ahead for each in parts)
        self._stop_above(bad - ahead, seen - ahead, part)
        if self._total:
            self._stop_above(bad, max(seen, self._total + bad), part)  # too many even if all others are good

    def check_all(self) -> None:
        """Checks all entries of the split."""
        done = self._journal.of(self._split)
        lost = sum(_count_lost(each.problems) for each in done)
        self._stop_above(lost, sum(each.entries for each in done), _Part(), 0)

    def _stop_above(self, bad: int, seen: int, part: _Part, at_least: int = _MIN_ENTRIES) -> None:
        if seen < at_least or bad <= self._most_bad * seen:
            return
        finished = itertools.chain.from_iterable(done.problems for done in self._journal.of(self._split))
        lost = [problem for problem in (*finished, *part.problems) if not problem.detail]
        report = self._journal.report([(self._split, problem) for problem in part.problems])
        share = bad / seen
        raise ValueError(
            f"{bad} of {seen} entries of {self._split} are bad: {share:.2%}, more than the "
            f"{self._most_bad:.2%} allowed. The first: {'; '.join(map(str, lost[:3]))}. "
            f"All so far are listed in {report}. Fix them, or skip them with "
            f"--max-bad-share {min(1.0, share + 0.0001):.4f}; the same command then resumes"
        )
