"""Finds the counts and positions that a caption states, by rule, for counting and positional alignment.

TISE's authors made their lists of captions by rules that are not published with their code. The rules here are this
library's own, and results name them.
"""

import re

from xmcgan.evaluation.soa_rules import LEXICONS, RUN, WORD, phrase_at

WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

NUMBERS = {word: number for number, word in enumerate(WORDS, 1)} | {str(number): number for number in range(2, 11)}

ARTICLES = {"a": 1, "an": 1}

BETWEEN = 2
"""Words that may stand between a number and its noun: "two large brown dogs"."""

NOT_ADJECTIVES = frozenset(
    (
        "of",
        "and",
        "or",
        "with",
        "in",
        "on",
        "at",
        "to",
        "from",
        "by",
        "is",
        "are",
        "the",
        "a",
        "an",
        "for",
        "near",
        "while",
    )
)

COUNT_RULE = "number words before a class, with a and an as one, in captions with a number word"


def counted_objects(caption: str) -> dict[int, int]:
    """Numbers of objects by COCO id, for captions that count: "two dogs and a cat" has 2 dogs and 1 cat.

    Empty unless the caption has a number word, from one to ten, before a class. "A group of dogs" counts nothing.
    """
    found: dict[int, int] = {}
    stated = False
    known = LEXICONS["reader"]
    for run in RUN.finditer(caption.lower()):
        words = tuple(WORD.findall(run.group()))
        for place, word in enumerate(words):
            number = NUMBERS.get(word, ARTICLES.get(word))
            if number is None:
                continue
            category = noun_after(words, place + 1, known)
            if category is not None:
                found[category] = found.get(category, 0) + number
                stated = stated or word in NUMBERS
    return found if stated else {}


def noun_after(words: tuple[str, ...], place: int, known: dict) -> int | None:
    """The class that a number before ``place`` counts; None if none follows closely enough."""
    for start in range(place, min(place + BETWEEN + 1, len(words))):
        phrase = phrase_at(words, start, known)
        if phrase is not None:
            return phrase.category
        if words[start] in NOT_ADJECTIVES or words[start] in NUMBERS:
            return None
    return None


OPPOSITES = {
    "in front of": "behind",
    "behind": "in front of",
    "on top of": "under",
    "under": "on top of",
    "underneath": "on top of",
    "above": "below",
    "below": "above",
    "beneath": "above",
    "inside": "outside",
    "outside": "inside",
    "top": "bottom",
    "bottom": "top",
    "left": "right",
    "right": "left",
}
"""Words of position, each with its opposite; the first one in a caption is exchanged, and longer ones win."""

POSITION = re.compile(
    r"\b(?:(?P<side>(?<=the )(?:left|right)\b|(?:left|right)(?= of\b| side\b))|"
    rf"(?P<word>{'|'.join(word for word in OPPOSITES if word not in ('left', 'right'))})\b)",
    re.IGNORECASE,
)
"""Left and right count as positions in "the left", "left of" and "left side": "left over" and "right now" do not."""

POSITION_RULE = "the first word of position exchanged for its opposite"


def opposite_position(caption: str) -> tuple[str, str] | None:
    """A caption's first word of position in lower case, and the caption with its opposite; None if it has none."""
    match = POSITION.search(caption)
    if match is None:
        return None
    word = match[0].lower()
    return word, caption[: match.start()] + OPPOSITES[word] + caption[match.end() :]
