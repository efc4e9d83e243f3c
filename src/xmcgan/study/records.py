"""A study and its answers, as the server writes them and the analysis reads them. No database here."""

from dataclasses import dataclass
from typing import Literal

Mode = Literal["rank", "pairs", "pairs-ties"]
Kind = Literal["main", "attention", "repeat", "practice"]

CRITERIA = ("realism", "alignment")
"""What annotators can rate; the caption is shown for alignment alone."""

CRITERION_NAMES = {"realism": "Realism", "alignment": "Alignment with the caption"}
"""The names that people read on every page."""


def criterion_name(criterion: str) -> str:
    """The name that people read; a simulated study may have criteria of its own."""
    return CRITERION_NAMES.get(criterion, criterion.capitalize())


REFERENCE = "reference"
"""The picture of an attention check that should be ranked first; the others are ``noise-1``, ``noise-2``, ..."""


@dataclass(frozen=True, slots=True)
class ExclusionRules:
    """Rules for leaving an annotator's answers out of the results. Fixed when the study is created, never changed.

    Each rule looks at one annotator in one criterion.

    Args:
        min_attention_correct: smallest share of attention checks answered right, 0 to 1.
        min_seconds_median: smallest median time of a main item, in seconds.
        min_self_agreement: smallest agreement of repeated items with the first answers, as the share of pairs of
            systems ordered alike, 0 to 1; None sets no limit.
    """

    min_attention_correct: float = 0.75
    min_seconds_median: float = 1.0
    min_self_agreement: float | None = None

    def __post_init__(self):
        for name in ("min_attention_correct", "min_self_agreement"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; it should be 0 to 1")
        if not self.min_seconds_median >= 0:
            raise ValueError(f"min_seconds_median is {self.min_seconds_median}; it should be 0 or more seconds")


@dataclass(frozen=True, slots=True)
class Study:
    """A study. A database holds only one.

    Args:
        id: unguessable and unique to this study.
        seed: seed for the choice of captions and for every order.
        criteria: each is a block of its own.
        mode: ``rank`` all systems, or compare ``pairs`` of them, with or without ties.
        annotators_per_item: distinct annotators that each item gets.
        systems: names, as the administrator gave them; annotators never see them.
        created: UTC, ISO 8601.
    """

    id: str
    name: str
    seed: int
    criteria: tuple[str, ...]
    mode: Mode
    annotators_per_item: int
    systems: tuple[str, ...]
    exclusion: ExclusionRules
    created: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One annotator's answer to one item, that was not undone.

    Args:
        item_id: id of the item: a caption with the systems that are compared. A repeat has the same item as the
            ``main`` answer that it repeats, by the same annotator.
        criterion: one of the study's.
        kind: ``main`` answers are the results; ``attention`` checks show ``REFERENCE`` and noise instead of systems;
            ``repeat`` shows a main item again; ``practice`` is left out of everything.
        annotator: a pseudonymous number, from 1.
        ranking: groups of systems, best first; systems of one group are tied.
        shown_order: systems from left to right as they were shown.
        seconds: from the moment all pictures were shown to the answer, without the time the page was hidden.
        answered_at: UTC, ISO 8601.
    """

    item_id: str
    caption_id: str
    caption: str
    criterion: str
    kind: Kind
    annotator: int
    ranking: tuple[tuple[str, ...], ...]
    shown_order: tuple[str, ...]
    seconds: float
    answered_at: str

    @property
    def attentive(self) -> bool:
        """Whether the reference picture of an attention check is ranked first, alone."""
        return self.ranking[0] == (REFERENCE,)
