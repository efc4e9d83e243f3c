"""The subcommands of ``xmcgan data``: prepare, stats, browse, export."""

import itertools
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from xmcgan.cli.parser import ArgumentParser
from xmcgan.config import suggestion
from xmcgan.recipes import RECIPES


class DataSet(NamedTuple):
    """A data set by the name that a person knows it by."""

    layout: str
    splits: tuple[str, ...]
    max_length: int  # words kept of a caption by the recipes for it


SETS = {
    "coco14": DataSet("coco", ("train2014", "val2014"), 17),
    "ln-coco": DataSet("localized-narratives", ("train2017", "val2017"), 64),
    "ln-openimages": DataSet("localized-narratives", ("train", "validation"), 64),
    "scenes": DataSet("coco", ("train2014", "val2014"), 17),
    "scenes-narratives": DataSet("localized-narratives", ("train2014", "val2014"), 64),
    "scenes-open-images": DataSet("localized-narratives", ("train", "validation"), 64),
    "flowers102": DataSet("flowers102", ("train", "test"), 32),
    "cub200": DataSet("cub200", ("train", "test"), 32),
    "cub200-cropped": DataSet("cub200-cropped", ("train", "test"), 32),
    "flickr8k": DataSet("flickr8k", ("train", "dev"), 24),
    "flickr30k": DataSet("flickr30k", ("train", "val"), 24),
    "folder": DataSet("folder", ("train",), 17),
    "table": DataSet("table", ("train",), 17),
    "webdataset": DataSet("webdataset", ("train",), 17),
}
"""What ``prepare``, ``stats`` and ``browse`` accept; docs/data.md says what the folder of each looks like."""

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


def parser_of(verb: str, about: str) -> ArgumentParser:
    """The options that every command about a data set has."""
    parser = ArgumentParser(prog=f"xmcgan data {verb}", description=about, exit_on_error=False)
    parser.add_argument("name", type=str, help=f"the data set: {', '.join(SETS)}")
    parser.add_argument(
        "--source", type=str, required=True, help="its folder, in its owner's layout, or prepared, which can be a URL"
    )
    parser.add_argument("--splits", type=list[str] | str | None, default=None, help="other splits than the set's: a,b")
    return parser


def chosen_set(name: str, splits: list[str] | str | None) -> DataSet:
    """The data set of that name, with other splits where some are asked for: ``[a, b]``, ``a,b`` or one alone."""
    if isinstance(splits, str):
        splits = [part.strip() for part in splits.split(",")]
    if splits is not None and not all(splits):
        raise ValueError(f"splits is {','.join(splits)!r}; it should be names with commas between, such as train,val")
    if name not in SETS:
        raise ValueError(f"unknown data set {name!r}{suggestion(name, SETS)}")
    return SETS[name]._replace(splits=tuple(splits)) if splits else SETS[name]


def entries(source: str, data: DataSet, split: str) -> Iterator:
    """What a split holds, from the owner's layout or from a prepared folder, with boxes and traces."""
    from xmcgan.data.layouts import read_entries, read_records
    from xmcgan.data.prepared.manifest import is_prepared

    if "://" in source or is_prepared(source):
        return iter(read_records(source, data.layout, split))
    return read_entries(Path(source), data.layout, split, annotations=True)


def say_splits(source: str, data: DataSet) -> None:
    """Prints which rule each split is chosen by, where the layout knows several."""
    from xmcgan.data.prepared.manifest import is_prepared
    from xmcgan.data.readers.sources import describe_split

    if "://" in source or is_prepared(source):
        return
    for split in data.splits:
        if rule := describe_split(Path(source), data.layout, split):
            print(rule)


