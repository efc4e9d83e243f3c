"""Scenes that no evaluator has seen: neither the third split nor the seed of those it was measured with."""

from functools import cache
from io import BytesIO

from xmcgan.data.records import Box, Record
from xmcgan.scenes import Scene, World, describe, render_scene, sample_scene
from xmcgan.scenes.scene import stream

SEED = 1


@cache
def fresh_records(count: int, world: World = World(), size: int = 64) -> tuple[Record, ...]:  # noqa: B008, it is frozen
    """Records with five captions, and a box of each object (where it was meant to be)."""
    return tuple(fresh_record(index, world, size) for index in range(count))


def fresh_record(index: int, world: World, size: int) -> Record:
    scene = sample_scene(SEED, "val", index, world)
    file = BytesIO()
    render_scene(scene, size).picture.save(file, format="PNG", compress_level=1)
    captions = describe(scene, stream(SEED, "val", index, "captions"), sides=world.sides)
    return Record(file.getvalue(), captions, str(index), boxes=boxes(scene))


def boxes(scene: Scene) -> tuple[Box, ...]:
    return tuple(Box(each.kind, each.left, each.top, each.width, each.height) for each in scene.objects)
