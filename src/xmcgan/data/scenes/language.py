"""Words for a scene: short captions as in COCO, and one long spoken narrative with the mouse's trace.

Everything said is true of the scene: sides and relations are claimed only when they are plain to see.
"""

import itertools
import math
import random
import re
from dataclasses import dataclass

from xmcgan.data.records import Narrative, TracePoint, Utterance
from xmcgan.data.scenes.scene import Scene, SceneObject, chosen

# Of each kind: (one of it, several of it); {c} is where its colour goes.
_NOUNS: dict[str, tuple[tuple[str, str], ...]] = {
    "car": (
        ("{c} car", "{c} cars"),
        ("{c} car", "{c} cars"),
        ("{c} automobile", "{c} automobiles"),
        ("{c} sedan", "{c} sedans"),
    ),
    "airplane": (
        ("{c} airplane", "{c} airplanes"),
        ("{c} plane", "{c} planes"),
        ("{c} jet", "{c} jets"),
    ),
    "bus": (("{c} bus", "{c} buses"), ("{c} bus", "{c} buses"), ("{c} city bus", "{c} city buses")),
    "train": (("{c} train", "{c} trains"), ("{c} passenger train", "{c} passenger trains")),
    "truck": (("{c} truck", "{c} trucks"), ("{c} delivery truck", "{c} delivery trucks")),
    "boat": (("{c} boat", "{c} boats"), ("{c} sailboat", "{c} sailboats"), ("{c} sailing boat", "{c} sailing boats")),
    "traffic light": (
        ("{c} traffic light", "{c} traffic lights"),
        ("traffic light showing {c}", "traffic lights showing {c}"),
        ("traffic signal showing {c}", "traffic signals showing {c}"),
    ),
    "fire hydrant": (("{c} fire hydrant", "{c} fire hydrants"), ("{c} hydrant", "{c} hydrants")),
    "stop sign": (("stop sign", "stop signs"), ("stop sign", "stop signs"), ("{c} stop sign", "{c} stop signs")),
    "bench": (("{c} bench", "{c} benches"), ("{c} park bench", "{c} park benches")),
    "bird": (("{c} bird", "{c} birds"), ("little {c} bird", "little {c} birds")),
    "sheep": (("{c} sheep", "{c} sheep"), ("fluffy {c} sheep", "fluffy {c} sheep")),
    "umbrella": (("{c} umbrella", "{c} umbrellas"), ("striped {c} umbrella", "striped {c} umbrellas")),
    "sports ball": (("{c} ball", "{c} balls"), ("striped {c} ball", "striped {c} balls")),
    "kite": (("{c} kite", "{c} kites"), ("{c} kite", "{c} kites"), ("bright {c} kite", "bright {c} kites")),
    "cup": (
        ("{c} cup", "{c} cups"),
        ("{c} mug", "{c} mugs"),
        ("{c} coffee cup", "{c} coffee cups"),
        ("{c} cup of coffee", "{c} cups of coffee"),
    ),
    "banana": (("{c} banana", "{c} bananas"),),
    "apple": (("{c} apple", "{c} apples"), ("shiny {c} apple", "shiny {c} apples")),
    "orange": (("orange", "oranges"), ("fresh orange", "fresh oranges"), ("round orange", "round oranges")),
    "donut": (
        ("{c} donut", "{c} donuts"),
        ("{c} doughnut", "{c} doughnuts"),
        ("donut with {c} frosting", "donuts with {c} frosting"),
    ),
    "cake": (("{c} cake", "{c} cakes"), ("{c} birthday cake", "{c} birthday cakes")),
    "couch": (("{c} couch", "{c} couches"), ("{c} sofa", "{c} sofas")),
    "potted plant": (
        ("plant in a {c} pot", "plants in {c} pots"),
        ("{c} potted plant", "{c} potted plants"),
        ("{c} plant pot", "{c} plant pots"),
    ),
    "clock": (("{c} clock", "{c} clocks"), ("round {c} clock", "round {c} clocks")),
    "vase": (
        ("{c} vase", "{c} vases"),
        ("{c} vase with flowers", "{c} vases with flowers"),
        ("{c} flower vase", "{c} flower vases"),
    ),
    "teddy bear": (("{c} teddy bear", "{c} teddy bears"), ("{c} stuffed bear", "{c} stuffed bears")),
}

