"""Generates the narratives of Scenes: spoken sentences with a mouse trace over the objects they mention."""

import math
import random

from xmcgan.data.records import Narrative, TracePoint, Utterance
from xmcgan.scenes.captions import _relation
from xmcgan.scenes.scene import Scene, SceneObject
from xmcgan.scenes.words import _COUNTS, _NOUNS, _articles, _Group, _groups, _noun, _place, _side

# ----------------------------------------------------------------------------------------------- narratives


# The target of the mouse during a segment: objects, the upper ("sky") or lower ("ground") part of the picture, or none.
_Target = tuple[SceneObject, ...] | str | None

_Segment = tuple[str, _Target]

_DETAILS: dict[str, tuple[str, ...]] = {
    "car": ("with windows and wheels", "which has two doors"),
    "bus": ("with many windows", "with a door and windows"),
    "train": ("on the railway track", "with many windows"),
    "truck": ("with big wheels", "for carrying goods"),
    "boat": ("with two sails", "with a mast and sails"),
    "airplane": ("with small windows", "with wings"),
    "bird": ("with its wings spread", "with an orange beak"),
    "kite": ("with a tail", "on a string"),
    "sheep": ("with thick wool", "with four legs"),
    "traffic light": ("on a pole",),
    "stop sign": ("on a pole", "with white letters"),
    "cup": ("with hot coffee inside", "with a handle"),
    "apple": ("with a leaf",),
    "orange": ("with a small leaf",),
    "donut": ("with sprinkles on it",),
    "cake": ("with three candles on it",),
    "couch": ("with a pillow on it",),
    "potted plant": ("with green leaves",),
    "clock": ("with black hands",),
    "vase": ("with some flowers in it",),
    "teddy bear": ("with a red bow",),
    "umbrella": ("with stripes",),
    "sports ball": ("with stripes",),
}

_SKIES: dict[str, tuple[str, ...]] = {
    "clear": ("the blue sky with clouds and the sun", "the sky which is blue with white clouds"),
    "sunset": ("the orange sky with the sun going down", "the sky at sunset with clouds"),
    "night": ("the dark sky with the moon and stars", "the night sky with stars"),
    "rain": ("the gray sky with dark clouds and rain", "the dark clouds and the rain"),
    "fog": ("the gray sky with fog", "the fog and the sky"),
    "snowing": ("the gray sky with snow falling", "the sky with clouds and falling snow"),
}

_GROUNDS: dict[str, tuple[str, ...]] = {
    "field": ("the green grass", "the grass on the ground and some trees"),
    "beach": ("the sand and the water", "the sand of the beach"),
    "sea": ("the blue water", "the water of the sea"),
    "lake": ("the water of the lake", "the lake"),
    "snow": ("the white snow on the ground", "the snow and some trees"),
    "street": ("the road", "the road and the pavement"),
    "desert": ("the sand", "the sand of the desert"),
    "mountains": ("the green grass", "the grass on the ground"),
    "wooden table": ("the wooden table", "the brown table"),
    "tablecloth": ("the {w} cloth on the table", "the table with a {w} cloth"),
    "room": ("the wooden floor with a carpet", "the floor and a carpet"),
}

_BACKDROPS: dict[str, tuple[str, ...]] = {
    "wooden table": ("the wall with a window", "the window in the wall"),
    "tablecloth": ("the wall with a window", "the window in the wall"),
    "room": ("the {w} wall",),
}


def narrate(scene: Scene, rng: random.Random) -> Narrative:
    """A narrative of 30 to 70 words with hesitations, word times, and a mouse trace at about 10 Hz.

    Times are in seconds from the start of the recording.

    Raises:
        ValueError: if the scene has no objects.
    """
    if not scene.objects:
        raise ValueError("a scene without objects cannot be described")
    for _ in range(200):
        segments = [(_articles(text), target) for text, target in _speech(scene, rng)]
        if 30 <= sum(len(text.split()) for text, _ in segments) <= 70:
            return _timed(segments, rng)
    raise AssertionError(f"could not find a narrative of 30 to 70 words for {scene}")


def _speech(scene: Scene, rng: random.Random) -> list[_Segment]:
    """The whole speech in segments, each with the target of the mouse."""
    groups = _groups(scene)
    opening = rng.choice(
        (
            "In this image we can see",
            "In this picture I can see",
            "In this image there is",
            "In this picture, um, we can see",
        )
    )
    if opening.endswith("there is") and groups[0].many:
        opening = "In this image there are"
    segments: list[_Segment] = [(opening, None)]
    for i, group in enumerate(groups):
        joint = "" if i == 0 else "and" if i == len(groups) - 1 else ","
        if joint == ",":
            segments[-1] = (segments[-1][0] + ",", segments[-1][1])
        elif joint:
            segments.append((rng.choice(("and", "and", "and there is, I can see", "and, um,")), None))
        segments.append((_noun(group, rng), group.things))
    low, high = any(not t.high for t in scene.objects), any(t.high for t in scene.objects)
    if low != high and rng.random() < 0.8:
        segments.append((_place(scene, rng, int(high)), "ground" if low else "sky"))
    _stop(segments)

    for group in rng.sample(groups, min(len(groups), 2 if len(groups) < 4 else 1)):
        segments += _closer(group, rng)
    if len(groups) > 1 and rng.random() < 0.6:
        segments += _related(scene, groups, rng)

    sky = rng.choice(_SKIES[scene.weather] if scene.weather in _SKIES else _BACKDROPS[scene.background])
    ground = rng.choice(_GROUNDS[scene.background])
    segments.append(
        (rng.choice(("In the background we can see", "In the background, I can see", "And behind, we can see")), None)
    )
    segments.append((sky.format(w=scene.colour), "sky"))
    if rng.random() < 0.75:
        _stop(segments)
        segments.append(
            (rng.choice(("At the bottom there is", "Um, at the bottom we can see", "At the bottom I can see")), None)
        )
        segments.append((ground.format(w=scene.colour), "ground"))
    _stop(segments)
    return segments


