"""``xmcgan train``."""

import sys
from pathlib import Path
from typing import Annotated, Any

from xmcgan.cli.parser import FieldsOf, OneOf
from xmcgan.config import Config, flatten, from_dict, to_dict, unflatten
from xmcgan.config.unused import refuse_unused
from xmcgan.recipes import RECIPES

OWN_LAYOUTS = ("folder", "table", "webdataset")
"""Layouts of custom data, which often has one split; recipes name the splits of public sets."""


def describe(config: Config) -> str:
    """A recipe in one line."""
    training = config.training
    return f"{config.image_size} px, {config.dataset.layout}: {training.steps:,} steps of {training.batch_size}"


def train(
    recipe: Annotated[str, OneOf(RECIPES, "recipe", about=describe)],
    *,
    output: Path,
    init: str | None = None,
    settings: Annotated[dict[str, Any], FieldsOf(RECIPES)],
) -> int:
    """Train a recipe, or resume its run.

    Repeat the command to resume from the newest checkpoint. Every field of the configuration is an option.

    Args:
        recipe: the configuration to start from.
        output: folder of the run.
        init: fine-tune this model: its weights instead of random ones, and its image size, text encoder, generator and
            discriminator instead of the recipe's.
        settings: fields that differ from the recipe's, by dotted name.

    Examples:
        xmcgan train scenes-64 --output runs/first
        xmcgan train coco14-256 --data /path/to/coco --output runs/coco --training.batch-size 64
        xmcgan train scenes-64-frozen --init scenes-64 --data data/owls --dataset.layout folder --output runs/owls
        torchrun --nproc_per_node 8 -m xmcgan train coco14-256 --data /path/to/coco --output runs/coco
    """
    defaults = flatten(to_dict(RECIPES[recipe])) | initial_settings(init)
    if settings.get("dataset.layout") in OWN_LAYOUTS:
        defaults["dataset.split"] = "train"  # the recipe names a split of a public set
    config = from_dict(unflatten(defaults | settings))
    if not (output / "config.json").exists():  # a run of an older version can have such settings, and be resumed
        refuse_unused([name for name, value in settings.items() if value != defaults[name]], config)

    from xmcgan.runtime.device import resolve_device
    from xmcgan.runtime.distributed import RankLost, RankZeroFailed, is_main, process_group
    from xmcgan.training.state import TrainingDiverged

    reports = True
    try:
        with process_group(resolve_device(config.training.device), compiling=config.training.compile) as device:
            reports = is_main()  # if all ranks fail in the same way, only one reports it
            named = "dataset.validation_split" in settings
            return train_recipe(recipe, config, output, device, validation_named=named)
    except TrainingDiverged as error:
        if reports:
            print(f"xmcgan: training stopped at {error}", file=sys.stderr)
        return 3
    except RankLost as error:
        print(f"xmcgan: {error}", file=sys.stderr)
        return 4
    except RankZeroFailed:
        return 2  # rank 0 prints the reason


def initial_settings(init: str | None) -> dict[str, Any]:
    """The settings of a fine-tuning run that replace the recipe's, by dotted name."""
    if init is None:
        return {}
    from xmcgan.training.initial_weights import architecture

    return architecture(init) | {"training.init": init}


def train_recipe(recipe: str, config: Config, output: Path, device, *, validation_named: bool) -> int:
    """Reads the data, trains, and prints where the results are; on every rank if there are several.

    Args:
        validation_named: whether the user named the validation split, instead of taking the recipe's.
    """
    from xmcgan.data.layouts import read_records
    from xmcgan.data.prepared.manifest import is_prepared
    from xmcgan.data.readers.dialect import DIALECTS
    from xmcgan.data.readers.sources import describe_split
    from xmcgan.runtime import progress
    from xmcgan.runtime.distributed import is_main
    from xmcgan.training import loop

    def say(text: str) -> None:
        if is_main():
            progress.say(text)

    write_missing_scenes(recipe, config)
    data = Path(config.data)
    layout, traces = config.dataset.layout, config.losses.trace > 0
    dialect = config.dataset.dialect
    records = read_records(config.data, layout, config.dataset.split, annotations=traces, dialect=dialect)
    is_source = "://" not in config.data and not is_prepared(data)
    if is_source and (rule := describe_split(data, layout, config.dataset.split, dialect and DIALECTS[dialect])):
        say(rule)
    say(f"{len(records):,} records of {config.dataset.split} in {config.data}")
    validation = config.dataset.validation_split
    if layout in OWN_LAYOUTS and not validation_named and not has_split(config.data, layout, validation):
        if config.evaluation.every:
            raise ValueError(
                f"{config.data} has no split {validation!r}, which evaluation.every needs; name one "
                "with --dataset.validation-split, or leave it out with --evaluation.every 0"
            )
        say(f"there is no split {validation}: the grids of samples show captions of {config.dataset.split}")
        held_out = records
    else:
        held_out = read_records(config.data, layout, validation, dialect=dialect)
    evaluate = None
    if config.evaluation.every:
        from xmcgan.training.validation import make_validation

        evaluate = make_validation(config, output, held_out, device=device)
    captions = [record.captions[0] for record in held_out[:16]]
    step = loop.train(config, output, records=records, sample_captions=captions, evaluate=evaluate)
    if step < config.training.steps:
        say(f"stopped and saved at step {step} of {config.training.steps}; the same command resumes")
        return 130
    say(f"trained {step:,} steps: samples in {output / 'samples'}, checkpoints in {output / 'checkpoints'}")
    say(f'to draw with it: xmcgan generate "a caption" --model {output}')
    return 0


def write_missing_scenes(recipe: str, config: Config) -> None:
    """Writes the data of a recipe for Scenes, unless the data exist or the user named others."""
    from xmcgan.runtime.distributed import is_main, on_main
    from xmcgan.runtime.progress import say

    data = Path(config.data)
    if config.data == RECIPES[recipe].data and recipe.startswith("scenes-") and on_main(lambda: not data.exists()):
        from xmcgan.scenes import write_scenes

        if is_main():
            say(f"{data} does not exist: writing Scenes")
        on_main(write_scenes, data, size=RECIPES[recipe].image_size)


def has_split(root: str, layout: str, split: str) -> bool:
    """Whether a data folder has a split; a split that exists but is damaged counts."""
    from xmcgan.data.layouts import read_entries
    from xmcgan.data.prepared.manifest import is_prepared, read_manifest

    if is_prepared(root):
        return split in read_manifest(root)["splits"]
    try:
        next(read_entries(Path(root), layout, split), None)
    except FileNotFoundError:
        return False
    except ValueError:
        pass  # reading it will raise an error that explains what is wrong
    return True