# What a thing can be said to be doing where it is.
_DOING: dict[str, tuple[str, ...]] = {
    "car": ("parked", "standing"),
    "bus": ("parked", "stopped"),
    "truck": ("parked", "standing"),
    "train": ("stopped", "standing"),
    "boat": ("floating", "sailing"),
    "airplane": ("flying",),
    "bird": ("flying",),
    "kite": ("flying",),
    "sheep": ("standing",),
    "umbrella": ("standing",),
    "sports ball": ("lying", "sitting"),
    "stop sign": ("standing",),
    "traffic light": ("standing",),
    "clock": ("hanging",),
    "banana": ("lying",),
}

# Of each background: (where low things are, where high things are, the place by itself).
_PLACES: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "field": (
        ("on a grassy field", "on a green field", "on the grass", "in a meadow"),
        ("over a grassy field", "above a green meadow", "over the grass"),
        ("a grassy field", "a green field", "a green meadow"),
    ),
    "beach": (
        ("on the beach", "on a sandy beach", "on the sand by the sea"),
        ("over the beach", "above a sandy beach"),
        ("a sandy beach", "a beach"),
    ),
    "sea": (
        ("on the sea", "on the ocean", "on the blue sea", "on the water"),
        ("over the sea", "above the ocean", "over the blue sea"),
        ("the sea", "the blue ocean"),
    ),
    "lake": (
        ("on a lake", "on a mountain lake", "on a lake by the mountains"),
        ("over a lake", "above a mountain lake"),
        ("a lake", "a mountain lake"),
    ),
    "snow": (
        ("on a snowy field", "on the snow", "on snowy ground"),
        ("over a snowy field", "above the snow"),
        ("a snowy field", "a snowy landscape"),
    ),
    "street": (
        ("on a city street", "on a street", "on a street in the city", "on a road in a city"),
        ("over a city street", "above a city", "above the street"),
        ("a city street", "a street"),
    ),
    "desert": (
        ("in the desert", "in a sandy desert", "on the desert sand"),
        ("over the desert", "above a sandy desert"),
        ("the desert", "a sandy desert"),
    ),
    "mountains": (
        ("in front of mountains", "in the mountains", "near snowy mountains"),
        ("over the mountains", "near the mountains"),
        ("a mountain landscape", "a mountain valley"),
    ),
    "wooden table": (
        ("on a wooden table", "on a wood table", "on a brown table", "on a wooden kitchen table"),
        (),
        ("a wooden table", "a brown wooden table"),
    ),
    "tablecloth": (
        ("on a table with a {w} tablecloth", "on a {w} tablecloth", "on a {w} table"),
        (),
        ("a table with a {w} cloth", "a {w} tablecloth"),
    ),
    "room": (
        ("in a room with a {w} wall", "in front of a {w} wall", "in a {w} room"),
        ("on a {w} wall", "on the {w} wall of a room"),
        ("a room with a {w} wall", "a {w} room"),
    ),
}

_WEATHERS: dict[str, tuple[str, ...]] = {
    "clear": ("on a sunny day", "under a blue sky", "under a clear blue sky", "on a bright day", "in the sunshine"),
    "sunset": ("at sunset", "under an orange sky", "under a sunset sky", "in the evening sun"),
    "night": ("at night", "under a night sky", "under the moon", "under a starry sky", "in the dark"),
    "rain": ("in the rain", "on a rainy day", "under a gray rainy sky", "in rainy weather"),
    "fog": ("in the fog", "on a foggy day", "under a foggy gray sky", "in foggy weather"),
    "snowing": ("in falling snow", "while it is snowing", "in a snowfall"),
    "indoors": ("",),
}

