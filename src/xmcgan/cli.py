"""The command line: one subcommand a verb."""

import io
import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser

from xmcgan import __version__
from xmcgan.cli_bench import bench_command, export_command, project_command
from xmcgan.cli_compare import compare_command
from xmcgan.cli_data import data_command
from xmcgan.cli_evaluate import evaluate_command
from xmcgan.cli_train_evaluators import train_dual_encoder_command, train_evaluators_command
from xmcgan.config import RECIPES, Config, flatten, from_dict, suggestion, to_dict

# torch and transformers take seconds to import: each command imports what it runs, and `--help` nothing of it.

OWN_LAYOUTS = ("folder", "table", "webdataset")
"""Of one's own data, which often has one split; a recipe's validation split is the name in a public set."""

TRAIN_USAGE = "xmcgan train RECIPE --output DIR [--data DIR] [--any.field VALUE ...]"


def train_command(arguments: list[str]) -> int:
    """Trains a recipe, or goes on with it."""
    recipe = chosen(arguments, RECIPES, "recipe", TRAIN_USAGE)
    parser = ArgumentParser(
        prog=f"xmcgan train {recipe}",
        usage=TRAIN_USAGE,
        description="Trains a recipe; the same command again goes on from the newest checkpoint. The defaults shown "
        "are the recipe's.",
        exit_on_error=False,
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the run")
    parser.add_class_arguments(Config)
    parser.set_defaults(flatten(to_dict(RECIPES[recipe])))
    known = {"output": None} | flatten(to_dict(RECIPES[recipe]))
    for argument in arguments[1:]:
        name = argument.removeprefix("--").partition("=")[0]
        if argument.startswith("--") and name not in known and name != "help":
            raise ValueError(f"unknown setting --{name}{suggestion(name, known)}")
    values = parser.parse_args(arguments[1:]).as_dict()
    output = Path(values.pop("output"))
    config = from_dict(values)

    from xmcgan.device import resolve_device
    from xmcgan.distributed import EndedByMain, RankLost, is_main, process_group
    from xmcgan.train import TrainingDiverged

    speaks = True
    try:
        with process_group(resolve_device(config.training.device), compiling=config.training.compile) as device:
            speaks = is_main()  # where all ranks fail alike, one says so
            asked = any(each.partition("=")[0] == "--dataset.validation_split" for each in arguments)
            return train_recipe(recipe, config, output, device, validation_asked=asked)
    except TrainingDiverged as error:
        if speaks:
            print(f"xmcgan: training stopped at {error}", file=sys.stderr)
        return 3
    except RankLost as error:
        print(f"xmcgan: {error}", file=sys.stderr)
        return 4
    except EndedByMain:
        return 2  # rank 0 says why


def train_recipe(recipe: str, config: Config, output: Path, device, *, validation_asked: bool) -> int:
    """Reads the data, trains, and says where the results are; as one of the ranks where there are several.

    Args:
        validation_asked: whether the validation split was named by the user, and is not the recipe's.
    """
    from xmcgan.data.layouts import read_records
    from xmcgan.distributed import is_main, on_main
    from xmcgan.train import train

    def say(text: str) -> None:
        if is_main():
            print(text, flush=True)

    data = Path(config.data)
    if config.data == RECIPES[recipe].data and recipe.startswith("scenes-") and on_main(lambda: not data.exists()):
        from xmcgan.data.scenes import write_scenes

        say(f"{data} is not there yet: writing the Scenes")
        on_main(write_scenes, data, size=RECIPES[recipe].image_size)
    layout, traces = config.dataset.layout, config.losses.trace > 0
    records = read_records(config.data, layout, config.dataset.split, annotations=traces)
    say(f"{len(records):,} records of {config.dataset.split} in {config.data}")
    validation = config.dataset.validation_split
    if layout in OWN_LAYOUTS and not validation_asked and not has_split(config.data, layout, validation):
        if config.evaluation.every:
            raise ValueError(
                f"{config.data} has no split {validation!r}, whose captions evaluation.every would judge by; name one "
                "with --dataset.validation_split, or leave it out with --evaluation.every 0"
            )
        say(f"there is no split {validation}: the grids of samples show captions of {config.dataset.split}")
        held_out = records
    else:
        held_out = read_records(config.data, layout, validation)
    evaluate = None
    if config.evaluation.every:
        from xmcgan.monitor import make_monitor

        evaluate = make_monitor(config, output, held_out, device=device)
    captions = [record.captions[0] for record in held_out[:16]]
    step = train(config, output, records=records, sample_captions=captions, evaluate=evaluate)
    if step < config.training.steps:
        say(f"stopped and saved at step {step} of {config.training.steps}; the same command goes on from there")
        return 130
    say(f"trained {step:,} steps: samples in {output / 'samples'}, checkpoints in {output / 'checkpoints'}")
    return 0


def has_split(root: str, layout: str, split: str) -> bool:
    """Whether a data folder has a split; one that is there and damaged counts."""
    from xmcgan.data.layouts import read_entries
    from xmcgan.data.shards import is_prepared, read_manifest

    if is_prepared(root):
        return split in read_manifest(root)["splits"]
    try:
        next(read_entries(Path(root), layout, split), None)
    except FileNotFoundError:
        return False
    except ValueError:
        pass  # whoever reads it says what is wrong
    return True


def generate_command(arguments: list[str]) -> int:
    """Draws pictures of captions."""
    parser = ArgumentParser(
        prog="xmcgan generate",
        description="Draws pictures of captions: PNGs, a grid of them, and the settings that made them.",
        exit_on_error=False,
    )
    parser.add_argument("captions", nargs="+", type=str, help="one or several captions, each in quotes")
    parser.add_argument("--model", type=str, default=None, help="a run, a checkpoint, a saved pipeline or a hub name; "
                        "without one, the newest run under runs/")  # fmt: skip
    parser.add_argument("--output", type=Path, default=Path("out"), help="folder for the pictures")
    parser.add_argument("--seed", type=int, default=0, help="of the first picture of each caption; the next has + 1")
    parser.add_argument("--count", type=int, default=1, help="pictures a caption")
    parser.add_argument("--attention", type=bool, default=False, help="also each word's attention over the picture")
    parser.add_argument("--precision", type=Literal["float32", "bfloat16", "float16"], default="float32",
                        help="of weights and layers; a half is faster where the device is made for it")  # fmt: skip
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    options = parser.parse_args(arguments)

    import torch
    from tqdm import tqdm

    from xmcgan.pipeline import Pipeline, attention_overlay

    model = options.model or newest_run(Path("runs"))
    pipe = Pipeline.from_pretrained(model, device=options.device, dtype=getattr(torch, options.precision))
    with tqdm(total=len(options.captions) * options.count, unit="picture", leave=False) as bar:
        pictures = pipe(
            options.captions,
            seed=options.seed,
            num_images=options.count,
            callback=lambda done, _total: bar.update(done - bar.n),
        )

    files: dict[str, bytes] = {}
    names = file_names(options.captions)
    for number, image in enumerate(pictures.images):
        name = f"{names[pictures.captions[number]]}-{pictures.seeds[number]}"
        files[f"{name}.png"] = png(image)
        if options.attention and pictures.attention is not None:
            maps = [image, *(attention_overlay(image, word_map) for word_map in pictures.attention[number])]
            files[f"{name}-attention.png"] = png(grid(maps, len(maps)))
    name = f"{file_name(options.captions[0])}-{options.seed}-x{len(pictures.images)}"
    files[f"{name}-grid.png"] = png(grid(pictures.images, options.count if len(options.captions) > 1 else 4))
    settings = {
        "version": __version__,
        "model": str(model),
        "step": pipe.step,
        "device": str(pipe.device),
        "precision": options.precision,
        "pictures": [
            {"caption": caption, "seed": seed, "words": words}
            for caption, seed, words in zip(pictures.captions, pictures.seeds, pictures.words, strict=True)
        ],
    }
    files[f"{name}.json"] = (json.dumps(settings, indent=2, ensure_ascii=False) + "\n").encode()
    write_new(options.output, files)
    print(f"{len(pictures.images)} pictures by {model} (step {pipe.step:,}): {options.output / name}-grid.png")
    return 0


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
    parser.add_argument("--most_objects", type=int, default=4, help="objects of a scene, 1 to 4")
    parser.add_argument("--backgrounds", type=list[str], default=None, help="only these: '[beach, street]'")
    parser.add_argument("--kinds", type=list[str], default=None, help="only these objects: '[car, stop sign]'")
    parser.add_argument("--colours", type=list[str], default=None, help="only these, of objects: '[red, blue]'")
    parser.add_argument("--sides", type=float, default=0.0, help="chance that a caption names a side if it can")
    parser.add_argument("--largest", type=float, default=1.0, help="the most an object takes of its full size")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other scenes")
    options = parser.parse_args(arguments)
    from xmcgan.data.scenes import BACKGROUNDS, COLOURS, KINDS, World, write_scenes

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


def demo_command(arguments: list[str]) -> int:
    """From nothing to a page of pictures."""
    parser = ArgumentParser(
        prog="xmcgan demo",
        description="Writes Scenes, trains scenes-64 for a few minutes, and makes a page of what it learnt.",
        exit_on_error=False,
    )
    parser.add_argument("--output", type=Path, default=Path("runs/demo"), help="folder of the run")
    parser.add_argument("--steps", type=int, default=None, help="training steps; the recipe's unless given")
    options = parser.parse_args(arguments)
    from xmcgan.demo import demo
    from xmcgan.train import TrainingDiverged

    try:
        demo(options.output, steps=options.steps)
    except TrainingDiverged as error:
        print(f"xmcgan: training stopped at {error}", file=sys.stderr)
        return 3
    return 0


COMMANDS: dict[str, tuple[Callable[[list[str]], int], str]] = {
    "train": (train_command, "train a recipe, or go on with it"),
    "generate": (generate_command, "draw pictures of captions"),
    "evaluate": (evaluate_command, "judge images by the paper's metrics: a checkpoint's, another system's, real ones"),
    "compare": (compare_command, "results beside the paper's own, one protocol a column"),
    "train-dual-encoder": (train_dual_encoder_command, "train a judge of images and captions of one's own"),
    "train-evaluators": (train_evaluators_command, "train the judges of Scenes that are in the package, anew"),
    "export": (export_command, "write a generator and its text encoder as graphs: ONNX or torch.export"),
    "bench": (bench_command, "time training, drawing, text and loading on this machine"),
    "project": (project_command, "hours and memory of a training on 1 to 64 GPUs, by assumed or measured rates"),
    "data": (data_command, "prepare, count, look at and export data sets"),
    "scenes": (scenes_command, "write the embedded data set"),
    "demo": (demo_command, "all of it in a few minutes: data, training, pictures, one page"),
}


def main(arguments: list[str] | None = None) -> int:
    """Runs a subcommand; a mistake of the user's is one line on standard error, and exit status 2."""
    from jsonargparse import ArgumentError

    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"xmcgan {__version__}: images from captions, by XMC-GAN\n\nusage: xmcgan COMMAND ...\n")
        print("\n".join(f"  {name:<18} {about}" for name, (_, about) in COMMANDS.items()))
        print("\n`xmcgan COMMAND --help` says more.")
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(__version__)
        return 0
    try:
        command, _ = COMMANDS[chosen(arguments, COMMANDS, "command", "xmcgan COMMAND ...")]
        return command(arguments[1:])
    except (ValueError, TypeError, OSError, ArgumentError) as error:
        print(f"xmcgan: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("xmcgan: interrupted", file=sys.stderr)
        return 130


def chosen(arguments: list[str], accepted: Iterable[str], what: str, usage: str) -> str:
    """The first argument, which must be one of a few names."""
    if not arguments or arguments[0] in ("-h", "--help"):
        first = next(iter(accepted))
        print(f"usage: {usage}\n\n{what}s: {', '.join(accepted)}\n\n`{usage.split(what.upper())[0]}{first} --help` "
              "lists every field.")  # fmt: skip
        raise SystemExit(0 if arguments else 2)
    if arguments[0] not in accepted:
        raise ValueError(f"unknown {what} {arguments[0]!r}{suggestion(arguments[0], accepted)}")
    return arguments[0]


def newest_run(runs: Path) -> Path:
    """The run under a folder whose newest checkpoint is the youngest."""
    from xmcgan.checkpoint import newest_checkpoint

    found = {
        run: checkpoint.stat().st_mtime
        for run in (runs.iterdir() if runs.is_dir() else ())
        if (checkpoint := newest_checkpoint(run / "checkpoints"))
    }
    if not found:
        raise FileNotFoundError(
            "there is no trained run under runs/; give one with --model, or make one: "
            "xmcgan train scenes-64 --output runs/first"
        )
    return max(found, key=lambda run: found[run])


def file_name(caption: str) -> str:
    """A caption as the beginning of a file name; what is no letter or digit becomes a hyphen."""
    return re.sub(r"\W+", "-", caption.lower()).strip("-")[:60].rstrip("-") or "no-words"


def file_names(captions: Iterable[str]) -> dict[str, str]:
    """The beginning of each caption's file names; a number tells apart captions that would have the same."""
    names: dict[str, str] = {}
    for caption in dict.fromkeys(captions):
        name, number = file_name(caption), 1
        while name in names.values():
            number += 1
            name = f"{file_name(caption)}-{number}"
        names[caption] = name
    return names


def png(image) -> bytes:
    """A PIL image as a PNG file's content."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def grid(images: list, columns: int, gap: int = 2):
    """PIL images of one size side by side."""
    from PIL import Image

    columns = min(columns, len(images))
    width, height = images[0].size
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        sheet.paste(image, (column * (width + gap), row * (height + gap)))
    return sheet


def write_new(folder: Path, files: dict[str, bytes]) -> None:
    """Writes files, or none if one is there with other content; one with the same content stays as it is."""
    different = [name for name, content in files.items()
                 if (folder / name).exists() and (folder / name).read_bytes() != content]  # fmt: skip
    if different:
        raise FileExistsError(
            f"{folder} has other files of the same names, which stay as they are: {', '.join(different[:3])}"
            f"{' ...' if len(different) > 3 else ''}. Choose another --output"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if (folder / name).exists():
            continue
        partial = folder / f".partial-{name}"
        partial.write_bytes(content)
        partial.replace(folder / name)


if __name__ == "__main__":
    sys.exit(main())
