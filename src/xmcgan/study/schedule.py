"""Orders and places, which depend only on the study's seed: no database, no clock."""

import random
from collections.abc import Sequence
from itertools import pairwise

from xmcgan.study.records import Study


def block_order(study: Study, annotator: int) -> tuple[str, ...]:
    """The criteria in the order of an annotator's blocks: each annotator starts with the next criterion."""
    start = (annotator - 1) % len(study.criteria)
    return study.criteria[start:] + study.criteria[:start]


def shown_order(study: Study, item: int, annotator: int, kind: str, systems: Sequence[str]) -> list[str]:
    """Systems from left to right, shuffled for each item, annotator and kind of showing."""
    return random.Random(f"{study.seed} order {item} {annotator} {kind}").sample(list(systems), len(systems))


def places(study: Study, annotator: int, criterion: str, kind: str, every: int, main: int, least: int = 0) -> list[int]:
    """After how many main items of a block each check or repeat comes.

    Args:
        every: one comes in each stretch of this many main items, and one at the end of a block that is shorter than its
            first place; 0: none.
        main: number of main items of the block.
        least: if a block is too short for this many, it is cut into this many stretches instead. If it has fewer main
            items than that, some come before the first main item.
    """
    if not every or not main:
        return []
    short = main < every * least
    cuts = [main * part // least for part in range(least + 1)] if short else range(0, main + every, every)
    found = []
    for stretch, (after, end) in enumerate(pairwise(cuts)):
        draw = random.Random(f"{study.seed} place {annotator} {criterion} {kind} {stretch}")
        found.append(draw.randint(min(after + 1, end), end))
    return [place for place in found if place <= main] or [main]
