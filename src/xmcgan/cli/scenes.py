"""``xmcgan scenes``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class WorldOptions:
    """What the scenes show.

    Args:
        most_objects: most objects in a scene, 1 to 4.
        backgrounds: only these backgrounds: ``beach,street``.
        kinds: only these objects: ``car,stop sign``.
        colours: only these colours of objects: ``red,blue``.
        sides: probability that a caption names a side if it can.
        largest: largest size of an object, as a share of its full size.
    """

    most_objects: int = 4
    backgrounds: list[str] | None = None
    kinds: list[str] | None = None
    colours: list[str] | None = None
    sides: float = 0.0
    largest: float = 1.0


def scenes(
    output: Path,
    *,
    layout: Literal["coco", "open-images"] = "coco",
    size: int = 64,
    train: int = 20_000,
    val: int = 2_000,
    evaluator: int = 4_000,
    seed: int = 0,
    world: WorldOptions,
) -> int:
    """Write Scenes, the synthetic data set, in the layout of COCO 2014 or Open Images.

    Both come with Localized Narratives (docs/scenes.md).

    Args:
        output: a new folder to write.
        layout: coco, or open-images, which has no short captions.
        size: side of the images in pixels.
        train: images of the training split.
        val: images of the validation split.
        evaluator: images of the split for evaluation networks.
        seed: another seed gives other scenes.

    Examples:
        xmcgan scenes data/scenes-64
        xmcgan scenes data/cars --kinds car,bus --backgrounds street,beach --train 5000
    """
    from xmcgan.scenes import BACKGROUNDS, COLOURS, KINDS, World, write_scenes

    write_scenes(
        output,
        layout=layout,
        size=size,
        train=train,
        val=val,
        evaluator=evaluator,
        world=World(
            world.most_objects,
            tuple(world.backgrounds or BACKGROUNDS),
            tuple(world.kinds or KINDS),
            tuple(world.colours or COLOURS),
            sides=world.sides,
            largest=world.largest,
        ),
        seed=seed,
    )
    print(f"Scenes are in {output}")
    return 0
