"""Attention checks of a new study: the pictures that should win them, and whether a block has enough."""

import random
from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from math import floor
from pathlib import Path

from xmcgan.data.records import Record
from xmcgan.study.captions import Chosen, find_photographs
from xmcgan.study.records import ExclusionRules
from xmcgan.study.settings import Settings


def references_of(
    chosen: Chosen, found: Mapping[str, Mapping[str, Record]], real: Path | None, seed: int
) -> dict[str, Record]:
    """The picture that should win each attention check, by caption id."""
    if real is not None:
        return find_photographs(real, chosen.attention)
    draw = random.Random(f"{seed} references")
    return {request.id: found[draw.choice(sorted(found))][request.id] for request in chosen.attention}


def as_planned(settings: Settings, chosen: Chosen) -> Settings:
    """The settings with as many checks per block as there are captions for, so that progress reaches its end."""
    return replace(settings, min_attention_checks=max(1, fewest(settings, chosen)))


def fewest(settings: Settings, chosen: Chosen) -> int:
    """Number of checks in the shortest block."""
    return min(settings.min_attention_checks, len(chosen.attention))


def remarks(chosen: Chosen, settings: Settings, rules: ExclusionRules, *, photographs: bool) -> list[str]:
    """Remarks about a study's checks, for the administrator, before it is made.

    Args:
        photographs: whether checks compare photographs with noise.
    """
    if not settings.attention_every:
        return []
    found = []
    if not photographs:
        found.append(
            "Attention checks show a picture of one of the systems beside noise; with --real DIR, a photograph."
        )
    checks = fewest(settings, chosen)
    if lacking := settings.min_attention_checks - checks:
        fewer = len(chosen.main) - lacking
        found.append(
            f"There are too few captions for {settings.min_attention_checks} attention checks in a block; there will "
            f"be {checks}. Add {lacking} to the file of captions{f', or set --captions to {fewer}' * (fewer > 0)}."
        )
    rule, with_a_miss = rules.min_attention_correct, (checks - 1) / checks
    if with_a_miss < rule < 1:
        enough = next(number for number in count(1) if (number - 1) / number >= rule)
        found.append(
            f"With {checks} attention check{'s' * (checks > 1)} in a block, a single miss excludes an annotator: at "
            f"least {100 * rule:g} % have to be right. That takes {enough} checks (--min-attention-checks), or "
            f"--min-attention-correct {floor(100 * with_a_miss) / 100:g}."
        )
    return found