_COUNTS = {1: "a", 2: "two", 3: "three", 4: "four"}
LEFT_OF, RIGHT_OF, MIDDLE = 0.38, 0.62, 0.07  # a thing is "on the left" up to LEFT_OF; in the middle within MIDDLE


@dataclass(frozen=True)
class _Group:
    """Equal things, spoken of together: "two red apples"."""

    things: tuple[SceneObject, ...]

    @property
    def many(self) -> bool:
        return len(self.things) > 1

    @property
    def one(self) -> SceneObject:
        return self.things[0]


def _groups(scene: Scene) -> list[_Group]:
    found: dict[tuple[str, str, bool], list[SceneObject]] = {}
    for thing in scene.objects:
        found.setdefault((thing.kind, thing.colour, thing.high), []).append(thing)
    return [_Group(tuple(things)) for things in found.values()]


def _articles(text: str) -> str:
    """Every "a" before a vowel becomes "an", and the blanks are tidied."""
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", " ".join(text.split()))


def _noun(group: _Group, rng: random.Random, article: str = "a", *, plain: bool = False) -> str:
    """A group's noun phrase; the plain ones leave room for other words."""
    thing = group.one
    single, plural = _NOUNS[thing.kind][0] if plain else rng.choice(_NOUNS[thing.kind])
    colour = thing.colour
    if thing.kind in ("cake", "donut") and colour == "brown" and "frosting" not in single:
        colour = rng.choice(("brown", "chocolate"))
    words = (plural if group.many else single).format(c=colour)
    if article == "the":
        return f"the {_COUNTS[len(group.things)] + ' ' if group.many else ''}{words}"
    return f"{_COUNTS[len(group.things)]} {words}"


def _place(scene: Scene, rng: random.Random, kind: int) -> str:
    """0: where low things are; 1: where high things are; 2: the place by itself."""
    return rng.choice(_PLACES[scene.background][kind]).format(w=scene.colour)


def _weather(scene: Scene, rng: random.Random, chance: float = 0.85) -> str:
    return rng.choice(_WEATHERS[scene.weather]) if rng.random() < chance else ""


def _side(group: _Group, rng: random.Random) -> str:
    """Where in the picture a lone thing is, or "" when no side can be named with a good conscience."""
    if group.many:
        return ""
    if group.one.x <= LEFT_OF:
        return rng.choice(("on the left", "on the left side", "on the left side of the picture", "at the left"))
    if group.one.x >= RIGHT_OF:
        return rng.choice(("on the right", "on the right side", "on the right side of the picture", "at the right"))
    if abs(group.one.x - 0.5) <= MIDDLE:
        return rng.choice(("in the middle", "in the center", "in the middle of the picture"))
    return ""


def _left_of(a: _Group, b: _Group) -> bool:
    """All of `a` lies clear to the left of all of `b`."""
    return max(t.x for t in a.things) < min(t.x for t in b.things) - 0.12


def _above(a: _Group, b: _Group) -> bool:
    return a.one.high and not b.one.high


def _straight_above(a: _Group, b: _Group) -> bool:
    return _above(a, b) and abs(a.one.x - b.one.x) < 0.14 and not (a.many or b.many)


def _beside(a: _Group, b: _Group, scene: Scene) -> bool:
    """`a` and `b` are on one level, and nothing else of that level stands between them."""
    if a.one.high != b.one.high or a.many or b.many:
        return False
    low, high = sorted((a.one.x, b.one.x))
    return not any(low < t.x < high for t in scene.objects if t.high == a.one.high)


def _apart(a: _Group, b: _Group) -> bool:
    """One of the two is left of the other."""
    return _left_of(a, b) or _left_of(b, a)


