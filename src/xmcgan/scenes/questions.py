"""Exact questions about pictures of Scenes, made by rule from a scene's description or from a caption.

A caption is read with the phrases that captions are made of, so every object that it names is found, with its number,
its colour and its place relative to others. Captions leave things unsaid; questions ask only for what is said.
"""

import re
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from xmcgan.metrics.exact_questions import Question, Rules, Wanted
from xmcgan.scenes.scene import COLOURS, KINDS, Scene
from xmcgan.scenes.words import _COUNTS, _NOUNS, LEFT_OF, MIDDLE, RIGHT_OF, _above, _groups, _left_of

SCENES_RULES = Rules(
    confidence=0.3, counting_confidence=0.3, overlap=1.0, margin=0.1, direction=False, any_objects=True
)
"""GenEval's rules, changed where Scenes are clearer than photographs: the detector suppresses overlaps itself and is
calibrated, so counting needs no higher confidence; "left of" says nothing about height; and a caption need not name all
objects, so any objects that fit will do."""


class Named(NamedTuple):
    """Equal objects that a caption names together, such as "two red apples"."""

    kind: str
    colour: str | None
    count: int
    side: str | None = None  # of the picture: left, middle or right


class Relation(NamedTuple):
    """One named group is left of, right of, above or below another; both by their positions."""

    of: int
    relation: str
    to: int


class Reading(NamedTuple):
    """What is said of a picture."""

    named: tuple[Named, ...]
    relations: tuple[Relation, ...]


def questions_of_caption(caption: str) -> list[Question]:
    """The questions that a caption of Scenes answers, at most one of each task."""
    return questions_of(read_caption(caption))


def questions_of_scene(scene: Scene) -> list[Question]:
    """The questions that a scene answers, at most one of each task."""
    return questions_of(read_scene(scene))


def questions_of(reading: Reading) -> list[Question]:
    """At most one question of each of GenEval's tasks."""
    named = reading.named
    questions: list[Question] = []
    if len(named) == 1 and named[0].count == 1:
        questions.append(Question("single-object", (wanted(named[0]),)))
    others = [each for each in named[1:] if each.kind != named[0].kind]
    if others:
        questions.append(Question("two-objects", (wanted(named[0]), wanted(others[0]))))
    several = [each for each in named if each.count > 1]
    if several:
        exactly = wanted(several[0], counted=True, coloured=True)
        questions.append(Question("counting", (exactly,), (exactly,)))
    if len(named) == 1 and named[0].colour:
        questions.append(Question("colour", (wanted(named[0], coloured=True),)))
    questions += position_question(reading)
    coloured = [each for each in others if each.colour and each.colour != named[0].colour]
    if coloured and named[0].colour:
        include = (wanted(named[0], coloured=True), wanted(coloured[0], coloured=True))
        questions.append(Question("colour-attribution", include))
    return questions


def position_question(reading: Reading) -> list[Question]:
    """The first relation; if there is none, the first side of the picture.

    Colours are asked for only where several groups of a kind are named, to say which is meant.
    """
    kinds = [each.kind for each in reading.named]
    for of, relation, to in reading.relations:
        a, b = reading.named[of], reading.named[to]
        if a.kind == b.kind and (a.colour is None or b.colour is None or a.colour == b.colour):
            continue  # nothing says which is which
        target = wanted(b, counted=True, coloured=kinds.count(b.kind) > 1)
        placed = wanted(a, counted=True, coloured=kinds.count(a.kind) > 1)
        return [Question("position", (target, placed._replace(relation=relation, target=0)))]
    sided = [each for each in reading.named if each.side]
    return [Question("position", (wanted(each)._replace(side=each.side),)) for each in sided[:1]]


def wanted(named: Named, *, counted: bool = False, coloured: bool = False) -> Wanted:
    """What a named group asks for."""
    return Wanted(KINDS[named.kind].id, named.count if counted else 1, named.colour if coloured else None)


# From a scene


def read_scene(scene: Scene) -> Reading:
    """Everything that captions may say of a scene's objects."""
    groups = _groups(scene)
    named = []
    for group in groups:
        x = group.one.x
        side = "left" if x <= LEFT_OF else "right" if x >= RIGHT_OF else "middle" if abs(x - 0.5) <= MIDDLE else None
        named.append(
            Named(group.one.kind, group.one.colour, len(group.things), side if len(group.things) == 1 else None)
        )
    relations = []
    for a, first in enumerate(groups):
        for b in range(a + 1, len(groups)):
            second = groups[b]
            if _left_of(first, second):
                relations.append(Relation(a, "left of", b))
            elif _left_of(second, first):
                relations.append(Relation(a, "right of", b))
            elif _above(first, second):
                relations.append(Relation(a, "above", b))
            elif _above(second, first):
                relations.append(Relation(a, "below", b))
    return Reading(tuple(named), tuple(relations))


