"""Compares the word rules of SOA with the official caption lists, class by class (docs/soa.md).

    python benchmarks/soa_rules.py --lists DIR [--captions captions_val2014.json ...] [--reading lists]

Recall is the share of a class's listed captions in which the rules find the class. Precision is the share of listed
captions among those in which the rules find it. Precision needs every caption that could have been listed: give the
captions of the validation split in COCO's format (.json or .json.gz), or of a subset chosen without regard to captions.
Without --captions the captions of all lists are used, which overestimates precision.

Classes without a list are left out. The list of persons is used in full; only image generation samples 30,000 of it.
The last line repeats the results as JSON.
"""

import argparse
import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

from xmcgan.evaluation.soa_captions import ListedCaption, read_soa_captions
from xmcgan.evaluation.soa_rules import COCO_NAMES, Reading, classes_in


class Agreement(NamedTuple):
    """The result for one class; precision is None if the rules never find it."""

    listed: int
    found: int
    precision: float | None
    recall: float


def read_captions(file: Path) -> set[tuple[int, str]]:
    """Image ids and captions of a COCO captions file."""
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
        return {(entry["image_id"], entry["caption"]) for entry in json.load(stream)["annotations"]}


def agreement(
    lists: Mapping[int, Sequence[ListedCaption]], captions: set[tuple[int, str]], reading: Reading
) -> dict[int, Agreement]:
    """The agreement of each class, by official id. Captions keep their surrounding spaces, as published."""
    listed = {category: {(entry.image_id, entry.caption) for entry in entries} for category, entries in lists.items()}
    named = {caption: classes_in(caption[1], reading=reading) for caption in captions.union(*listed.values())}
    result = {}
    for category, right in listed.items():
        found = {caption for caption in captions if category in named[caption]}
        recalled = sum(category in named[caption] for caption in right)
        precision = len(found & right) / len(found) if found else None
        result[category] = Agreement(len(right), len(found), precision, recalled / len(right))
    return result


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lists", type=Path, required=True, help="folder or JSON file of the official lists")
    parser.add_argument("--captions", type=Path, nargs="+", default=[], help="captions of COCO's validation split")
    parser.add_argument("--reading", choices=get_args(Reading), default="lists")
    options = parser.parse_args()
    lists = read_soa_captions(options.lists, partial=True)
    captions = {caption for file in options.captions for caption in read_captions(file)}
    if not captions:
        captions = {(entry.image_id, entry.caption) for entries in lists.values() for entry in entries}
    result = agreement(lists, captions, options.reading)
    print("| class | listed | found | precision | recall |\n|---|---|---|---|---|")
    for category, (listed, found, precision, recall) in result.items():
        shown = "" if precision is None else f"{precision:.3f}"
        print(f"| {COCO_NAMES[category]} | {listed} | {found} | {shown} | {recall:.3f} |")
    summary = {
        "classes": len(result),
        "captions": len(captions),
        "reading": options.reading,
        "precision": mean([each.precision for each in result.values() if each.precision is not None]),
        "recall": mean([each.recall for each in result.values()]),
    }
    print(f"| mean of {len(result)} | | | {summary['precision']:.4f} | {summary['recall']:.4f} |")
    print(json.dumps(summary | {"by_class": {COCO_NAMES[category]: each for category, each in result.items()}}))


if __name__ == "__main__":
    main()
