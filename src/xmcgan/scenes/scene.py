"""Samples scenes: their objects, colours and positions, relative to the picture: x to the right, y down, in [0, 1]."""

import random
from dataclasses import dataclass

import numpy as np

SPLITS = ("train", "val", "evaluator")

OUTDOOR_WEATHERS = ("clear", "sunset", "night", "rain", "fog", "snowing")

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black", "brown")


@dataclass(frozen=True)
class Kind:
    """One of COCO's categories, as it appears in Scenes.

    `width` is relative to the picture, for an object that is alone in it; `aspect` is height over width.
    """

    name: str
    id: int
    supercategory: str
    width: float
    aspect: float
    colours: tuple[str, ...]


_PAINTS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black")
_BRIGHTS = ("red", "orange", "yellow", "green", "blue", "purple", "pink")

# Ids and supercategories are COCO's.
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("car", 3, "vehicle", 0.60, 0.47, _PAINTS),
        Kind("airplane", 5, "vehicle", 0.60, 0.46, ("red", "orange", "yellow", "blue", "purple", "white")),
        Kind("bus", 6, "vehicle", 0.62, 0.54, _PAINTS),
        Kind("train", 7, "vehicle", 0.76, 0.38, _PAINTS),
        Kind("truck", 8, "vehicle", 0.62, 0.56, _PAINTS),
        Kind("boat", 9, "vehicle", 0.52, 1.00, ("red", "orange", "yellow", "green", "purple", "pink", "white")),
        Kind("traffic light", 10, "outdoor", 0.25, 2.50, ("red", "yellow", "green")),
        Kind("fire hydrant", 11, "outdoor", 0.36, 1.40, ("red", "yellow", "blue", "orange")),
        Kind("stop sign", 13, "outdoor", 0.36, 1.75, ("red",)),
        Kind("bench", 15, "outdoor", 0.58, 0.60, ("brown", "red", "green", "blue", "white")),
        Kind("bird", 16, "animal", 0.44, 0.80, ("red", "yellow", "blue", "white", "black", "pink")),
        Kind("sheep", 20, "animal", 0.50, 0.72, ("white", "black", "brown")),
        Kind("umbrella", 28, "accessory", 0.56, 1.00, _BRIGHTS),
        Kind("sports ball", 37, "sports", 0.38, 1.00, _BRIGHTS),
        Kind("kite", 38, "sports", 0.40, 1.30, _BRIGHTS),
        Kind("cup", 47, "kitchen", 0.44, 0.86, _PAINTS),
        Kind("banana", 52, "food", 0.52, 0.58, ("yellow", "green")),
        Kind("apple", 53, "food", 0.40, 1.10, ("red", "green", "yellow")),
        Kind("orange", 55, "food", 0.38, 1.04, ("orange",)),
        Kind("donut", 60, "food", 0.46, 0.64, ("pink", "brown", "white", "blue", "green", "purple")),
        Kind("cake", 61, "food", 0.50, 0.92, ("pink", "brown", "white", "blue", "yellow", "purple")),
        Kind("couch", 63, "furniture", 0.70, 0.52, _PAINTS),
        Kind("potted plant", 64, "furniture", 0.40, 1.40, ("red", "blue", "yellow", "white", "brown", "purple")),
        Kind("clock", 85, "indoor", 0.36, 1.00, _PAINTS),
        Kind("vase", 86, "indoor", 0.32, 1.75, ("red", "blue", "green", "white", "purple", "yellow", "black")),
        Kind("teddy bear", 88, "indoor", 0.42, 1.20, ("brown", "white", "pink", "yellow")),
    )
}


@dataclass(frozen=True)
class Background:
    """The setting of a scene: the kinds that can stand in it (low), hang or fly in it (high), and its weathers."""

    low: tuple[str, ...]
    high: tuple[str, ...]
    weathers: tuple[str, ...]
    base: tuple[float, float]  # range of y on which low objects rest, in [0, 1]
    colours: tuple[str, ...] = ()  # of the wall or tablecloth, if it varies
    weight: float = 1.0  # relative frequency


_FLYING = ("bird", "kite", "airplane")
_DRIVING = ("car", "bus", "truck")
_EATEN = ("cup", "banana", "apple", "orange", "donut", "cake")
_WALLS = ("blue", "green", "yellow", "pink", "red", "purple")
_NO_SNOW = ("clear", "sunset", "night", "rain", "fog")