def _relation(scene: Scene, a: _Group, b: _Group, rng: random.Random, *, sided: bool = False) -> str:
    """A relation that holds of `a` to `b`, fit to stand between the two; if `sided`, left or right where it can be."""
    if sided and _apart(a, b):
        side = "left" if _left_of(a, b) else "right"
        return rng.choice((f"{side} of", f"to the {side} of"))
    true = ["and"]
    if _left_of(a, b):
        true += ["left of", "to the left of"] * 2
    elif _left_of(b, a):
        true += ["right of", "to the right of"] * 2
    if _above(a, b):
        true += ["above"] * (4 if _straight_above(a, b) else 1)
    elif _above(b, a):
        true += ["below", "beneath"] * 2 if _straight_above(b, a) else ["below"]
    elif _beside(a, b, scene):
        true += ["next to", "beside"]
    return rng.choice(true)


def _alone(scene: Scene, group: _Group, rng: random.Random, *, sided: bool) -> str:
    """One caption for a scene with a single group in it; if `sided`, of its side where it has one."""
    noun, weather = _noun(group, rng), _weather(scene, rng)
    high = group.one.high
    place = _place(scene, rng, int(high))
    doing = rng.choice(
        _DOING.get(group.one.kind, ("standing",)) if high or group.one.kind != "clock" else ("standing",)
    )
    side = _side(group, rng)
    is_, there = ("are", "there are") if group.many else ("is", "there is")
    forms = [
        f"{noun} {place} {weather}",
        f"{noun} {doing} {place} {weather}",
        f"{noun} {is_} {doing} {place} {weather}",
        f"{there} {noun} {place} {weather}",
        f"{there} {noun} {doing} {place} {weather}",
        f"{rng.choice(('a picture of', 'an image of', 'a view of', 'we can see'))} {noun} {place} {weather}",
    ]
    if weather and scene.weather not in ("snowing",):
        forms.append(f"{weather}, {noun} {is_} {doing} {place}")
    if not high:
        forms.append(f"{_place(scene, rng, 2)} {weather} with {noun}")
        forms.append(f"{_place(scene, rng, 2)} with {noun} {weather}")
    if side and sided:
        forms = []
    if side:
        forms += [f"{noun} {side} {place} {weather}"] * 2
        forms.append(f"{noun} {is_} {side}, {place} {weather}")
        forms.append(f"{side} {is_} {noun} {doing} {place}")
    return rng.choice(forms)


def _pair(scene: Scene, a: _Group, b: _Group, rng: random.Random, *, sided: bool) -> str:
    """One caption for two groups, on one level or on two; if `sided`, of their sides where one is left of the other."""
    if a.one.high != b.one.high:
        return _pair_on_two_levels(scene, a, b, rng, sided=sided)
    first, second, weather = _noun(a, rng), _noun(b, rng), _weather(scene, rng)
    place, relation = _place(scene, rng, int(a.one.high)), _relation(scene, a, b, rng, sided=sided)
    is_, there = ("are", "there are") if a.many else ("is", "there is")
    forms = [f"{first} {relation} {second} {place} {weather}"] * 4
    forms += [
        f"{there} {first} {relation} {second} {place} {weather}",
        f"a picture of {first} {relation} {second} {place}",
        f"{_place(scene, rng, 2)} {weather} with {first} {relation} {second}",
    ]
    if not a.one.high:
        # The weather alone may stand for the whole background, as it often does in COCO.
        forms.append(f"{first} {relation} {second} {weather or place}")
    if relation != "and":
        forms.append(f"{first} {is_} {relation} {second} {place} {weather}")
    if _on_either_side(a, b):
        forms.append(_both_sides(a, b, rng, weather or place))
    return rng.choice(forms)