def prepare_command(arguments: list[str]) -> int:
    """Resizes a data set once and writes it as shards."""
    about = "Resizes every image once and writes shards (Arrow) to train from; the same command goes on where it stood."
    parser = parser_of("prepare", about)
    parser.add_argument("--output", type=Path, required=True, help="folder to write, new or of an interrupted run")
    parser.add_argument("--size", type=int, default=256, help="side of the images in pixels")
    parser.add_argument("--fit", type=str, default="squash", help="squash to a square (paper), or crop the middle")
    parser.add_argument("--quality", type=int, default=92, help="of the JPEGs")
    parser.add_argument("--workers", type=int | None, default=None, help="processes; one for every core unless given")
    parser.add_argument("--max-bad-share", type=float, default=0.01, help="share of bad records above which it stops")
    options = parser.parse_args(arguments)
    data = chosen_set(options.name, options.splits)
    if "://" in options.source:
        raise ValueError(f"{options.source} is a URL; what is prepared is a folder, in its owner's layout")
    from xmcgan.data.prepared.prepare import prepare
    from xmcgan.data.readers.sources import count_entries, fingerprint

    source = Path(options.source)
    say_splits(options.source, data)
    known = fingerprint(source, data.layout, data.splits)
    is_there = (options.output / "manifest.json").is_file()
    manifest = prepare(
        source,
        options.output,
        name=options.name,
        layout=data.layout,
        splits=data.splits,
        entries=lambda split: entries(options.source, data, split),
        size=options.size,
        fit=options.fit,
        quality=options.quality,
        workers=options.workers,
        most_bad=options.max_bad_share,
        total=lambda split: count_entries(source, data.layout, split),
        fingerprint=known,
    )
    if is_there:
        print(f"{options.output} was prepared already; nothing was made")
    for split, held in manifest["splits"].items():
        size = held["bytes"]
        space = f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
        print(f"{split}: {held['records']:,} images, {held['captions']:,} captions, {space}; "
              f"problems: {held['problems']:,}")  # fmt: skip
    if any(held["problems"] for held in manifest["splits"].values()):
        print(f"every problem, with its place and reason: {options.output / 'problems.jsonl'}")
    print(f"prepared in {options.output}; train from it:\n  {training_command(options.name, data, options.output)}")
    return 0


def training_command(name: str, data: DataSet, prepared: Path) -> str:
    """What trains from a prepared set: the recipe for it, and what differs from that."""
    recipe = RECIPE_OF.get(name, "coco14-256")
    known = RECIPES[recipe].dataset
    settings = {"layout": data.layout, "split": data.splits[0]}
    if len(data.splits) > 1:
        settings["validation_split"] = data.splits[1]
    words = ["xmcgan", "train", recipe, "--data", str(prepared), "--output", f"runs/{prepared.name}"]
    for field, value in settings.items():
        words += [f"--dataset.{field}", value] if value != getattr(known, field) else []
    return shlex.join(words)


def stats_command(arguments: list[str]) -> int:
    """The paper's Table 1 for a data set."""
    parser = parser_of("stats", "Counts images, captions, words, tokens and objects: the paper's Table 1, and plots.")
    parser.add_argument("--output", type=Path | None, default=None, help="folder for stats.json and stats.png")
    parser.add_argument("--encoder", type=str, default="minilm", help="whose tokenizer counts tokens (text.encoder)")
    parser.add_argument(
        "--max-length", type=int | None, default=None, help="tokens kept; the set's recipe's unless given"
    )
    options = parser.parse_args(arguments)
    data = chosen_set(options.name, options.splits)
    if options.max_length is not None and options.max_length < 1:
        raise ValueError(f"max_length is {options.max_length}; it should be at least 1")
    max_length = options.max_length or data.max_length
    from tqdm import tqdm

    from xmcgan.data import statistics
    from xmcgan.encoders.text import count_tokens

    say_splits(options.source, data)
    tokens = count_tokens(options.encoder)
    stats = {
        split: statistics.count(
            tqdm(entries(options.source, data, split), desc=split, unit="record", leave=False),
            tokens=tokens,
            max_length=max_length,
        )
        for split in data.splits
    }
    print(statistics.table(stats))
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "stats.json").write_text(statistics.to_json(stats))
        statistics.plot(stats).savefig(options.output / "stats.png", dpi=110)
        print(f"stats.json and stats.png are in {options.output}")
    return 0