BACKGROUNDS: dict[str, Background] = {
    "field": Background(
        (*_DRIVING, "train", "train", "bench", "sheep", "sports ball", "umbrella", "fire hydrant", "stop sign"),
        _FLYING,
        _NO_SNOW,
        (0.78, 0.92),
    ),
    "beach": Background(
        ("umbrella", "umbrella", "sports ball", "sports ball", "bench", "car", "truck"),
        _FLYING,
        _NO_SNOW,
        (0.80, 0.93),
    ),
    "sea": Background(("boat",), _FLYING, _NO_SNOW, (0.76, 0.88), weight=0.7),
    "lake": Background(("boat",), _FLYING, OUTDOOR_WEATHERS, (0.78, 0.90), weight=0.6),
    "snow": Background(
        (*_DRIVING, "train", "train", "bench", "sheep", "stop sign", "fire hydrant", "traffic light"),
        ("bird", "airplane"),
        OUTDOOR_WEATHERS,
        (0.78, 0.92),
    ),
    "street": Background(
        (*_DRIVING, *_DRIVING, "traffic light", "fire hydrant", "stop sign", "bench", "umbrella"),
        ("bird", "airplane"),
        OUTDOOR_WEATHERS,
        (0.82, 0.93),
        weight=1.4,
    ),
    "desert": Background(
        (*_DRIVING, "train", "train", "stop sign", "umbrella", "bench", "sports ball"),
        _FLYING,
        ("clear", "sunset", "night"),
        (0.78, 0.92),
    ),
    "mountains": Background(
        (*_DRIVING, "train", "train", "sheep", "bench", "stop sign"), _FLYING, OUTDOOR_WEATHERS, (0.80, 0.93)
    ),
    "wooden table": Background(
        (*_EATEN, *_EATEN, "vase", "potted plant", "clock", "teddy bear"), (), ("indoors",), (0.80, 0.90)
    ),
    "tablecloth": Background(
        (*_EATEN, *_EATEN, "vase", "potted plant", "clock"),
        (),
        ("indoors",),
        (0.80, 0.90),
        ("red", "blue", "green", "yellow", "pink", "purple"),
    ),
    "room": Background(
        ("couch", "couch", "potted plant", "teddy bear", "vase", "sports ball", "umbrella"),
        ("clock",),
        ("indoors",),
        (0.84, 0.93),
        _WALLS,
    ),
}

# Colours that are hard to see on the ground or table, and against the sky.
_LOST_LOW = {
    "field": {"green"},
    "beach": {"yellow"},
    "snow": {"white"},
    "street": {"black"},
    "desert": {"orange", "yellow"},
    "mountains": {"green"},
    "wooden table": {"brown", "orange"},
}
_LOST_HIGH = {
    "clear": {"blue"},
    "sunset": {"orange"},
    "night": {"black", "purple", "blue"},
    "rain": {"white"},
    "fog": {"white"},
    "snowing": {"white"},
}


@dataclass(frozen=True)
class SceneObject:
    """An object: its kind, its colour, and the box that it fills, relative to the picture."""

    kind: str
    colour: str
    left: float
    top: float
    width: float
    height: float
    high: bool  # in the sky or on the wall, rather than on the ground, the water or the table
    mirrored: bool

    @property
    def x(self) -> float:
        """x of the centre."""
        return self.left + self.width / 2

    @property
    def y(self) -> float:
        """y of the centre."""
        return self.top + self.height / 2


@dataclass(frozen=True)
class Scene:
    """The description of a picture. `objects` are ordered: low row, then high row."""

    background: str
    colour: str | None  # of the wall or the tablecloth
    weather: str
    objects: tuple[SceneObject, ...]
    detail: int  # seed for clouds, hills and other details that captions never mention


def stream(seed: int, split: str, index: int, purpose: str) -> random.Random:
    """An independent random stream for each (seed, split, index, purpose), so results do not depend on order."""
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, not {split!r}")
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index must be at least 0, not {seed} and {index}")
    key = (seed, SPLITS.index(split), index, *purpose.encode())
    words = np.random.SeedSequence(key).generate_state(4)
    return random.Random(int.from_bytes(words.astype("<u4").tobytes(), "little"))


_COUNT_WEIGHTS = (40, 35, 17, 8)  # of one, two, three and four objects


