"""``xmcgan train-dual-encoder``."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xmcgan.config import DialectName, Layout
from xmcgan.evaluation.networks.shapes import DualEncoderShape
from xmcgan.runtime.progress import say
from xmcgan.training.evaluators.settings import Fitting

if TYPE_CHECKING:
    from xmcgan.data.images import ImageTransform
    from xmcgan.data.records import Record


def train_dual_encoder(
    *,
    data: str,
    output: Path,
    layout: Layout = "table",
    dialect: DialectName | None = None,
    split: str = "train",
    held_out: int = 2000,
    candidates: int = 100,
    vocabulary: int = 20_000,
    exchanged: list[list[str]] | None = None,
    resize: bool = False,
    shape: DualEncoderShape,
    fitting: Fitting,
) -> int:
    """Train your own dual encoder of images and captions, for R-precision.

    It trains from scratch, or with ``--image-network`` on the features of a frozen network, on a table of captions such
    as Conceptual Captions, or on another layout. Repeat the command to resume.

    Args:
        data: folder or URL of the images and their captions.
        output: folder to write: a new one, or one of an interrupted training.
        layout: layout of the data (docs/data.md).
        dialect: dialect of a .csv or .tsv, if the detected one is wrong; unquoted: quotation marks are text.
        split: split to train on: a table's name, train2014, ...
        held_out: number of random images of the split that are not trained on, but used to measure accuracy.
        candidates: number of captions among which an image's own is to be found.
        vocabulary: number of words in the vocabulary: the most frequent ones in the captions.
        exchanged: groups of words that replace each other to make captions that do not fit the image:
            ``[left,right],[red,green,blue]``.
        resize: also accept data prepared for another size or fit, and resize it again; refused otherwise.

    Examples:
        xmcgan train-dual-encoder --data /path/to/conceptual-captions --output networks/cc
    """
    from xmcgan.data.images import ImageTransform
    from xmcgan.training.evaluators import dual_encoder
    from xmcgan.training.evaluators.fitting import hold_out

    transform = None if resize else ImageTransform(shape.image_size, fitting.fit)
    kept, others = hold_out(readable_records(data, layout, split, dialect, transform), held_out, seed=fitting.seed)
    say(f"{len(kept):,} images to train on and {len(others):,} held out; in {output}")
    try:
        measured = dual_encoder.train_dual_encoder(
            output,
            kept,
            others,
            shape=shape,
            fitting=fitting,
            vocabulary=vocabulary,
            exchanged=exchanged or [],
            candidates=candidates,
        )
    except FloatingPointError as error:
        print(f"xmcgan: training stopped at {error}", file=sys.stderr)
        return 3
    report(measured, output)
    return 0


def report(measured: dict, output: Path) -> None:
    """Prints how often held-out captions were found, and how to use the encoder."""
    print(
        f"for {measured['retrieval_top1']:.1%} of the held-out images, their own caption is nearer than "
        f"{measured['candidates'] - 1} of other images\nevaluate with it: xmcgan evaluate --encoder {output} ..."
    )


def readable_records(
    data: str, layout: str, split: str, dialect: DialectName | None, transform: "ImageTransform | None"
) -> "Sequence[Record]":
    """The records; with a transform, records prepared for another size or fit are refused."""
    from xmcgan.data.layouts import read_records
    from xmcgan.data.stream import check_prepared_for

    records = read_records(data, layout, split, dialect=dialect)
    if transform is not None:
        check_prepared_for(records, transform, size="--image-size", fit="--fit", resize="--resize true")
    return records