def browse_command(arguments: list[str]) -> int:
    """A page of images with their captions, boxes and mouse traces."""
    parser = parser_of("browse", "Makes one HTML page of a data set: images, captions, boxes, mouse traces in time.")
    parser.add_argument("--output", type=Path, required=True, help="the page to write, such as browse.html")
    parser.add_argument("--start", type=int, default=0, help="number of the first record, from 0")
    parser.add_argument("--count", type=int, default=48, help="records on the page")
    options = parser.parse_args(arguments)
    data = chosen_set(options.name, options.splits)
    if options.start < 0 or options.count < 1:
        raise ValueError(f"start is {options.start} and count {options.count}; they should be at least 0 and 1")
    from xmcgan.data.images import open_image
    from xmcgan.data.records import Record
    from xmcgan.pages.dataset import write_browser

    split = data.splits[0]
    if options.output.is_dir():
        raise IsADirectoryError(f"{options.output} is a folder; it should be the page to write, such as browse.html")

    say_splits(options.source, data._replace(splits=(split,)))

    def readable(record: Record) -> bool:
        try:
            open_image(record)
        except ValueError as error:
            print(f"left out: {error}")
            return False
        return True

    good = (entry for entry in entries(options.source, data, split) if isinstance(entry, Record))
    records = list(itertools.islice(filter(readable, itertools.islice(good, options.start, None)), options.count))
    if not records:
        raise ValueError(f"{options.source} has no record {options.start} in {split}")
    page = write_browser(options.output, records, title=f"{options.name}, {split}")
    print(f"{len(records)} records of {split}. Open this page in a browser:\n\n    {page.resolve()}\n")
    return 0


def export_command(arguments: list[str]) -> int:
    """Writes a prepared data set as WebDataset tars."""
    parser = ArgumentParser(
        prog="xmcgan data export",
        description="Writes a split of a prepared folder as WebDataset tars, for other projects.",
        exit_on_error=False,
    )
    parser.add_argument("source", type=Path, help="a folder that xmcgan data prepare made")
    parser.add_argument("--split", type=str, required=True, help="of the prepared folder")
    parser.add_argument("--output", type=Path, required=True, help="folder for the tars")
    options = parser.parse_args(arguments)
    from xmcgan.data.prepared.export import export_webdataset
    from xmcgan.data.prepared.manifest import is_prepared

    if not is_prepared(options.source):
        raise ValueError(f"{options.source} is no prepared folder; make one of the set: xmcgan data prepare")
    tars = export_webdataset(options.source, options.split, options.output)
    print(f"{len(tars)} tars of {options.split} are in {options.output}")
    return 0


VERBS: dict[str, tuple[Callable[[list[str]], int], str]] = {
    "prepare": (prepare_command, "resize a data set once and write shards to train from"),
    "stats": (stats_command, "count it: the paper's Table 1"),
    "browse": (browse_command, "a page of images, captions, boxes and mouse traces"),
    "export": (export_command, "write a prepared folder as WebDataset tars"),
}


def data_command(arguments: list[str]) -> int:
    """Prepares, counts, shows and exports data sets."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: xmcgan data VERB ...\n")
        print("\n".join(f"  {name:<10} {about}" for name, (_, about) in VERBS.items()))
        print("\n`xmcgan data VERB --help` says more.")
        return 0 if arguments else 2
    if arguments[0] not in VERBS:
        raise ValueError(f"unknown verb {arguments[0]!r}{suggestion(arguments[0], VERBS)}")
    command, _ = VERBS[arguments[0]]
    return command(arguments[1:])
