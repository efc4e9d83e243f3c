"""Orders and places, all functions of the study's seed: no database, no clock."""

import random
from collections.abc import Sequence

from xmcgan.study.records import Study


def block_order(study: Study, annotator: int) -> tuple[str, ...]:
    """The criteria in the order of an annotator's blocks: each annotator starts with the next one."""
    start = (annotator - 1) % len(study.criteria)
    return study.criteria[start:] + study.criteria[:start]


def shown_order(study: Study, item: int, annotator: int, kind: str, systems: Sequence[str]) -> list[str]:
    """Systems from left to right, shuffled for an item, an annotator and a showing."""
    return random.Random(f"{study.seed} order {item} {annotator} {kind}").sample(list(systems), len(systems))


def places(study: Study, annotator: int, criterion: str, kind: str, every: int, main: int) -> list[int]:
    """After how many main items of a block of ``main`` each check or repeat comes: one in each stretch of ``every``.

    A block shorter than its first place has one at its end. ``every`` 0 means none.
    """
    if not every or not main:
        return []
    found = []
    for stretch in range(main // every + 1):
        draw = random.Random(f"{study.seed} place {annotator} {criterion} {kind} {stretch}")
        found.append(stretch * every + draw.randint(1, every))
    return [place for place in found if place <= main] or [main]
