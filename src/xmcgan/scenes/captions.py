"""Generates the captions of Scenes."""

import itertools
import random

from xmcgan.scenes.scene import Scene, chosen
from xmcgan.scenes.words import (
    _DOING,
    LEFT_OF,
    RIGHT_OF,
    _above,
    _apart,
    _articles,
    _beside,
    _Group,
    _groups,
    _left_of,
    _noun,
    _place,
    _side,
    _straight_above,
    _weather,
)


def _relation(scene: Scene, a: _Group, b: _Group, rng: random.Random, *, sided: bool = False) -> str:
    """A true relation of `a` to `b`, as words between the two; if `sided`, left or right where possible."""
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
    """A caption for a scene with a single group; if `sided`, it names the side where possible."""
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
    """A caption for two groups, on one level or on two; if `sided`, it says which is left where possible."""
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
        # As often in COCO, the weather may be all that is said about the background.
        forms.append(f"{first} {relation} {second} {weather or place}")
    if relation != "and":
        forms.append(f"{first} {is_} {relation} {second} {place} {weather}")
    if _on_either_side(a, b):
        forms.append(_both_sides(a, b, rng, weather or place))
    return rng.choice(forms)


def _pair_on_two_levels(scene: Scene, a: _Group, b: _Group, rng: random.Random, *, sided: bool) -> str:
    """A caption for objects on the ground and in the sky, or on the floor and on the wall."""
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
    """A caption for three or more groups; if `sided`, about two of them, one left of the other."""
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
    """Five different captions of 6 to 16 words that are true of the scene.

    Args:
        rng: chooses among possible wordings.
        sides: as in `World`: the probability that a caption must name a side, or say what is left or right of what, if
            the scene allows it. Other captions do so by chance.

    Raises:
        ValueError: if the scene has no objects.
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
        raise AssertionError(f"could not find five captions for {scene}")
    a, b, c, d, e = (_finish(text, rng) for text in captions)
    return a, b, c, d, e


def _finish(text: str, rng: random.Random) -> str:
    """Varies punctuation and capitals, as COCO's annotators do."""
    if rng.random() < 0.6:
        text = text[0].upper() + text[1:]
    # A full stop costs a token, so the longest captions go without.
    return f"{text}." if len(text.split()) <= 12 and rng.random() < 0.6 else text