@dataclass(frozen=True)
class World:
    """The distribution that scenes are sampled from; a smaller one is learnt faster.

    Args:
        most_objects: 1 to 4.
        backgrounds, kinds, colours: the names to choose from.
        sides: the probability, in addition to chance, that a caption names a side or says what is left or right of
            what, if the scene allows it, and that a single object stands at a side. 0 to 1; 0 has no effect.
        largest: the maximum size of an object, relative to its full size when alone; smaller objects make their side
            clear. 0.5 to 1; 1 has no effect.

    Raises:
        ValueError: if a number is out of range, a name is unknown, or no kind can stand on one of the backgrounds in a
            visible colour.
    """

    most_objects: int = 4
    backgrounds: tuple[str, ...] = tuple(BACKGROUNDS)
    kinds: tuple[str, ...] = tuple(KINDS)
    colours: tuple[str, ...] = COLOURS
    sides: float = 0.0
    largest: float = 1.0

    def __post_init__(self):
        if not 1 <= self.most_objects <= len(_COUNT_WEIGHTS):
            raise ValueError(f"most_objects must be 1 to {len(_COUNT_WEIGHTS)}, not {self.most_objects}")
        for what, names, known in (
            ("background", self.backgrounds, BACKGROUNDS),
            ("kind", self.kinds, KINDS),
            ("colour", self.colours, COLOURS),
        ):
            unknown = [name for name in names if name not in known]
            if unknown or not names:
                raise ValueError(f"unknown {what} {', '.join(unknown) or '(none)'}; there is {', '.join(known)}")
        for name in self.backgrounds:
            standing = set(BACKGROUNDS[name].low) & set(self.kinds)
            if not standing:
                raise ValueError(f"no {' or '.join(self.kinds)} can stand on the background {name}")
            seen = set(self.colours) - _LOST_LOW.get(name, set())
            if not any(seen & set(KINDS[kind].colours) for kind in standing):
                raise ValueError(f"no {' or '.join(sorted(standing))} on the background {name} can be {listed(seen)}")
        if not 0 <= self.sides <= 1:
            raise ValueError(f"sides must be a probability, 0 to 1, not {self.sides}")
        if not 0.5 <= self.largest <= 1:
            raise ValueError(f"largest must be 0.5 to 1 of an object's full size, not {self.largest}")


def listed(names: set[str]) -> str:
    """Names, joined for an error message."""
    return " or ".join(sorted(names)) or "of a colour that would be seen there"


def chosen(rng: random.Random, chance: float) -> bool:
    """True with this probability. With 0, no random number is drawn, so the rest of the stream is unchanged."""
    return chance > 0 and rng.random() < chance


def sample_scene(seed: int, split: str, index: int, world: World | None = None) -> Scene:
    """Scene `index` (from 0) of a split, a deterministic function of the arguments.

    Args:
        world: by default, the full `World`.

    Raises:
        ValueError: if `split` is not one of SPLITS, or a number is negative.
    """
    world = world or World()
    rng = stream(seed, split, index, "scene")
    name = rng.choices(world.backgrounds, [BACKGROUNDS[each].weight for each in world.backgrounds])[0]
    background = BACKGROUNDS[name]
    weather = _weather(rng, background)
    colour = rng.choice(background.colours) if background.colours else None

    count = rng.choices(range(1, world.most_objects + 1), _COUNT_WEIGHTS[: world.most_objects])[0]
    low_kinds = tuple(kind for kind in background.low if kind in world.kinds)
    high_kinds = tuple(kind for kind in background.high if kind in world.kinds)
    high = _how_many_high(rng, high_kinds, count)
    unused = set(COLOURS) - set(world.colours) | ({colour} if colour else set())
    lost_low = _LOST_LOW.get(name, set()) | unused
    lost_high = _LOST_HIGH.get(weather, set()) | unused
    low_things = _choose(rng, low_kinds, count - high, lost_low)
    high_things = _choose(rng, high_kinds, high, lost_high)

    low_row, high_row = _centres(rng, len(low_things), len(high_things), world.sides)
    room = _room(count, bool(low_things), bool(high_things), world.largest)
    base = rng.uniform(*background.base)
    objects = [_stand(rng, thing, x, base, room, len(low_things)) for thing, x in zip(low_things, low_row, strict=True)]
    objects += [
        _hang(rng, thing, x, room, bool(low_things), len(high_things))
        for thing, x in zip(high_things, high_row, strict=True)
    ]
    return Scene(name, colour, weather, tuple(objects), rng.getrandbits(32))


def _weather(rng: random.Random, background: Background) -> str:
    weights = {"clear": 34, "sunset": 20, "night": 20, "rain": 10, "fog": 8, "snowing": 8, "indoors": 1}
    return rng.choices(background.weathers, [weights[weather] for weather in background.weathers])[0]


def _how_many_high(rng: random.Random, kinds: tuple[str, ...], count: int) -> int:
    """The number of objects that fly or hang; at most one clock hangs on a wall."""
    if not kinds:
        return 0
    chances = {1: (78, 22), 2: (55, 37, 8), 3: (45, 43, 12), 4: (0, 50, 50)}[count]
    chosen = rng.choices(range(len(chances)), chances)[0]
    return min(chosen, 1) if kinds == ("clock",) else chosen


