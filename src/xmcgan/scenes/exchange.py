"""Scenes with one thing changed: the colours, the number or the sides of objects. Detectors are tested with them."""

import random
from dataclasses import replace

from xmcgan.metrics.exact_questions import Question, Wanted
from xmcgan.scenes.scene import _LOST_HIGH, _LOST_LOW, BACKGROUNDS, KINDS, Scene, SceneObject

SPREAD = {2: (0.27, 0.73), 3: (0.18, 0.5, 0.82), 4: (0.135, 0.38, 0.62, 0.865)}
"""The x of the centres of a row of equal objects, and below the width that each has room for."""
SLOT = {2: 0.43, 3: 0.30, 4: 0.225}


def exchanged(scene: Scene, question: Question, rng: random.Random) -> Scene | None:
    """The scene with the one thing changed that a question asks for, so that its answer becomes no; None if there is no
    such scene.

    Colour: the object gets another colour that its kind has and that is seen before the background. Colour attribution:
    the two objects exchange their colours, or one gets another one. Counting: one object fewer, or one more. Position:
    everything is mirrored. One object, two objects: one becomes another kind.

    Args:
        rng: chooses among possible changes.
    """
    first = question.include[0]
    match question.task:
        case "colour":
            return recoloured(scene, first, rng)
        case "colour-attribution":
            return swapped_colours(scene, first, question.include[1]) or recoloured(scene, first, rng)
        case "counting":
            return renumbered(scene, first, rng)
        case "position":
            return mirrored(scene) if horizontal(question) else None
        case _:
            return with_other_kind(scene, first, rng)


def horizontal(question: Question) -> bool:
    """Whether a question asks for left or right."""
    return any(
        wanted.relation in ("left of", "right of") or wanted.side in ("left", "right") for wanted in question.include
    )


def members(scene: Scene, wanted: Wanted) -> list[int]:
    """Positions of a scene's objects of a wanted category and colour."""
    return [
        place
        for place, thing in enumerate(scene.objects)
        if KINDS[thing.kind].id == wanted.category and wanted.colour in (None, thing.colour)
    ]


def visible_colours(scene: Scene, thing: SceneObject) -> list[str]:
    """Colours that an object's kind has and that do not vanish before the background."""
    lost = _LOST_HIGH.get(scene.weather, set()) if thing.high else _LOST_LOW.get(scene.background, set())
    return [colour for colour in KINDS[thing.kind].colours if colour not in lost | {scene.colour}]


def with_objects(scene: Scene, changed: dict[int, SceneObject]) -> Scene:
    """The scene with some objects replaced."""
    return replace(scene, objects=tuple(changed.get(place, thing) for place, thing in enumerate(scene.objects)))


def recoloured(scene: Scene, wanted: Wanted, rng: random.Random) -> Scene | None:
    """All objects of a wanted colour get another one that none of their kind has."""
    places = members(scene, wanted)
    thing = scene.objects[places[0]]
    taken = {each.colour for each in scene.objects if each.kind == thing.kind}
    free = [colour for colour in visible_colours(scene, thing) if colour not in taken]
    if not free:
        return None
    colour = rng.choice(free)
    return with_objects(scene, {place: replace(scene.objects[place], colour=colour) for place in places})


def swapped_colours(scene: Scene, first: Wanted, second: Wanted) -> Scene | None:
    """Two groups of objects exchange their colours."""
    one, other = members(scene, first), members(scene, second)
    a, b = scene.objects[one[0]], scene.objects[other[0]]
    if b.colour not in visible_colours(scene, a) or a.colour not in visible_colours(scene, b):
        return None
    if any(each.kind == a.kind and each.colour == b.colour for each in scene.objects):
        return None  # another object would still answer
    changed = {place: replace(scene.objects[place], colour=b.colour) for place in one}
    changed |= {place: replace(scene.objects[place], colour=a.colour) for place in other}
    return with_objects(scene, changed)


def renumbered(scene: Scene, wanted: Wanted, rng: random.Random) -> Scene | None:
    """One object of a group fewer; or one more, where the group has a row for itself."""
    places = members(scene, wanted)
    fewer = tuple(thing for place, thing in enumerate(scene.objects) if place != places[-1])
    row = [thing for thing in scene.objects if thing.high == scene.objects[places[0]].high]
    if len(row) > len(places) or len(places) + 1 not in SPREAD or rng.random() < 0.5:
        return replace(scene, objects=fewer)
    count, thing = len(places) + 1, scene.objects[places[0]]
    scale = min(1.0, SLOT[count] / thing.width)
    bottom = thing.top + thing.height
    width, height = thing.width * scale, thing.height * scale
    group = tuple(
        replace(thing, left=left_of_centre(x, width), top=bottom - height, width=width, height=height)
        for x in SPREAD[count]
    )
    others = tuple(thing for place, thing in enumerate(scene.objects) if place not in places)
    return replace(scene, objects=others + group)


def left_of_centre(x: float, width: float) -> float:
    """The left edge of an object around ``x`` that stays in the picture."""
    return min(max(x - width / 2, 0.02), 0.98 - width)


def mirrored(scene: Scene) -> Scene:
    """Every object at the opposite side."""
    return replace(scene, objects=tuple(replace(thing, left=1 - thing.left - thing.width) for thing in scene.objects))


def with_other_kind(scene: Scene, wanted: Wanted, rng: random.Random) -> Scene | None:
    """All objects of a wanted kind become another kind that could stand there and is not in the scene, in their box."""
    places = members(scene, wanted)
    thing = scene.objects[places[0]]
    present = {each.kind for each in scene.objects}
    shape = KINDS[thing.kind]
    alike = [
        kind.name
        for kind in KINDS.values()
        if kind.name in (BACKGROUNDS[scene.background].high if thing.high else BACKGROUNDS[scene.background].low)
        and kind.name not in present
        and thing.colour in kind.colours
        and 0.7 < kind.aspect / shape.aspect < 1.4
    ]
    if not alike:
        return None
    kind = rng.choice(alike)
    return with_objects(scene, {place: replace(scene.objects[place], kind=kind) for place in places})
