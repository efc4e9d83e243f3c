"""``xmcgan train-dual-encoder`` and ``xmcgan train-evaluators``."""

import sys
from dataclasses import fields
from pathlib import Path

from xmcgan.cli.parser import ArgumentParser


def train_dual_encoder_command(arguments: list[str]) -> int:
    """Trains a dual encoder on captioned images, or goes on with it."""
    from xmcgan.evaluation.networks.dual_encoder import DualEncoderShape
    from xmcgan.training.evaluators.fitting import Fitting

    parser = ArgumentParser(
        prog="xmcgan train-dual-encoder",
        description="Trains a dual encoder of images and captions from scratch, for R-precision: on a captions table "
        "such as that of Conceptual Captions, or on another layout. The same command again goes on where it stood.",
        exit_on_error=False,
    )
    parser.add_argument("--data", type=str, required=True, help="folder or URL of the images and their captions")
    parser.add_argument("--output", type=Path, required=True, help="folder to write, new or of an interrupted training")
    parser.add_argument("--layout", type=str, default="table", help="table, folder, coco, localized-narratives or "
                        "webdataset (docs/data.md)")  # fmt: skip
    parser.add_argument("--split", type=str, default="train", help="what is trained on: a table's name, train2014, ...")
    parser.add_argument("--held-out", type=int, default=2000, help="random images of the split to measure with instead")
    parser.add_argument(
        "--candidates", type=int, default=100, help="captions among which an image's own is to be found"
    )
    parser.add_argument(
        "--vocabulary", type=int, default=20_000, help="words in the vocabulary, the most frequent of the captions"
    )
    parser.add_argument("--exchanged", type=list[list[str]], default=[], help="kinds of words, one put for another to "
                        "make mistakes that an image shows: '[[left, right], [red, green, blue]]'")  # fmt: skip
    parser.add_class_arguments(DualEncoderShape)
    parser.add_class_arguments(Fitting)
    values = parser.parse_args(arguments).as_dict()
    shape = DualEncoderShape(**{field.name: values[field.name] for field in fields(DualEncoderShape)})
    fitting = Fitting(**{field.name: values[field.name] for field in fields(Fitting)})
    output = Path(values["output"])

    from xmcgan.data.layouts import READERS, read_records
    from xmcgan.training.evaluators.dual_encoder import train_dual_encoder
    from xmcgan.training.evaluators.fitting import hold_out

    if values["layout"] not in READERS:
        raise ValueError(f"layout is {values['layout']!r}; it can be {', '.join(READERS)}")
    records = read_records(values["data"], values["layout"], values["split"])
    kept, held_out = hold_out(records, values["held_out"], seed=fitting.seed)
    print(f"{len(kept):,} images to train on and {len(held_out):,} held out; in {output}", flush=True)
    try:
        measured = train_dual_encoder(
            output,
            kept,
            held_out,
            shape=shape,
            fitting=fitting,
            vocabulary=values["vocabulary"],
            exchanged=values["exchanged"],
            candidates=values["candidates"],
        )
    except FloatingPointError as error:
        print(f"xmcgan: training stopped at {error}", file=sys.stderr)
        return 3
    print(
        f"of captions of images held out, {measured['retrieval_top1']:.1%} are nearer to their image than "
        f"{measured['candidates'] - 1} of other images\njudge with it: xmcgan evaluate --encoder {output} ..."
    )
    return 0


def train_evaluators_command(arguments: list[str]) -> int:
    """Makes the evaluators of Scenes that come with the package anew."""
    parser = ArgumentParser(
        prog="xmcgan train-evaluators",
        description="Draws the third split of Scenes and trains the dual encoder and the presence model that come with "
        "the package (docs/evaluators.md). The same command again goes on where it stood.",
        exit_on_error=False,
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write, new or of an interrupted training")
    options = parser.parse_args(arguments)
    from xmcgan.training.evaluators.scenes import train_scenes_evaluators

    for world, measured in train_scenes_evaluators(options.output).items():
        presence = measured["presence"]
        print(
            f"{world}: retrieval {measured['retrieval_top1']:.1%} top 1 of 100; presence of the worst category "
            f"{presence['accuracy_least']:.1%}, balanced {presence['balanced_least']:.1%}, all {presence['exact']:.1%}"
        )
    print(f"scenes-dual-encoder and scenes-presence are in {options.output}")
    return 0
