"""How a study is run: settings that its analysis does not need. Stored with the study, fixed when it is created."""

from dataclasses import dataclass

from xmcgan.study.records import CRITERIA, Mode

WELCOME = "You will see pictures that different computer programs have drawn, and say which are better."
CONSENT = (
    "Taking part is voluntary, and you may stop at any time. We store your answers, how long each took, and when you "
    "gave them, under a number. We do not store your name, your address, or anything else about you."
)
QUESTIONS = {
    "rank": {
        "realism": "Rank the pictures by how real they look.",
        "alignment": "Rank the pictures by how well they show the caption.",
    },
    "pairs": {
        "realism": "Which picture looks more real?",
        "alignment": "Which picture shows the caption better?",
    },
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What annotators are shown, and how often.

    Args:
        size: side of every picture, in pixels.
        practice: practice items before each block.
        attention_every: an attention check in each stretch of this many main items, at a place drawn by the seed;
            0: no checks.
        min_attention_checks: fewest checks in a block; if the block is too short for that many, they come more often.
        repeat_every: an earlier item again in each stretch of this many main items, at least one in a block; 0: none.
        reservation_minutes: after this long without an answer, an item goes to someone else.
        most_per_annotator: most main items of one annotator in a block; None: as many as there are.
        welcome: first sentence of the start page.
        consent: what the annotator agrees to by starting.
        contact: who to contact, shown on every page; may be empty.
        finished: shown at the end, such as a code for payment; may be empty.
    """

    size: int = 256
    practice: int = 2
    attention_every: int = 20
    min_attention_checks: int = 4
    repeat_every: int = 20
    reservation_minutes: float = 30.0
    most_per_annotator: int | None = None
    welcome: str = WELCOME
    consent: str = CONSENT
    contact: str = ""
    finished: str = ""

    def __post_init__(self):
        limits = {
            "size": (16, 2048),
            "practice": (0, 20),
            "attention_every": (0, 10_000),
            "min_attention_checks": (1, 100),
            "repeat_every": (0, 10_000),
            "reservation_minutes": (0.001, 100_000),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}; it should be {low} to {high}")
        if self.most_per_annotator is not None and self.most_per_annotator < 1:
            raise ValueError(f"most_per_annotator is {self.most_per_annotator}; it should be at least 1")


def question(criterion: str, mode: Mode) -> str:
    """The question above the pictures."""
    if criterion not in CRITERIA:
        raise ValueError(f"criteria has {criterion!r}; it can have {', '.join(CRITERIA)}")
    return QUESTIONS["rank" if mode == "rank" else "pairs"][criterion]
