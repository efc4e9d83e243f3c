"""Exact questions about a picture, answered from detected objects: which, how many, of which colour, where.

The six tasks and the rules are GenEval's (Ghosh, Hajishirzi and Schmidt 2023, "GenEval: An Object-Focused Framework for
Evaluating Text-to-Image Alignment", arXiv 2310.11513, and its public code): one object, two objects, counting, colour,
position, colour attribution. The caller chooses the detector, recognises colours and records both.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import NamedTuple

TASKS = ("single-object", "two-objects", "counting", "colour", "position", "colour-attribution")

RELATIONS = ("left of", "right of", "above", "below")

SIDES = {"left": (-math.inf, 0.45), "middle": (0.38, 0.62), "right": (0.55, math.inf)}
"""Sides of the picture: where the x of an object's centre must be. GenEval does not ask for them."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, relative to the picture's width and height."""


class Found(NamedTuple):
    """A detected object."""

    category: int
    box: Box
    score: float
    colour: str | None = None  # None if not recognised


class Wanted(NamedTuple):
    """At least ``count`` objects of a category, of a colour and in a place if given."""

    category: int
    count: int = 1
    colour: str | None = None
    relation: str | None = None  # of RELATIONS, to the objects of an earlier wanted one
    target: int = 0  # position of that one among those wanted
    side: str | None = None  # of SIDES: where in the picture


class Question(NamedTuple):
    """One question of a task: everything in ``include`` is in the picture, and nothing more than ``at_most``.

    ``at_most`` gives the largest number of objects of a category, or of a category in a colour.
    """

    task: str
    include: tuple[Wanted, ...]
    at_most: tuple[Wanted, ...] = ()


@dataclass(frozen=True)
class Rules:
    """What counts as an answer. The defaults are GenEval's; they also are the settings of a result.

    Args:
        confidence: an object counts if its score is above this.
        counting_confidence: the same for questions of counting.
        most_objects: only so many of a category count, the most confident ones.
        overlap: of two objects of a category whose intersection over union is at least this, the less confident does
            not count; 1 keeps all.
        margin: by how much of their summed sizes two objects must be apart to be left of each other, and so on.
        direction: a relation holds only if it is the main direction, within 60 degrees. If false, "left of" does not
            care how much higher an object is.
        any_objects: the answer is yes if any objects fit all that is asked for. GenEval looks at the most confident
            ones of each category only, so a blue car beside a red one can hide it.
    """

    confidence: float = 0.3
    counting_confidence: float = 0.9
    most_objects: int = 16
    overlap: float = 1.0
    margin: float = 0.1
    direction: bool = True
    any_objects: bool = False

    def __post_init__(self):
        for name in ("confidence", "counting_confidence", "overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it should be 0 to 1")
        if self.most_objects < 1:
            raise ValueError(f"most_objects is {self.most_objects}; it should be at least 1")
        if not self.margin >= 0:  # NaN, too
            raise ValueError(f"margin is {self.margin}; it should be at least 0")


def counted(found: Sequence[Found], task: str, rules: Rules) -> list[Found]:
    """The objects that count for a task, the most confident first."""
    least = rules.counting_confidence if task == "counting" else rules.confidence
    kept: list[Found] = []
    seen: dict[int, int] = {}
    for each in sorted(found, key=lambda one: -one.score):
        if each.score <= least:
            break
        seen[each.category] = seen.get(each.category, 0) + 1
        if seen[each.category] > rules.most_objects:
            continue
        rivals = [other for other in kept if other.category == each.category]
        if rules.overlap == 1 or all(overlap(each.box, other.box) < rules.overlap for other in rivals):
            kept.append(each)
    return kept


def answer(question: Question, found: Sequence[Found], rules: Rules) -> bool:
    """Whether a picture with these objects answers a question with yes.

    Raises:
        ValueError: on an unknown task or relation, or a target that is not an earlier one.
    """
    check_question(question)
    objects = counted(found, question.task, rules)
    groups = [
        combinations(candidates(objects, wanted, rules), wanted.count) if rules.any_objects
        else [tuple(candidates(objects, wanted, rules)[: wanted.count])]
        for wanted in question.include
    ]  # fmt: skip
    return any(fits(question, chosen, rules) for chosen in product(*groups)) and all(
        sum(each.category == most.category and most.colour in (None, each.colour) for each in objects) <= most.count
        for most in question.at_most
    )


def candidates(objects: Sequence[Found], wanted: Wanted, rules: Rules) -> list[Found]:
    """The objects of a wanted category, the most confident first; with ``any_objects`` only those of its colour."""
    own = [each for each in objects if each.category == wanted.category]
    if rules.any_objects and wanted.colour is not None:
        return [each for each in own if each.colour == wanted.colour]
    return own


def fits(question: Question, chosen: Sequence[tuple[Found, ...]], rules: Rules) -> bool:
    """Whether chosen objects, a group for each wanted, are as many as wanted, of its colour, and in its place."""
    for wanted, own in zip(question.include, chosen, strict=True):
        if len(own) < wanted.count or any(wanted.colour not in (None, each.colour) for each in own):
            return False
        if wanted.relation is not None and not all(
            wanted.relation in relations(each.box, other.box, rules) for each in own for other in chosen[wanted.target]
        ):
            return False
        if wanted.side is not None and not all(at_side(each.box, wanted.side) for each in own):
            return False
    return True


def at_side(box: Box, side: str) -> bool:
    """Whether the centre of a box is at a side of the picture."""
    low, high = SIDES[side]
    return low < (box[0] + box[2]) / 2 < high


def check_question(question: Question) -> None:
    """Raise ValueError unless a question can be answered."""
    if question.task not in TASKS:
        raise ValueError(f"task is {question.task!r}; it should be one of {', '.join(TASKS)}")
    for number, wanted in enumerate(question.include):
        if wanted.side not in (None, *SIDES):
            raise ValueError(f"side is {wanted.side!r}; it should be one of {', '.join(SIDES)}")
        if wanted.relation is None:
            continue
        if wanted.relation not in RELATIONS:
            raise ValueError(f"relation is {wanted.relation!r}; it should be one of {', '.join(RELATIONS)}")
        if not 0 <= wanted.target < number:
            raise ValueError(f"target is {wanted.target}; it should be 0 to {number - 1}, an earlier object")


def relations(a: Box, b: Box, rules: Rules) -> set[str]:
    """Where box ``a`` is relative to box ``b``, by their centres: none, one or two of RELATIONS.

    The offset of the centres is first reduced by ``margin`` times the summed widths (heights), to at least 0. What is
    left, over the length of the whole offset, must exceed 1/2; without ``direction`` it must only exceed 0.
    """
    offsets = ((a[0] + a[2] - b[0] - b[2]) / 2, (a[1] + a[3] - b[1] - b[3]) / 2)
    sizes = (a[2] - a[0] + b[2] - b[0], a[3] - a[1] + b[3] - b[1])
    length = math.hypot(*offsets)
    found = set()
    for offset, size, (before, after) in zip(
        offsets, sizes, (("left of", "right of"), ("above", "below")), strict=True
    ):
        left_over = max(abs(offset) - rules.margin * size, 0.0)
        if left_over > (length / 2 if rules.direction else 0.0):
            found.add(before if offset < 0 else after)
    return found


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes; 0 if both are empty."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inner = max(width, 0.0) * max(height, 0.0)
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - inner
    return inner / union if union > 0 else 0.0


class Proportion(NamedTuple):
    """Yes answers among those asked, with a 95 % interval; all between 0 and 1."""

    value: float
    low: float
    high: float
    asked: int


def proportion(yes: int, asked: int, *, z: float = 1.959964) -> Proportion:
    """A proportion with its Wilson score interval (Wilson 1927), which stays within 0 and 1 at the ends too.

    Raises:
        ValueError: unless 0 <= yes <= asked and something was asked.
    """
    if not 0 <= yes <= asked or asked < 1:
        raise ValueError(f"yes is {yes} of {asked}; it should be 0 to the number asked, at least 1")
    share, squared = yes / asked, z * z
    centre = (share + squared / (2 * asked)) / (1 + squared / asked)
    half = z / (1 + squared / asked) * math.sqrt(share * (1 - share) / asked + squared / (4 * asked * asked))
    return Proportion(share, max(0.0, centre - half), min(1.0, centre + half), asked)


class Answers(NamedTuple):
    """Shares of yes answers: by task, and their mean as GenEval's overall score."""

    tasks: Mapping[str, Proportion]
    mean: float
    deviation: float  # standard error of the mean, from the tasks' binomial errors


def summarize(tasks: Sequence[str], answers: Sequence[bool]) -> Answers:
    """Summarize the answers to questions of several tasks; tasks that nothing was asked of are left out.

    Raises:
        ValueError: if nothing was asked, a task is unknown, or the lengths differ.
    """
    if len(tasks) != len(answers) or not answers:
        raise ValueError(f"{len(tasks)} tasks and {len(answers)} answers; give one task an answer, at least one")
    if unknown := sorted(set(tasks) - set(TASKS)):
        raise ValueError(f"unknown task {unknown[0]!r}; it can be {', '.join(TASKS)}")
    shares = {}
    for task in (name for name in TASKS if name in tasks):
        given = [yes for of, yes in zip(tasks, answers, strict=True) if of == task]
        shares[task] = proportion(sum(given), len(given))
    variance = sum(each.value * (1 - each.value) / each.asked for each in shares.values()) / len(shares) ** 2
    return Answers(shares, sum(each.value for each in shares.values()) / len(shares), math.sqrt(variance))
