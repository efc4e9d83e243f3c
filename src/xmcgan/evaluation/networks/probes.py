"""Probe a dual encoder of Scenes with captions that contain one mistake: side, colour, kind, background or weather."""

import random
import re
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from xmcgan.evaluation.networks.protocols import DualEncoder
from xmcgan.scenes import BACKGROUNDS, COLOURS, Scene, World, describe, render_scene, sample_scene

# Phrases for backgrounds and weather, each with one that contradicts it.
OTHER_PLACE = {
    "on a city street": "in the desert",
    "in the desert": "on a city street",
    "on the beach": "on a snowy field",
    "on a snowy field": "on the beach",
    "on a grassy field": "in the desert",
    "in a meadow": "on a city street",
    "on the sea": "on a snowy field",
    "on a mountain lake": "on the sea",
    "near snowy mountains": "on a city street",
    "on a wooden table": "in a room",
}
OTHER_WEATHER = {
    "at night": "on a sunny day",
    "under a starry sky": "at sunset",
    "at sunset": "at night",
    "on a sunny day": "at night",
    "under a clear blue sky": "in the rain",
    "in the rain": "on a sunny day",
    "in the fog": "at night",
    "in falling snow": "on a sunny day",
}
SCENERY = ("sky", "field", "meadow", "sea", "ocean", "wooden", "table", "tablecloth", "cloth", "wall", "room", "rainy")
"""Nouns that are not objects: a colour before them is not the colour of an object."""


def wrong_side(caption: str, _scene: Scene, _rng: random.Random) -> str | None:
    """Swap left and right; None if the caption has neither."""
    swapped = {"left": "right", "right": "left"}
    wrong = re.sub(r"\b(left|right)\b", lambda match: swapped[match[0]], caption)
    return wrong if wrong != caption else None


def wrong_colour(caption: str, scene: Scene, rng: random.Random) -> str | None:
    """Give one object a colour that is not in the scene; None if the caption names no object's colour."""
    present = {thing.colour for thing in scene.objects} | {scene.colour}
    named = [
        match
        for match in re.finditer(rf"\b({'|'.join(COLOURS)})\b (\w+)", caption)
        if match[1] in present - {scene.colour} and match[2] not in SCENERY
    ]
    if not named:
        return None
    match = rng.choice(named)
    return caption[: match.start(1)] + rng.choice([c for c in COLOURS if c not in present]) + caption[match.end(1) :]


def wrong_kind(caption: str, scene: Scene, rng: random.Random) -> str | None:
    """Replace one object by a plausible kind that is not in the scene; None if the caption names no kind."""
    named = [thing for thing in scene.objects if re.search(rf"\b{thing.kind}\b", caption) and thing.kind != "orange"]
    if not named:
        return None
    thing, background = rng.choice(named), BACKGROUNDS[scene.background]
    kinds = set(background.high if thing.high else background.low) - {each.kind for each in scene.objects}
    # Keep a/an correct: a wrong article would reveal the mistake.
    fitting = sorted(kind for kind in kinds if (kind[0] in "aeiou") == (thing.kind[0] in "aeiou") or thing.colour)
    return re.sub(rf"\b{thing.kind}\b", rng.choice(fitting), caption) if fitting else None


def wrong_phrase(others: dict[str, str]) -> Callable[[str, Scene, random.Random], str | None]:
    """Replace the first phrase of ``others`` found in a caption by its contradiction."""

    def wrong(caption: str, _scene: Scene, _rng: random.Random) -> str | None:
        found = [phrase for phrase in others if re.search(rf"\b{phrase}\b", caption)]
        return caption.replace(found[0], others[found[0]]) if found else None

    return wrong


MISTAKES: dict[str, Callable[[str, Scene, random.Random], str | None]] = {
    "side": wrong_side,
    "colour": wrong_colour,
    "kind": wrong_kind,
    "background": wrong_phrase(OTHER_PLACE),
    "weather": wrong_phrase(OTHER_WEATHER),
}


def fresh_scenes(count: int, world: World, *, size: int = 64, first: int = 0) -> tuple[list[Scene], Tensor]:
    """Scenes of the validation split and their images, uint8 (count, 3, size, size), without JPEG compression."""
    scenes = [sample_scene(0, "val", first + index, world) for index in range(count)]
    pixels = [torch.from_numpy(np.array(render_scene(scene, size).picture)).permute(2, 0, 1) for scene in scenes]
    return scenes, torch.stack(pixels)


def mistakes_detected(encoder: DualEncoder, world: World, *, count: int = 1000, seed: int = 0) -> dict[str, float]:
    """Fraction of captions that match their image better than their wrong version, by kind of mistake.

    Uses every caption of ``count`` scenes in which the mistake is possible. Chance is 0.5.
    """
    scenes, images_B3HW = fresh_scenes(count, world)
    images_BF = encoder.encode_images(images_B3HW)
    rng = random.Random(seed)
    pairs: dict[str, list[tuple[int, str, str]]] = {mistake: [] for mistake in MISTAKES}
    for number, scene in enumerate(scenes):
        for caption in describe(scene, rng, sides=world.sides):
            for mistake, make in MISTAKES.items():
                if (wrong := make(caption, scene, rng)) is not None:
                    pairs[mistake].append((number, caption, wrong))
    found = {}
    for mistake, made in pairs.items():
        numbers, right, wrong = zip(*made, strict=True)
        difference = encoder.encode_captions(right) - encoder.encode_captions(wrong)
        found[mistake] = ((images_BF[list(numbers)] * difference).sum(1) > 0).float().mean().item()
    return found