def _pair_on_two_levels(scene: Scene, a: _Group, b: _Group, rng: random.Random, *, sided: bool) -> str:
    """One caption for things on the ground and things in the sky, or on the floor and on the wall."""
    low, high = (b, a) if a.one.high else (a, b)
    down, up, weather = _noun(low, rng), _noun(high, rng), _weather(scene, rng)
    place = _place(scene, rng, 0)
    hung = "on the wall" if scene.background == "room" else "in the sky"
    first, second = (up, down) if a is high else (down, up)
    relation = _relation(scene, a, b, rng, sided=sided)
    forms = [
        f"{down} {place} {weather} with {up} {rng.choice((hung, 'above'))}",
        f"{down} {place} and {up} {hung} {weather}",
        f"{up} {rng.choice((hung, hung + ' and', 'above'))} {down} {place} {weather}".replace(
            f"{hung} {down}", f"{hung} above {down}"
        ),
        f"{_place(scene, rng, 2)} {weather} with {first} {relation} {second}",
        f"{first} {relation} {second} {weather or place}",
    ]
    if sided and _apart(a, b):
        forms = forms[-2:]  # those with the relation
    elif _straight_above(high, low):
        over = "directly above" if scene.background == "room" else rng.choice(("directly above", "flying above"))
        forms.append(f"{up} {over} {down} {place} {weather}")
    if _on_either_side(a, b):
        forms.append(_both_sides(a, b, rng, weather or place))
    return rng.choice(forms)


def _on_either_side(a: _Group, b: _Group) -> bool:
    return not (a.many or b.many) and a.one.x <= LEFT_OF and b.one.x >= RIGHT_OF


def _both_sides(a: _Group, b: _Group, rng: random.Random, scenery: str) -> str:
    left, right = rng.choice((("on the left", "on the right"), ("at left", "at right"), ("at left", "at right")))
    return f"{_noun(a, rng, plain=True)} {left} and {_noun(b, rng, plain=True)} {right} {scenery}"


def _several(scene: Scene, groups: list[_Group], rng: random.Random, *, sided: bool) -> str:
    """One caption for three or more groups; if `sided`, for two of which one is left of the other."""
    if sided and (pairs := [pair for pair in itertools.permutations(groups, 2) if _apart(*pair)]):
        a, b = rng.choice(pairs)
        return _pair(scene, a, b, rng, sided=True)
    low = sorted((g for g in groups if not g.one.high), key=lambda g: g.one.x)
    high = [g for g in groups if g.one.high]
    weather = _weather(scene, rng, 0.3)
    between = [
        (a, b, c)
        for a, b, c in zip(low, low[1:], low[2:], strict=False)
        if _left_of(a, b) and _left_of(b, c) and not (a.many or b.many or c.many)
    ]
    choice = rng.random()
    if between and choice < 0.4:
        a, b, c = rng.choice(between)
        if rng.random() < 0.5:
            a, c = c, a
        b, a, c = (_noun(group, rng, plain=True) for group in (b, a, c))
        return f"{b} between {a} and {c} {rng.choice((_place(scene, rng, 0), weather or _place(scene, rng, 0)))}"
    if choice < 0.55:
        a, b = rng.sample(groups, 2)
        return _pair(scene, a, b, rng, sided=False)
    named = rng.sample(low, len(low)) if rng.random() < 0.5 else low
    words = [_noun(g, rng) for g in named]
    line = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""
    if high and low:
        up = " and ".join(_noun(g, rng) for g in high)
        where = "on the wall" if scene.background == "room" else rng.choice(("above", "in the sky", "overhead"))
        return f"{line} {_place(scene, rng, 0)} with {up} {where} {weather if len(groups) < 4 else ''}"
    if high:
        up = [_noun(g, rng) for g in high]
        return f"{', '.join(up[:-1])} and {up[-1]} {_place(scene, rng, 1)}"
    there = rng.choice(("", "", "there are" if named[0].many else "there is"))
    return f"{there} {line} {_place(scene, rng, 0)} {weather}"


