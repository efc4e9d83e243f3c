"""``xmcgan data prepare``."""

import shlex
from collections.abc import Generator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

from xmcgan.cli.data.sets import DataSet, DataSetName, chosen_set, entries, patterns, print_splits
from xmcgan.data.readers.dialect import DialectName
from xmcgan.recipes import RECIPES

if TYPE_CHECKING:
    from xmcgan.data.remote import SourcePath

RECIPE_OF = {
    "coco14": "coco14-256",
    "ln-coco": "ln-coco-256",
    "ln-openimages": "ln-openimages-256",
    "flowers102": "flowers-64-plus",
    "cub200": "cub-256",
    "cub200-cropped": "cub-256",
    "flickr8k": "flickr8k-64",
    "flickr30k": "flickr8k-64",
    "scenes": "scenes-64",
    "scenes-narratives": "scenes-narratives-64",
    "scenes-open-images": "scenes-narratives-64",
}
"""The recipe of each data set."""

SMALL, LARGE = "flowers-64-plus", "coco14-256"
"""The recipes of other photographs: at 64 px the one that copes with few of them, else the paper's."""


@dataclass(frozen=True)
class Images:
    """The prepared images.

    Args:
        size: side of the images in pixels.
        fit: squash to a square (paper), or crop the middle.
        quality: quality of the JPEGs.
    """

    size: int = 256
    fit: Literal["squash", "crop"] = "squash"
    quality: int = 92


def prepare(
    name: DataSetName,
    *,
    source: str,
    output: str,
    splits: list[str] | None = None,
    dialect: DialectName | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    max_bad_share: float = 0.01,
    images: Images,
) -> int:
    """Resize a data set once and write it as shards (Arrow) to train from.

    The same command continues where it stopped.

    Args:
        name: the data set.
        source: its folder, as its owners publish it (docs/data.md), or the URL of one.
        output: folder or URL to write: a new one, or one of an interrupted run.
        splits: other splits than the data set's: ``train,val``; for webdataset also patterns with a name,
            ``train={00000..00999},val={01000..01010}``.
        dialect: dialect of a .csv or .tsv, if the detected one is wrong; unquoted: quotation marks are text.
        workers: processes; by default one per core. With a scheduler, tasks of 32 images at a time.
        scheduler: address of a Dask cluster that encodes the images, such as tcp://10.0.0.1:8786.
        max_bad_share: share of bad records above which preparation stops.

    Examples:
        xmcgan data prepare coco14 --source /path/to/coco --output data/coco14
        xmcgan data prepare table --source mine.tsv --output data/mine --size 128 --dialect tab-unquoted
        xmcgan data prepare webdataset --source s3://bucket/cc12m --output s3://bucket/cc12m-256
        xmcgan data prepare webdataset --source cc12m --output data/cc12m --scheduler tcp://10.0.0.1:8786
    """
    data = chosen_set(name, splits, dialect)
    from xmcgan.data.prepared import prepare as preparing
    from xmcgan.data.readers.sources import count_entries, fingerprint

    folder, is_there = owners_source(source), is_finished(output)
    split_patterns, rules = patterns(data), print_splits(folder, data)
    data = data._replace(splits=tuple(split_patterns))
    with executor_of(scheduler) as (executor, tasks):
        manifest = preparing.prepare(
            folder,
            output,
            name=name,
            layout=data.layout,
            splits=data.splits,
            entries=lambda split: entries(folder, data, split_patterns[split]),
            **asdict(images),
            workers=workers or tasks,
            executor=executor,
            most_bad=max_bad_share,
            total=lambda split: count_entries(folder, data.layout, split_patterns[split], data.dialect),
            fingerprint=fingerprint(folder, data.layout, list(split_patterns.values()), data.dialect),
            rules=rules,
        )
    report(manifest, output, is_there=is_there)
    print(f"prepared in {output}; train from it:\n  {training_command(name, data, output, images.size, images.fit)}")
    return 0


def owners_source(source: str) -> "SourcePath":
    """The place of a source; the output of a preparation is refused."""
    from xmcgan.data.prepared.manifest import is_prepared
    from xmcgan.data.remote import source_path

    if is_prepared(source):
        raise ValueError(f"--source is {source}, which is prepared data; train from it, or name its source")
    return source_path(source)


def is_finished(output: str) -> bool:
    """Whether the output is finished already; an unfinished one is resumed."""
    from xmcgan.data.prepared.manifest import read_manifest

    try:
        return bool(read_manifest(output))
    except (ValueError, OSError):  # nothing is there, or the preparation will report what is wrong with it
        return False


@contextmanager
def executor_of(scheduler: str | None) -> Generator[tuple[Executor | None, int | None]]:
    """The executor of a Dask cluster, and how many tasks it takes at a time; without one, this machine's processes."""
    if scheduler is None:
        yield None, None
        return
    from xmcgan.data.prepared.cluster import dask_executor

    with dask_executor(scheduler) as found:
        yield found


def report(manifest: dict, output: str, *, is_there: bool) -> None:
    """Prints what each split contains."""
    if is_there:
        print(f"{output} was prepared already; nothing was made")
    for split, held in manifest["splits"].items():
        size = held["bytes"]
        space = f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
        print(f"{split}: {held['records']:,} images, {held['captions']:,} captions, {space}; "
              f"problems: {held['problems']:,}")  # fmt: skip
    unused = sum(held.get("unused", 0) for held in manifest["splits"].values())
    if unused or any(held["problems"] for held in manifest["splits"].values()):
        others = f" (and {unused:,} unused files)" if unused else ""
        print(f"every problem{others}, with its place and reason: {output}/problems.jsonl")


def training_command(name: str, data: DataSet, prepared: str, size: int = 256, fit: str = "squash") -> str:
    """The command that trains from a prepared set: its recipe, and the settings that differ."""
    recipe = RECIPE_OF.get(name, SMALL if size == 64 else LARGE)
    known = RECIPES[recipe].dataset
    settings = {"layout": data.layout, "split": data.splits[0], "fit": fit}
    if len(data.splits) > 1:
        settings["validation_split"] = data.splits[1]
    words = ["xmcgan", "train", recipe, "--data", prepared]
    words += ["--output", f"runs/{PurePosixPath(prepared).name}"]
    if size != RECIPES[recipe].image_size:
        words += ["--image-size", str(size)] if size in (64, 128, 256) else ["--dataset.resize", "true"]
    for field, value in settings.items():
        words += [f"--dataset.{field.replace('_', '-')}", value] if value != getattr(known, field) else []
    return shlex.join(words)