def _stop(segments: list[_Segment]) -> None:
    text, target = segments[-1]
    segments[-1] = (f"{text}.", target)


def _closer(group: _Group, rng: random.Random) -> list[_Segment]:
    """A sentence with more detail on one group: its position, or a part of it."""
    side, detail = _side(group, rng), rng.choice(_DETAILS.get(group.one.kind, ("",)))
    hesitation = rng.choice(("", "", "", "Um,", "So,", "And"))
    noun = _noun(group, rng, "the", plain=True)
    if rng.random() < 0.12:
        noun = f"the {noun}"  # a stumble
    if not hesitation:
        noun = noun[0].upper() + noun[1:]
    segments: list[_Segment] = [(hesitation, None)] if hesitation else []
    # Details are singular; for plurals, mention only the colour, after the noun.
    if group.many:
        noun = " ".join(f"the {_COUNTS[len(group.things)]} {_NOUNS[group.one.kind][0][1].format(c='')}".split())
        noun = noun if hesitation else noun[0].upper() + noun[1:]
        segments += [(noun, group.things), (f"are {group.one.colour} in color.", group.things)]
    elif not (side or detail):
        segments += [(noun, group.things), (f"is {group.one.colour} in color.", group.things)]
    elif side and (not detail or rng.random() < 0.6):
        segments += [(noun, group.things), (f"is {side}.", group.things)]
    else:
        segments += [(rng.choice(("Here we can see", "I can see")), None)] if not hesitation else []
        segments.append((noun[0].lower() + noun[1:] if not hesitation else noun, group.things))
        segments.append((f"{detail}." if not hesitation else f"is here, {detail}.", group.things))
    return segments


def _related(scene: Scene, groups: list[_Group], rng: random.Random) -> list[_Segment]:
    """A sentence on the relation of two groups."""
    a, b = rng.sample(groups, 2)
    relation = _relation(scene, a, b, rng)
    if relation == "and":
        return []
    noun = _noun(a, rng, "the", plain=True)
    return [
        (noun[0].upper() + noun[1:], a.things),
        (f"{'are' if a.many else 'is'} {relation}", None),
        (f"{_noun(b, rng, 'the', plain=True)}.", b.things),
    ]


def _timed(segments: list[_Segment], rng: random.Random) -> Narrative:
    """Assigns times to the segments at a speaker's pace, with mouse strokes over their targets."""
    utterances: list[Utterance] = []
    strokes: list[tuple[TracePoint, ...]] = []
    now = rng.uniform(0.2, 1.2)
    pace = rng.uniform(0.24, 0.34)  # seconds a word
    for text, target in segments:
        words = text.split()
        begin = round(now, 2)
        while words:
            take = min(rng.choice((1, 1, 2, 2, 3)), len(words))
            said, words = words[:take], words[take:]
            end = now + sum(pace * (0.5 + 0.1 * len(word)) for word in said)
            utterances.append(Utterance(" ".join(said), round(now, 2), round(end, 2)))
            now = end + (rng.uniform(0.3, 0.6) if said[-1][-1] in ".," else 0.0)
        finish = utterances[-1].end
        if isinstance(target, tuple):
            share = (finish - begin) / len(target)
            for i, thing in enumerate(target):
                strokes.append(_circle(thing, begin + i * share, begin + (i + 1) * share, rng))
        elif target:
            strokes.append(_sweep(target, begin, finish, rng))
    caption = " ".join(utterance.words for utterance in utterances)
    return Narrative(caption, tuple(utterances), tuple(strokes))


def _times(start: float, end: float) -> list[float]:
    """About ten times a second, including start and end."""
    count = max(2, round((end - start) * 10))
    return [round(start + (end - start) * i / (count - 1), 3) for i in range(count)]


def _circle(thing: SceneObject, start: float, end: float, rng: random.Random) -> tuple[TracePoint, ...]:
    """A stroke that circles an object's box with an unsteady hand."""
    rx, ry = thing.width / 2 * rng.uniform(0.8, 1.1), thing.height / 2 * rng.uniform(0.8, 1.1)
    angle, speed = rng.uniform(0, 2 * math.pi), rng.choice((-1, 1)) * rng.uniform(4.5, 7.5)
    points = []
    for t in _times(start, end):
        turn = angle + speed * (t - start)
        x = thing.x + rx * math.cos(turn) + rng.uniform(-0.01, 0.01)
        y = thing.y + ry * math.sin(turn) + rng.uniform(-0.01, 0.01)
        points.append(TracePoint(round(x, 4), round(y, 4), t))
    return tuple(points)


def _sweep(part: str, start: float, end: float, rng: random.Random) -> tuple[TracePoint, ...]:
    """A stroke back and forth over the sky or the ground, sometimes beyond the picture's edge."""
    middle, depth = (0.2, 0.1) if part == "sky" else (0.86, 0.07)
    phase, turns = rng.uniform(0, 2 * math.pi), rng.uniform(1.5, 3.0)
    reach = rng.uniform(0.40, 0.52)
    points = []
    for t in _times(start, end):
        x = 0.5 + reach * math.sin(phase + turns * (t - start)) + rng.uniform(-0.01, 0.01)
        y = middle + depth * math.sin(2.3 * turns * (t - start)) + rng.uniform(-0.01, 0.01)
        points.append(TracePoint(round(x, 4), round(y, 4), t))
    return tuple(points)