def describe(scene: Scene, rng: random.Random, *, sides: float = 0.0) -> tuple[str, str, str, str, str]:
    """Five different captions of 6 to 16 words, true of the scene; `rng` chooses among the ways to say it.

    `sides` is a `World`'s: the chance of each caption that it names a side, or what is left or right of what, where
    the scene has it; the others name it as often as it comes.

    Raises ValueError when the scene has no objects.
    """
    if not scene.objects:
        raise ValueError("a scene without objects cannot be described")
    groups = _groups(scene)
    captions: list[str] = []
    limit, sided = 14, chosen(rng, sides)
    for attempt in range(600):
        if attempt == 200:
            limit = 16
        if len(groups) == 1:
            text = _alone(scene, groups[0], rng, sided=sided)
        elif len(groups) == 2:
            a, b = rng.sample(groups, 2) if rng.random() < 0.5 else groups
            text = _pair(scene, a, b, rng, sided=sided)
        else:
            text = _several(scene, groups, rng, sided=sided)
        text = _articles(text)
        if 6 <= len(text.split()) <= limit and (text not in captions or attempt >= 500):
            captions.append(text)
            sided = chosen(rng, sides)
            if len(captions) == 5:
                break
    else:
        raise AssertionError(f"no five captions were found for {scene}")
    a, b, c, d, e = (_finish(text, rng) for text in captions)
    return a, b, c, d, e


def _finish(text: str, rng: random.Random) -> str:
    """Punctuation and capitals come and go, as among COCO's annotators."""
    if rng.random() < 0.6:
        text = text[0].upper() + text[1:]
    # A full stop costs a token, so the longest captions go without.
    return f"{text}." if len(text.split()) <= 12 and rng.random() < 0.6 else text


# ----------------------------------------------------------------------------------------------- narratives


# What the mouse goes over while something is said: things, or the upper or lower part of the picture, or nothing.
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
    """One long narrative of 30 to 70 words, with hesitations, timed, and with a mouse trace at about 10 Hz.

    Times are in seconds from the start of the recording. Raises ValueError when the scene has no objects.
    """
    if not scene.objects:
        raise ValueError("a scene without objects cannot be described")
    for _ in range(200):
        segments = [(_articles(text), target) for text, target in _speech(scene, rng)]
        if 30 <= sum(len(text.split()) for text, _ in segments) <= 70:
            return _timed(segments, rng)
    raise AssertionError(f"no narrative of 30 to 70 words was found for {scene}")


def _speech(scene: Scene, rng: random.Random) -> list[_Segment]:
    """The whole speech in segments, each with what the mouse does meanwhile."""
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
    """A sentence that looks closer at one group: where it is, or a detail of it."""
    side, detail = _side(group, rng), rng.choice(_DETAILS.get(group.one.kind, ("",)))
    hesitation = rng.choice(("", "", "", "Um,", "So,", "And"))
    noun = _noun(group, rng, "the", plain=True)
    if rng.random() < 0.12:
        noun = f"the {noun}"  # as people stumble
    if not hesitation:
        noun = noun[0].upper() + noun[1:]
    segments: list[_Segment] = [(hesitation, None)] if hesitation else []
    # Plurals would need plural details; their colour is enough, said after the bare noun.
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
    """A sentence on how two groups stand to one another."""
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
    """Speaks the segments at a person's pace, moving the mouse along."""
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
    """About ten moments a second, the first and the last included."""
    count = max(2, round((end - start) * 10))
    return [round(start + (end - start) * i / (count - 1), 3) for i in range(count)]


def _circle(thing: SceneObject, start: float, end: float, rng: random.Random) -> tuple[TracePoint, ...]:
    """Round and round a thing's box, with an unsteady hand."""
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
    """To and fro over the sky or the ground, at times past the picture's edge."""
    middle, depth = (0.2, 0.1) if part == "sky" else (0.86, 0.07)
    phase, turns = rng.uniform(0, 2 * math.pi), rng.uniform(1.5, 3.0)
    reach = rng.uniform(0.40, 0.52)
    points = []
    for t in _times(start, end):
        x = 0.5 + reach * math.sin(phase + turns * (t - start)) + rng.uniform(-0.01, 0.01)
        y = middle + depth * math.sin(2.3 * turns * (t - start)) + rng.uniform(-0.01, 0.01)
        points.append(TracePoint(round(x, 4), round(y, 4), t))
    return tuple(points)
