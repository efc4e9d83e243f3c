"""The vocabulary of Scenes: nouns, places, weathers and relations, and functions that choose among them."""

import random
import re
from dataclasses import dataclass

from xmcgan.scenes.scene import Scene, SceneObject

# For each kind: (singular, plural); {c} is the colour.
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

# What an object can be doing in its place.
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

# For each background: (phrases for low objects, phrases for high objects, the place itself).
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

LEFT_OF, RIGHT_OF, MIDDLE = 0.38, 0.62, 0.07  # "on the left" up to LEFT_OF; "in the middle" within MIDDLE of 0.5


@dataclass(frozen=True)
class _Group:
    """Equal objects, mentioned together: "two red apples"."""

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
    """Changes "a" before a vowel to "an", and normalises spaces."""
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", " ".join(text.split()))


def _noun(group: _Group, rng: random.Random, article: str = "a", *, plain: bool = False) -> str:
    """A group's noun phrase; plain ones are short."""
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
    """A phrase for the place: 0 for low objects, 1 for high objects, 2 for the place itself."""
    return rng.choice(_PLACES[scene.background][kind]).format(w=scene.colour)


def _weather(scene: Scene, rng: random.Random, chance: float = 0.85) -> str:
    return rng.choice(_WEATHERS[scene.weather]) if rng.random() < chance else ""


def _side(group: _Group, rng: random.Random) -> str:
    """The position of a single object in the picture, or "" if it is not clear."""
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
    """Whether all of `a` is clearly left of all of `b`."""
    return max(t.x for t in a.things) < min(t.x for t in b.things) - 0.12


def _above(a: _Group, b: _Group) -> bool:
    return a.one.high and not b.one.high


def _straight_above(a: _Group, b: _Group) -> bool:
    return _above(a, b) and abs(a.one.x - b.one.x) < 0.14 and not (a.many or b.many)


def _beside(a: _Group, b: _Group, scene: Scene) -> bool:
    """Whether `a` and `b` are on the same level, with nothing else on that level between them."""
    if a.one.high != b.one.high or a.many or b.many:
        return False
    low, high = sorted((a.one.x, b.one.x))
    return not any(low < t.x < high for t in scene.objects if t.high == a.one.high)


def _apart(a: _Group, b: _Group) -> bool:
    """Whether one of the two is left of the other."""
    return _left_of(a, b) or _left_of(b, a)
