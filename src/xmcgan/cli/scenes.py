"""The subcommand ``xmcgan scenes``."""

from pathlib import Path

from xmcgan.cli.parser import ArgumentParser


def scenes_command(arguments: list[str]) -> int:
    """Writes the embedded data set."""
    parser = ArgumentParser(
        prog="xmcgan scenes",
        description="Writes Scenes, the embedded data set, in the layouts of COCO 2014 or Open Images, with Localized "
        "Narratives.",
        exit_on_error=False,
    )
    parser.add_argument("output", type=Path, help="folder to write, new")
    parser.add_argument("--layout", type=str, default="coco", help="coco, or open-images, which has no short captions")
    parser.add_argument("--size", type=int, default=64, help="side of the images in pixels")
    parser.add_argument("--train", type=int, default=20_000, help="images of the training split")
    parser.add_argument("--val", type=int, default=2_000, help="images of the validation split")
    parser.add_argument("--evaluator", type=int, default=4_000, help="images of the split for evaluation models")
    parser.add_argument("--most-objects", type=int, default=4, help="objects of a scene, 1 to 4")
    parser.add_argument("--backgrounds", type=list[str], default=None, help="only these: '[beach, street]'")
    parser.add_argument("--kinds", type=list[str], default=None, help="only these objects: '[car, stop sign]'")
    parser.add_argument("--colours", type=list[str], default=None, help="only these, of objects: '[red, blue]'")
    parser.add_argument("--sides", type=float, default=0.0, help="chance that a caption names a side if it can")
    parser.add_argument("--largest", type=float, default=1.0, help="the most an object takes of its full size")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other scenes")
    options = parser.parse_args(arguments)
    from xmcgan.scenes import BACKGROUNDS, COLOURS, KINDS, World, write_scenes

    world = World(
        options.most_objects,
        tuple(options.backgrounds or BACKGROUNDS),
        tuple(options.kinds or KINDS),
        tuple(options.colours or COLOURS),
        sides=options.sides,
        largest=options.largest,
    )
    write_scenes(
        options.output,
        layout=options.layout,
        size=options.size,
        train=options.train,
        val=options.val,
        evaluator=options.evaluator,
        world=world,
        seed=options.seed,
    )
    print(f"Scenes are in {options.output}")
    return 0
