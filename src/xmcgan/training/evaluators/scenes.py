"""Train the evaluators of Scenes that ship with the package."""

from pathlib import Path
from typing import Any

from xmcgan.data.layouts import read_records
from xmcgan.data.records import Record
from xmcgan.evaluation.networks.dual_encoder import DualEncoderShape, load_dual_encoder_folder
from xmcgan.evaluation.networks.presence import PresenceShape, load_presence_folder
from xmcgan.evaluation.networks.probes import mistakes_detected
from xmcgan.evaluation.networks.scene_detector import SceneDetectorShape, load_scene_detector_folder
from xmcgan.runtime.files import write_json
from xmcgan.scenes import COLOURS, KINDS, World, sample_scene, write_scenes
from xmcgan.training.evaluators.dual_encoder import retrieval_accuracy, train_dual_encoder
from xmcgan.training.evaluators.fitting import Fitting
from xmcgan.training.evaluators.presence import presence_accuracy, train_presence
from xmcgan.training.evaluators.scene_detector import Labelled, detection_accuracy, train_scene_detector

SCENES_SIZE = 64

SCENES_DRAWN: dict[str, tuple[World, int, int]] = {
    "default": (World(), 30_000, 2_000),
    "sided": (World(sides=0.5, largest=0.6), 10_000, 1_000),
    "few": (World(most_objects=2), 0, 1_000),
}
"""Worlds, with the number of scenes for training and for evaluation. Sides rarely distinguish captions of the default
world, so ``sided`` mentions them often; ``few`` has few objects, for short demo runs."""

DETECTOR_DRAWN = {
    "default": SCENES_DRAWN["default"],
    "two-sided": (World(most_objects=2, sides=1.0), 0, 1_000),
}
"""The same for the detector; ``two-sided`` is the world that scenes-64 was trained on."""

SCENES_ENCODER = DualEncoderShape(width=24, words=24)

SCENES_EXCHANGED = (
    ("left", "right"),
    ("above", "below"),
    ("two", "three", "four"),
    COLOURS,
    ("car", "bus", "truck", "bench", "umbrella", "sheep"),
    ("cars", "buses", "trucks", "benches", "umbrellas"),
    ("bird", "kite", "plane"),
    ("birds", "kites", "planes"),
    ("cup", "banana", "donut", "cake", "clock", "vase"),
    ("cups", "bananas", "donuts", "cakes", "clocks", "vases"),
)
"""Words that are plausible in each other's place, so that the text alone does not reveal a hard negative."""

SCENES_ENCODER_FITTING = Fitting(steps=1000, batch_size=192, warmup=100, save_every=50)

SCENES_PRESENCE_FITTING = Fitting(steps=3000, batch_size=128, learning_rate=2e-3, warmup=100, save_every=50)

SCENES_DETECTOR_FITTING = Fitting(
    steps=900, batch_size=64, learning_rate=3e-3, warmup=50, shift=0, precision="float32", save_every=50
)


def train_scenes_evaluators(output: Path, *, workers: int | None = None, progress: bool = True) -> dict[str, Any]:
    """Write the ``evaluator`` split of Scenes and train the evaluators that ship with the package.

    Writes ``scenes-dual-encoder``, ``scenes-presence``, ``scenes-detector`` and ``measured.json`` under ``output``,
    next to the data. Scenes depend only on seed, split and number, so generators never train or sample on scenes of
    this split.

    Returns:
        accuracies in each world of SCENES_DRAWN, the content of ``measured.json``.
    """
    folders = {}
    for name, (world, images, held_out) in SCENES_DRAWN.items():
        folders[name] = write_scenes(
            output / f"scenes-{name}",
            size=SCENES_SIZE,
            train=0,
            val=held_out,
            evaluator=images,
            world=world,
            workers=workers,
            progress=progress,
        )
    records = [
        record
        for name, (_, images, _) in SCENES_DRAWN.items()
        if images
        for record in scenes_records(folders[name], "evaluator2014")
    ]
    held_out = scenes_records(folders["default"], "val2014")
    train_presence(
        output / "scenes-presence",
        records,
        held_out,
        shape=PresenceShape({kind.name: kind.id for kind in KINDS.values()}),
        fitting=SCENES_PRESENCE_FITTING,
        progress=progress,
    )
    train_dual_encoder(
        output / "scenes-dual-encoder",
        records,
        held_out,
        shape=SCENES_ENCODER,
        fitting=SCENES_ENCODER_FITTING,
        exchanged=SCENES_EXCHANGED,
        progress=progress,
    )
    encoder = load_dual_encoder_folder(output / "scenes-dual-encoder")
    presence = load_presence_folder(output / "scenes-presence")
    measured = {}
    for name, (world, _, _) in SCENES_DRAWN.items():
        others = scenes_records(folders[name], "val2014")
        measured[name] = {
            "retrieval_top1": round(retrieval_accuracy(encoder, others), 4),
            "mistakes_told": {kind: round(share, 4) for kind, share in mistakes_detected(encoder, world).items()},
            "presence": presence_accuracy(presence, others).rounded(),
        }
    for name, found in train_scenes_detector(output, workers=workers, progress=progress).items():
        measured.setdefault(name, {})["detector"] = found
    write_json(output / "measured.json", measured, indent=1, ensure_ascii=False)
    return measured


def train_scenes_detector(output: Path, *, workers: int | None = None, progress: bool = True) -> dict[str, Any]:
    """Write the ``evaluator`` split of the worlds in DETECTOR_DRAWN and train ``scenes-detector`` under ``output``.

    Returns:
        accuracies on the validation split of each world.
    """
    labelled: list[Labelled] = []
    held_out: dict[str, list[Labelled]] = {}
    for name, (world, images, others) in DETECTOR_DRAWN.items():
        folder = write_scenes(
            output / f"scenes-{name}",
            size=SCENES_SIZE,
            train=0,
            val=others,
            evaluator=images,
            world=world,
            workers=workers,
            progress=progress,
        )
        labelled += labelled_scenes(folder, "evaluator", world) if images else []
        held_out[name] = labelled_scenes(folder, "val", world)
    train_scene_detector(
        output / "scenes-detector",
        labelled,
        held_out["default"],
        shape=SceneDetectorShape({kind.name: kind.id for kind in KINDS.values()}, COLOURS),
        fitting=SCENES_DETECTOR_FITTING,
        progress=progress,
    )
    detector = load_scene_detector_folder(output / "scenes-detector")
    return {name: detection_accuracy(detector, others) for name, others in held_out.items()}


def labelled_scenes(folder: Path, split: str, world: World) -> list[Labelled]:
    """The records of a split of Scenes that was written with seed 0, each with its scene."""
    records = scenes_records(folder, f"{split}2014")
    return [Labelled(record, sample_scene(0, split, index, world)) for index, record in enumerate(records)]


def scenes_records(folder: Path, split: str) -> list[Record]:
    """Read the records of a split of Scenes, with boxes."""
    return list(read_records(folder, "coco", split, annotations=True))