# From a caption


class Noun(NamedTuple):
    """A phrase for objects of a kind."""

    kind: str
    colour: str | None


@cache
def nouns() -> tuple[dict[str, Noun], re.Pattern[str]]:
    """Every noun phrase of captions, and a pattern that finds them with their number; the longest wins."""
    known: dict[str, Noun] = {}
    for kind, forms in _NOUNS.items():
        only = KINDS[kind].colours[0] if len(KINDS[kind].colours) == 1 else None
        for form in {text for pair in forms for text in pair}:
            if "{c}" not in form:
                known[form] = Noun(kind, only if kind == "orange" else None)
                continue
            for colour in COLOURS:
                known[form.format(c=colour)] = Noun(kind, colour)
            if kind in ("cake", "donut"):
                known[form.format(c="chocolate")] = Noun(kind, "brown")
    # A sunset has "an orange sky".
    phrases = "|".join(re.escape(phrase) for phrase in sorted(known, key=len, reverse=True))
    return known, re.compile(rf"\b(an?|{'|'.join(list(_COUNTS.values())[1:])}) ({phrases})\b(?! sky)")


NUMBERS = {"a": 1, "an": 1} | {word: number for number, word in _COUNTS.items()}

HUNG = re.compile(r"\s*(?:flying |hanging )?(?:in the sky|on the wall|overhead|above)\b(?! the| a )")


def read_caption(caption: str) -> Reading:
    """The objects that a caption names, and what it says of where they are.

    Words outside the vocabulary of Scenes are passed over, so any text can be read.
    """
    text = " ".join(caption.lower().split()).rstrip(".")
    known, pattern = nouns()
    matches = list(pattern.finditer(text))
    named = [Named(*known[match[2]], NUMBERS[match[1]]) for match in matches]
    between = [text[first.end() : second.start()] for first, second in pairwise(matches)]
    after = text[matches[-1].end() :] if matches else ""
    relations: list[Relation] = []
    for place, words in enumerate(between):
        relation = relation_of(words)
        if relation is not None:
            relations.append(Relation(place, relation, place + 1))
    relations += hung_relations(text, matches, between, after, relations)
    if len(matches) == 2 and re.match(r" (on the|at) left and$", between[0].rstrip()):
        relations.append(Relation(0, "left of", 1))
    if len(named) == 1:
        named[0] = named[0]._replace(side=side_of(text))
    return Reading(tuple(named), tuple(relations))


def relation_of(words: str) -> str | None:
    """The relation that the words between two objects state."""
    if re.search(r"\bleft of $", words):
        return "left of"
    if re.search(r"\bright of $", words):
        return "right of"
    if re.search(r"\babove $", words):
        return "above"
    if re.search(r"\b(below|beneath) $", words):
        return "below"
    return None


def hung_relations(
    text: str, matches: Sequence[re.Match[str]], between: Sequence[str], after: str, stated: Sequence[Relation]
) -> list[Relation]:
    """Objects "in the sky", "on the wall" or "above" are above those that are named elsewhere in the caption."""
    if len(matches) < 2 or stated:
        return []
    if HUNG.match(after):
        # "a car and a bench on a street with a bird and a kite in the sky"
        firsts = [place + 1 for place, words in enumerate(between) if words.endswith(" with ")]
        # "a car on a street and a kite in the sky"
        joined = [place + 1 for place, words in enumerate(between) if words.endswith(" and ") and words != " and "]
        starts = firsts or joined[-1:]
        if starts and " with " not in text[: matches[0].start()]:
            start = starts[-1]
            return [Relation(up, "above", down) for up in range(start, len(matches)) for down in range(start)]
    if len(matches) == 2 and HUNG.match(between[0]) and between[0].rstrip().endswith("and"):
        return [Relation(0, "above", 1)]  # "a kite in the sky and a car on a street"
    return []


def side_of(text: str) -> str | None:
    """The side of the picture that a caption of a single group names."""
    if re.search(r"\b(on|at) the left\b", text):
        return "left"
    if re.search(r"\b(on|at) the right\b", text):
        return "right"
    return "middle" if re.search(r"\bin the (middle|center)\b", text) else None
