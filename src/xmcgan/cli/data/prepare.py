"""``xmcgan data prepare``."""

import shlex
from pathlib import Path
from typing import Literal

from xmcgan.cli.data.sets import DataSet, DataSetName, chosen_set, entries, print_splits
from xmcgan.recipes import RECIPES

RECIPE_OF = {
    "coco14": "coco14-256",
    "ln-coco": "ln-coco-256",
    "ln-openimages": "ln-openimages-256",
    "flowers102": "flowers-64",
    "cub200": "cub-256",
    "cub200-cropped": "cub-256",
    "flickr8k": "flickr8k-64",
    "flickr30k": "flickr8k-64",
}
"""The recipe of each data set; others train with that of COCO."""


def prepare(
    name: DataSetName,
    *,
    source: str,
    output: Path,
    splits: list[str] | None = None,
    size: int = 256,
    fit: Literal["squash", "crop"] = "squash",
    quality: int = 92,
    workers: int | None = None,
    max_bad_share: float = 0.01,
) -> int:
    """Resize a data set once and write it as shards (Arrow) to train from.

    The same command continues where it stopped.

    Args:
        name: the data set.
        source: its folder, in its owner's layout (docs/data.md).
        output: folder to write, new or of an interrupted run.
        splits: other splits than the data set's: ``train,val``.
        size: side of the images in pixels.
        fit: squash to a square (paper), or crop the middle.
        quality: of the JPEGs.
        workers: processes; by default one for every core.
        max_bad_share: share of bad records above which it stops.

    Examples:
        xmcgan data prepare coco14 --source /path/to/coco --output data/coco14
        xmcgan data prepare folder --source my-images --output data/mine --size 128
    """
    data = chosen_set(name, splits)
    if "://" in source:
        raise ValueError(f"--source is {source}, a URL; it should be a folder, in its owner's layout")
    from xmcgan.data.prepared import prepare as preparing
    from xmcgan.data.readers.sources import count_entries, fingerprint

    folder = Path(source)
    print_splits(source, data)
    is_there = (output / "manifest.json").is_file()
    manifest = preparing.prepare(
        folder,
        output,
        name=name,
        layout=data.layout,
        splits=data.splits,
        entries=lambda split: entries(source, data, split),
        size=size,
        fit=fit,
        quality=quality,
        workers=workers,
        most_bad=max_bad_share,
        total=lambda split: count_entries(folder, data.layout, split),
        fingerprint=fingerprint(folder, data.layout, data.splits),
    )
    report(manifest, output, is_there=is_there)
    print(f"prepared in {output}; train from it:\n  {training_command(name, data, output)}")
    return 0


def report(manifest: dict, output: Path, *, is_there: bool) -> None:
    """Prints what each split holds."""
    if is_there:
        print(f"{output} was prepared already; nothing was made")
    for split, held in manifest["splits"].items():
        size = held["bytes"]
        space = f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
        print(f"{split}: {held['records']:,} images, {held['captions']:,} captions, {space}; "
              f"problems: {held['problems']:,}")  # fmt: skip
    if any(held["problems"] for held in manifest["splits"].values()):
        print(f"every problem, with its place and reason: {output / 'problems.jsonl'}")


def training_command(name: str, data: DataSet, prepared: Path) -> str:
    """The command that trains from a prepared set: its recipe, and the settings that differ."""
    recipe = RECIPE_OF.get(name, "coco14-256")
    known = RECIPES[recipe].dataset
    settings = {"layout": data.layout, "split": data.splits[0]}
    if len(data.splits) > 1:
        settings["validation_split"] = data.splits[1]
    words = ["xmcgan", "train", recipe, "--data", str(prepared), "--output", f"runs/{prepared.name}"]
    for field, value in settings.items():
        words += [f"--dataset.{field.replace('_', '-')}", value] if value != getattr(known, field) else []
    return shlex.join(words)
