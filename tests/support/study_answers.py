"""Answers of small studies, written as rankings: ``a>b=c`` is a above b and c, which are tied."""

from collections.abc import Sequence

from xmcgan.study.records import REFERENCE, Answer, ExclusionRules, Study

SYSTEMS = ("a", "b", "c")


def study(systems: Sequence[str] = SYSTEMS, **fields) -> Study:
    """A study of realism by two annotators an item."""
    defaults = {
        "id": "s", "name": "Small study", "seed": 0, "criteria": ("realism",), "mode": "rank",
        "annotators_per_item": 2, "exclusion": ExclusionRules(), "created": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    return Study(**defaults | {"systems": tuple(systems)} | fields)


def answer(ranking: str, caption: int = 0, annotator: int = 1, **fields) -> Answer:
    """A main answer about realism."""
    groups = tuple(tuple(group.split("=")) for group in ranking.split(">"))
    defaults = {
        "item_id": f"item-{caption}", "caption_id": f"caption-{caption}", "caption": f"caption {caption}",
        "criterion": "realism", "kind": "main", "annotator": annotator, "ranking": groups,
        "shown_order": tuple(name for group in groups for name in group), "seconds": 5.0,
        "answered_at": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    return Answer(**defaults | fields)


def check(right: bool, annotator: int = 1, number: int = 0) -> Answer:
    """An answer to an attention check."""
    ranking = f"{REFERENCE}>noise-1" if right else f"noise-1>{REFERENCE}"
    return answer(ranking, annotator=annotator, kind="attention", item_id=f"check-{number}")