def _choose(rng: random.Random, names: tuple[str, ...], count: int, lost: set[str]) -> list[tuple[str, str]]:
    """(kind, colour) for each object in a row. Equal objects are neighbours; a train is alone."""
    things: list[tuple[str, str]] = []
    for _ in range(1000):  # far more than any row needs
        if len(things) == count:
            return things
        kind = rng.choice(names)
        colours = [colour for colour in KINDS[kind].colours if colour not in lost]
        if not colours or (kind == "train" and count > 1):
            continue
        thing = (kind, rng.choice(colours))
        # Equal pairs come only from here, so that "two red apples" is common but not the rule.
        if things and things[-1] not in things[:-1] and rng.random() < 0.22:
            thing = things[-1]
        elif len(set(names)) > 1:
            # Otherwise reject equal objects, and often a second one of the same kind in another colour.
            again = any(kind == other for other, _ in things)
            if thing in things or (again and rng.random() < 0.6):
                continue
        # Equal objects must be neighbours, so that captions can mention them as one group.
        if thing in things[:-1] and things[-1] != thing:
            continue
        things.append(thing)
    raise ValueError(f"{', '.join(sorted(set(names)))} cannot fill a row of {count}: allow more kinds or fewer objects")


def _centres(rng: random.Random, low: int, high: int, sides: float) -> tuple[list[float], list[float]]:
    """The x of the centres of both rows. A single object takes a position that a caption can name."""
    if low + high == 1 or (low == 1 and high > 1) or (high == 1 and low > 1):
        alone = rng.choice((0.29, 0.71) if chosen(rng, sides) else (0.5, 0.5, 0.29, 0.71)) + rng.uniform(-0.03, 0.03)
        return ([alone] if low == 1 else _row(rng, low)), ([alone] if high == 1 else _row(rng, high))
    if low == 1 and high == 1:
        apart = chosen(rng, sides)
        x = rng.choice((0.27, 0.73) if apart else (0.5, 0.27, 0.73))
        # One straight above the other, or at opposite sides of the picture.
        above = x if x == 0.5 or (not apart and rng.random() < 0.25) else 1 - x
        return [x + rng.uniform(-0.03, 0.03)], [above + rng.uniform(-0.03, 0.03)]
    return _row(rng, low), _row(rng, high)


def _row(rng: random.Random, count: int) -> list[float]:
    spread = {0: (), 1: (0.5,), 2: (0.27, 0.73), 3: (0.18, 0.5, 0.82), 4: (0.135, 0.38, 0.62, 0.865)}[count]
    return [x + rng.uniform(-0.015, 0.015) for x in spread]


def _room(count: int, low: bool, high: bool, largest: float) -> tuple[float, float]:
    """(scale of the objects relative to full size, maximum height of low objects)."""
    scale = min({1: 1.0, 2: 0.84, 3: 0.70, 4: 0.58}[count], largest)
    return scale, (0.42 if low and high else 0.62)


def _stand(
    rng: random.Random, thing: tuple[str, str], x: float, base: float, room: tuple[float, float], neighbours: int
) -> SceneObject:
    kind = KINDS[thing[0]]
    scale, tallest = room
    # The width of a tall object is limited by its height.
    slot = {1: 0.76, 2: 0.43, 3: 0.30, 4: 0.225}[neighbours]
    width = min(kind.width * scale * rng.uniform(0.93, 1.07), slot, tallest / kind.aspect)
    bottom = base + rng.uniform(-0.012, 0.012)
    return _place(rng, thing, x, bottom - width * kind.aspect / 2, width, high=False)


def _hang(
    rng: random.Random, thing: tuple[str, str], x: float, room: tuple[float, float], below: bool, neighbours: int
) -> SceneObject:
    kind = KINDS[thing[0]]
    slot = {1: 0.62, 2: 0.44, 3: 0.30, 4: 0.235}[neighbours]
    tallest = 0.33 if below else 0.56
    width = min(kind.width * room[0] * rng.uniform(0.93, 1.07), slot, tallest / kind.aspect)
    y = rng.uniform(0.20, 0.24) if below else rng.uniform(0.33, 0.42)
    return _place(rng, thing, x, y, width, high=True)


def _place(rng: random.Random, thing: tuple[str, str], x: float, y: float, width: float, *, high: bool) -> SceneObject:
    kind = KINDS[thing[0]]
    height = width * kind.aspect
    left = min(max(x - width / 2, 0.02), 0.98 - width)
    top = max(y - height / 2, 0.03)
    return SceneObject(kind.name, thing[1], left, top, width, height, high, rng.random() < 0.5)
