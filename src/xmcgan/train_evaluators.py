"""Training of the evaluators: a dual encoder on any captioned images, and both evaluators of Scenes in one go.

Everything random is a function of the seed and of the step, so a training that was stopped goes on from what it saved
last and, on the same machine with as many threads, ends in the same bits. A folder is an evaluator once it has its
``config.json``, which is written last.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam, AdamW
from tqdm import tqdm

from xmcgan import __version__
from xmcgan.checkpoint import adam_state, load_adam_state, read_json, tensors
from xmcgan.data.captions import ExampleBatch, ExampleStream, Fit, ImageTransform, load_batches, random, to_images
from xmcgan.data.layouts import read_records
from xmcgan.data.records import Record
from xmcgan.data.scenes import COLOURS, KINDS, World, write_scenes
from xmcgan.device import keep_freed_memory, resolve_device
from xmcgan.evaluators.dual_encoder import (
    PADDING,
    DualEncoderNetwork,
    DualEncoderShape,
    Exchange,
    TrainedDualEncoder,
    Vocabulary,
    load_dual_encoder_folder,
)
from xmcgan.evaluators.folder import CONFIG_FILE, WEIGHTS_FILE, read_folder
from xmcgan.evaluators.image_network import CHUNK
from xmcgan.evaluators.presence import PresenceModel, PresenceShape, load_presence_folder, presence_network
from xmcgan.evaluators.probes import mistakes_told
from xmcgan.evaluators.weight_files import weights_sha256
from xmcgan.losses import cross_entropy_both_ways

TRAINING_FILE = "training.safetensors"
SETTINGS_FILE = "settings.json"
LOG_FILE = "log.jsonl"

SHIFT, HELD_OUT, MISMATCHED, EXCHANGED = 4, 5, 6, 7
"""Uses of random numbers, beside those of data.captions."""


@dataclass(frozen=True)
class Fitting:
    """How an evaluator is trained: AdamW, its rate warmed up and then lowered to 0 along a cosine.

    Args:
        steps: of a batch each.
        batch_size: pairs in a batch; each has all the others as its negatives.
        learning_rate: the highest.
        weight_decay: of AdamW, on matrices and kernels alone.
        warmup: steps until the highest rate.
        shift: each batch is moved by up to so many pixels to every side, which holds back learning by heart.
        flip: mirrors every second image. Off where captions tell left from right.
        fit: ``squash`` images to a square, or ``crop`` the middle.
        precision: in which the image network computes, float32 or bfloat16 (twice as fast on most CPUs).
        save_every: steps between what an interrupted training goes on from.
        seed: of everything random.
        workers: processes that decode images; 0 decodes in this one.
        device: auto, cpu, cuda, ...
    """

    steps: int = 3000
    batch_size: int = 256
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    warmup: int = 200
    shift: int = 2
    flip: bool = False
    fit: Fit = "squash"
    precision: str = "bfloat16"
    save_every: int = 250
    seed: int = 0
    workers: int = 1
    device: str = "auto"

    def __post_init__(self):
        for name in ("steps", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it should be at least 1")
        for name in ("warmup", "shift", "workers", "weight_decay", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it should be at least 0")
        if self.batch_size < 2:
            raise ValueError(f"batch_size is {self.batch_size}; a contrastive loss needs at least 2 pairs")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate is {self.learning_rate}; it should be a positive number")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision is {self.precision!r}; it can be float32 or bfloat16")


MAY_CHANGE = ("workers", "device", "save_every")
"""Settings of a training that may be other ones when it goes on."""


def train_dual_encoder(
    output: Path,
    records: Sequence[Record],
    held_out: Sequence[Record],
    *,
    shape: DualEncoderShape,
    fitting: Fitting,
    vocabulary: int = 20_000,
    exchanged: Sequence[Sequence[str]] = (),
    candidates: int = 100,
    progress: bool = True,
) -> dict[str, Any]:
    """Trains a dual encoder with symmetric InfoNCE (CLIP's loss) and measures it on images that it has not seen.

    Writes ``weights.safetensors`` (float16 matrices), ``config.json`` (networks, vocabulary, training, retrieval
    accuracy) and ``log.jsonl`` under ``output``; a finished one of the same settings and data is left as it is.

    Args:
        records: what is trained on.
        held_out: other images, at least as many as ``candidates``.
        vocabulary: the most words that are told apart, the commonest of the captions.
        exchanged: kinds of words, such as left and right. With them each caption is also told from itself with one word
            put for another of its kind: see :class:`Exchange`.
        candidates: captions among which that of an image is to be found.

    Returns:
        what was measured: ``retrieval_top1``, ``candidates``, and how many ``images`` were held out.

    Raises:
        ValueError: if there are too few images, or ``output`` holds something else; it says what.
    """
    check_counts(records, held_out, fitting, candidates)
    words = Vocabulary.of((caption for record in records for caption in record.captions), most=vocabulary)
    settings = {
        "kind": "dual-encoder",
        "shape": asdict(shape),
        "fitting": asdict(fitting),
        "candidates": candidates,
        "most_words": vocabulary,
        "exchanged": [list(kind) for kind in exchanged],
        "data": data_of(records),
        "held_out": data_of(held_out),
    }
    exchange = Exchange(exchanged, words)
    if already_there(output, settings):
        return read_folder(output, "dual-encoder")["measured"]
    torch.manual_seed(fitting.seed)
    network = DualEncoderNetwork(shape, len(words))

    def loss_of(images_B3HW: Tensor, batch: ExampleBatch) -> Loss:
        words_BT = words(batch.captions, length=shape.words)
        words_BT = words_BT[:, (words_BT != PADDING).any(0)]
        with half_precision(fitting, images_B3HW.device):
            images_BF = network.image(images_B3HW)
        # The text network's matrices are so small that half precision would not speed them up.
        scores_BB = network.scores(images_BF.float(), network.text(words_BT.to(images_B3HW.device)))
        contrast = cross_entropy_both_ways(scores_BB)
        if not exchanged:
            return Loss(contrast.loss, contrast.accuracy)
        generators = [random(fitting.seed, EXCHANGED, number) for number in batch.numbers]
        wrong_BT = exchange(words_BT, generators)
        wrong_BB = network.scores(images_BF.float(), network.text(wrong_BT.to(images_B3HW.device)))
        has_mistake_B = (wrong_BT != words_BT).any(1).to(images_B3HW.device)
        mistaken_B = F.softplus(wrong_BB.diagonal() - scores_BB.diagonal()) * has_mistake_B
        return Loss(contrast.loss + mistaken_B.mean(), contrast.accuracy)

    optimise(network, loss_of, records, shape.image_size, fitting, output, progress=progress)
    sha256 = save_weights(network, output)
    encoder = TrainedDualEncoder(network, shape, words, name=output.name, sha256=sha256)
    found = retrieval_accuracy(encoder, held_out, candidates=candidates, fit=fitting.fit, seed=fitting.seed)
    measured = {"retrieval_top1": round(found, 4), "candidates": candidates, "images": len(held_out)}
    finish(output, settings | {"vocabulary": words.words, "weights_sha256": sha256, "measured": measured})
    return read_folder(output, "dual-encoder")["measured"]


def train_presence(
    output: Path,
    records: Sequence[Record],
    held_out: Sequence[Record],
    *,
    shape: PresenceShape,
    fitting: Fitting,
    progress: bool = True,
) -> dict[str, Any]:
    """Trains a presence model: of each category, whether it is seen in an image (binary cross entropy).

    Writes the same files as :func:`train_dual_encoder`.

    Args:
        records: with boxes, whose categories are those of ``shape``.
        held_out: other images, with boxes; each category is in some of them and not in all.

    Returns:
        what was measured: see :class:`PresenceAccuracy`.

    Raises:
        ValueError: if there are too few images, a box is of another category, a category cannot be measured, or
            ``output`` holds something else.
    """
    check_counts(records, held_out, fitting, 1)
    present_in(held_out, shape)
    settings = {
        "kind": "presence",
        "shape": asdict(shape),
        "fitting": asdict(fitting),
        "data": data_of(records),
        "held_out": data_of(held_out),
    }
    if already_there(output, settings):
        return read_folder(output, "presence")["measured"]
    torch.manual_seed(fitting.seed)
    network = presence_network(shape)

    def loss_of(images_B3HW: Tensor, batch: ExampleBatch) -> Loss:
        present_BC = targets(batch.captions, shape).to(images_B3HW.device)
        with half_precision(fitting, images_B3HW.device):
            logits_BC = network(images_B3HW)
        logits_BC = logits_BC.float()
        right = ((logits_BC > 0) == present_BC.bool()).all(1).float().mean()
        return Loss(F.binary_cross_entropy_with_logits(logits_BC, present_BC), right)

    labelled = [as_labels(record, shape) for record in records]
    optimise(network, loss_of, labelled, shape.image_size, fitting, output, progress=progress)
    sha256 = save_weights(network, output)
    detector = PresenceModel(network, shape, name=output.name, sha256=sha256)
    measured = presence_accuracy(detector, held_out, fit=fitting.fit).rounded() | {"images": len(held_out)}
    finish(output, settings | {"weights_sha256": sha256, "measured": measured})
    return read_folder(output, "presence")["measured"]


SEPARATOR = "\n"


def as_labels(record: Record, shape: PresenceShape) -> Record:
    """The record with one caption: the names of the categories seen in it, a line each.

    So labels go through the same stream of examples as captions do.

    Raises:
        ValueError: naming the record, if a box is of no category of the shape.
    """
    names = sorted({box.category for box in record.boxes})
    unknown = [name for name in names if name not in shape.categories]
    if unknown:
        raise ValueError(f"record {record.id} has a box of {unknown[0]!r}, which is none of the model's categories")
    return record._replace(captions=(SEPARATOR.join(names),))


def present_in(records: Sequence[Record], shape: PresenceShape) -> Tensor:
    """present_NC, bool: which categories each record has a box of.

    Raises:
        ValueError: naming a category that no record or every record has: a model could not be wrong, or not be right.
    """
    present_NC = targets([as_labels(record, shape).captions[0] for record in records], shape).bool()
    for name, count in zip(shape.categories, present_NC.sum(0).tolist(), strict=True):
        if count in (0, len(records)):
            raise ValueError(f"{name} is in {count} of the {len(records)} images to measure with")
    return present_NC


def targets(labels: Sequence[str], shape: PresenceShape) -> Tensor:
    """present_BC, 1 where a category is named and 0 elsewhere, float32."""
    names = list(shape.categories)
    present_BC = torch.zeros(len(labels), len(names))
    for row, label in zip(present_BC, labels, strict=True):
        for name in filter(None, label.split(SEPARATOR)):
            row[names.index(name)] = 1
    return present_BC


def check_counts(records: Sequence[Record], held_out: Sequence[Record], fitting: Fitting, candidates: int) -> None:
    """Refuses what is too little to train on or to measure with.

    Raises:
        ValueError: saying which, and how many there should be.
    """
    if candidates < 1:
        raise ValueError(f"candidates is {candidates}; it should be at least 1")
    if len(records) < fitting.batch_size:
        raise ValueError(f"{len(records)} images to train on are fewer than a batch of {fitting.batch_size}")
    if len(held_out) < candidates:
        raise ValueError(f"{len(held_out)} images are held out; it should be at least {candidates}")


def split_off(records: Sequence[Record], count: int, *, seed: int) -> tuple[list[Record], list[Record]]:
    """Records to train on, and ``count`` random ones to hold out, each in their order.

    Raises:
        ValueError: if there are not more than ``count``.
    """
    if not 1 <= count < len(records):
        raise ValueError(
            f"held_out is {count}; it should be 1 to {len(records) - 1}, as there are {len(records)} images"
        )
    chosen = set(random(seed, HELD_OUT, 0).permutation(len(records))[:count].tolist())
    kept = [record for number, record in enumerate(records) if number not in chosen]
    return kept, [records[number] for number in sorted(chosen)]


# What is measured


def retrieval_accuracy(
    encoder: TrainedDualEncoder, records: Sequence[Record], *, candidates: int = 100, fit: Fit = "squash", seed: int = 0
) -> float:
    """How often a caption of an image is nearer to it than captions of other images, all captions asked once.

    Each is put beside ``candidates - 1`` captions, one each of random other images. Several may be true of the image,
    as captions leave things unsaid: 1 is out of reach.
    """
    transform = ImageTransform(encoder.shape.image_size, fit)
    images_NF = torch.cat([encoder.encode_images(pixels_of(batch, transform)) for batch in batched(records)])
    captions_MF = encoder.encode_captions([caption for record in records for caption in record.captions])
    counts = np.array([len(record.captions) for record in records])
    first = np.concatenate([[0], counts.cumsum()[:-1]])
    right, generator = 0, random(seed, MISMATCHED, 0)
    for number, image_F in enumerate(images_NF):
        scores_M = captions_MF @ image_F
        for own in range(first[number], first[number] + counts[number]):
            others = generator.choice(len(records) - 1, candidates - 1, replace=False)
            others += others >= number
            others = first[others] + generator.integers(counts[others])
            right += bool((scores_M[own] > scores_M[others]).all())
    return right / len(captions_MF)


def batched(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """So many records at a time as a network takes in one forward pass."""
    return (records[start : start + CHUNK] for start in range(0, len(records), CHUNK))


def pixels_of(records: Sequence[Record], transform: ImageTransform) -> Tensor:
    """Their images as uint8 pixels (B, 3, size, size)."""
    return torch.stack([transform(record) for record in records])


class PresenceAccuracy(NamedTuple):
    """How right a presence model is.

    ``balanced`` is a category's mean of two shares: of the images with it in which it is found, and of those without it
    in which it is not. So a category that is rare counts no more when it is never found.
    """

    accuracy: dict[str, float]  # of each category: the share of images in which it is rightly found or not found
    balanced: dict[str, float]  # of each category
    exact: float  # share of images of which every category is right

    def rounded(self) -> dict[str, Any]:
        """The least and the mean of the categories, and the rest, to four digits."""
        kinds = {"accuracy": self.accuracy, "balanced": self.balanced}
        found: dict[str, Any] = {"exact": round(self.exact, 4)}
        for name, values in kinds.items():
            least = min(values, key=lambda category: values[category])
            found[f"{name}_mean"] = round(float(np.mean(list(values.values()))), 4)
            found[f"{name}_least"], found[f"{name}_least_of"] = round(values[least], 4), least
        for name, values in kinds.items():
            found[name] = {category: round(value, 4) for category, value in values.items()}
        return found


def presence_accuracy(model: PresenceModel, records: Sequence[Record], *, fit: Fit = "squash") -> PresenceAccuracy:
    """Measured on records with boxes; what :func:`present_in` refuses is refused."""
    shape = model.shape
    present_NC = present_in(records, shape)
    transform = ImageTransform(shape.image_size, fit)
    found = [ids for batch in batched(records) for ids in model(pixels_of(batch, transform))]
    found_NC = torch.tensor([[id in ids for id in shape.categories.values()] for ids in found])
    right_NC = found_NC == present_NC
    accuracy, balanced = {}, {}
    for column, name in enumerate(shape.categories):
        present, right = present_NC[:, column], right_NC[:, column].float()
        accuracy[name] = right.mean().item()
        balanced[name] = (right[present].mean().item() + right[~present].mean().item()) / 2
    return PresenceAccuracy(accuracy, balanced, right_NC.all(1).float().mean().item())


# Both evaluators of Scenes

SCENES_SIZE = 64
SCENES_DRAWN: dict[str, tuple[World, int, int]] = {
    "default": (World(), 30_000, 2_000),
    "sided": (World(sides=0.5, largest=0.6), 10_000, 1_000),
    "few": (World(most_objects=2), 0, 1_000),
}
"""Worlds, and how many scenes of each are drawn to train on and to measure with. In the default one a side is seldom
what tells two captions apart, so there is one that names sides often; few objects are what a short demo learns."""

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
"""Words that could stand in each other's place in a picture, so that the words alone do not give a mistake away."""

SCENES_ENCODER_FITTING = Fitting(steps=1000, batch_size=192, warmup=100, save_every=50)
SCENES_PRESENCE_FITTING = Fitting(steps=3000, batch_size=128, learning_rate=2e-3, warmup=100, save_every=50)


def train_scenes_evaluators(output: Path, *, workers: int | None = None, progress: bool = True) -> dict[str, Any]:
    """Draws the third split of Scenes and trains the two evaluators that ship with the package.

    Writes ``scenes-dual-encoder``, ``scenes-presence`` and ``measured.json`` under ``output``, beside the data. Scenes
    are a function of seed, split and number, so that no generator is trained or asked with one of the third split.

    Returns:
        what was measured in each world of SCENES_DRAWN, as ``measured.json`` has it.
    """
    drawn = {}
    for name, (world, images, held_out) in SCENES_DRAWN.items():
        drawn[name] = write_scenes(
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
        for record in scenes_records(drawn[name], "evaluator2014")
    ]
    held_out = scenes_records(drawn["default"], "val2014")
    categories = {kind.name: kind.id for kind in KINDS.values()}
    train_presence(
        output / "scenes-presence",
        records,
        held_out,
        shape=PresenceShape(categories),
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
        others = scenes_records(drawn[name], "val2014")
        measured[name] = {
            "retrieval_top1": round(retrieval_accuracy(encoder, others), 4),
            "mistakes_told": {kind: round(share, 4) for kind, share in mistakes_told(encoder, world).items()},
            "presence": presence_accuracy(presence, others).rounded(),
        }
    write_json(output / "measured.json", measured)
    return measured


def scenes_records(folder: Path, split: str) -> list[Record]:
    """The records of a split of Scenes, with boxes."""
    return list(read_records(folder, "coco", split, annotations=True))


# The loop


class Loss(NamedTuple):
    """What is minimised, and the share of a batch that came out right."""

    loss: Tensor
    accuracy: Tensor


def optimise(
    network: nn.Module,
    loss_of: Callable[[Tensor, ExampleBatch], Loss],
    records: Sequence[Record],
    image_size: int,
    fitting: Fitting,
    output: Path,
    *,
    progress: bool,
) -> None:
    """Trains a network to the last step, going on from what was saved under ``output``; leaves it on the CPU.

    Raises:
        FloatingPointError: naming the step, if the loss is not finite.
    """
    device = resolve_device(fitting.device)
    if device.type == "cpu":
        keep_freed_memory()
    network.to(device).to(memory_format=torch.channels_last).train()
    optimizer = AdamW(parameter_groups(network, fitting.weight_decay), lr=fitting.learning_rate, fused=True)
    step = restore(network, optimizer, output / TRAINING_FILE)
    stream = ExampleStream(
        records, ImageTransform(image_size, fitting.fit), seed=fitting.seed, flip=fitting.flip, traces=False
    )
    batches = load_batches(
        stream, start=step * fitting.batch_size, batch_size=fitting.batch_size, workers=fitting.workers
    )
    forget_after(output / LOG_FILE, step)
    bar = tqdm(
        total=fitting.steps, initial=step, unit="step", desc=output.name, dynamic_ncols=True, disable=not progress
    )
    with bar:
        while step < fitting.steps:
            batch = next(batches)
            for group in optimizer.param_groups:
                group["lr"] = rate(step, fitting)
            images = shifted(batch.pixels.to(device), step, fitting)
            loss, accuracy = loss_of(to_images(images).contiguous(memory_format=torch.channels_last), batch)
            if not loss.isfinite():
                raise FloatingPointError(f"step {step}: the loss is {loss.item()}; try a lower learning_rate")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            step += 1
            if step % 25 == 0 or step == fitting.steps:
                values = {"loss": round(loss.item(), 4), "accuracy": round(accuracy.item(), 4)}
                bar.set_postfix(values)
                with (output / LOG_FILE).open("a") as file:
                    file.write(json.dumps({"step": step, **values}) + "\n")
            if step % fitting.save_every == 0 or step == fitting.steps:
                save_training(network, optimizer, step, output / TRAINING_FILE)
            bar.update()
    network.to("cpu")


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices and kernels, which decay, and biases, norms and the temperature, which do not."""
    decaying = [parameter for parameter in network.parameters() if parameter.dim() > 1]
    others = [parameter for parameter in network.parameters() if parameter.dim() <= 1]
    return [{"params": decaying, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def rate(step: int, fitting: Fitting) -> float:
    """The learning rate of a step."""
    warm = min(1.0, (step + 1) / (fitting.warmup + 1))
    return fitting.learning_rate * warm * (1 + math.cos(math.pi * step / fitting.steps)) / 2


def shifted(pixels_B3HW: Tensor, step: int, fitting: Fitting) -> Tensor:
    """A batch moved by a random number of pixels; the edges are repeated."""
    if not fitting.shift:
        return pixels_B3HW
    down, right = random(fitting.seed, SHIFT, step).integers(2 * fitting.shift + 1, size=2).tolist()
    height, width = pixels_B3HW.shape[2:]
    padded = F.pad(pixels_B3HW.float(), (fitting.shift,) * 4, mode="replicate")
    return padded[:, :, down : down + height, right : right + width]


def half_precision(fitting: Fitting, device: torch.device) -> torch.autocast:
    """The context in which an image network runs: parameters stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=fitting.precision == "bfloat16")


# Files


def already_there(output: Path, settings: dict[str, Any]) -> bool:
    """Whether ``output`` is a finished evaluator of these settings; a new folder is made, an unfinished one kept.

    Raises:
        ValueError: if it is a training of other settings or data, which are named, or something else.
    """
    path = output / SETTINGS_FILE
    if not path.exists():
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise ValueError(f"{output} is neither empty nor an evaluator's training; choose another --output")
        output.mkdir(parents=True, exist_ok=True)
        write_json(path, settings)
        return False
    known = flat(read_json(path))
    asked = flat(json.loads(json.dumps(settings)))
    free = {f"fitting.{name}" for name in MAY_CHANGE}
    changed = [name for name in {**known, **asked} if known.get(name) != asked.get(name) and name not in free]
    if changed:
        listed = "; ".join(f"{name} was {known.get(name)!r} and is {asked.get(name)!r}" for name in changed)
        raise ValueError(f"{output} holds a training of other settings: {listed}. Choose another --output")
    return (output / CONFIG_FILE).exists()


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level of dotted names."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def data_of(records: Sequence[Record]) -> dict[str, Any]:
    """What says whether some records are the same ones: how many, and a hash of their ids and captions."""
    lines = (line for record in records for line in (record.id, *record.captions))
    return {"images": len(records), "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest()}


def save_training(network: nn.Module, optimizer: Adam, step: int, path: Path) -> None:
    """Writes what a training goes on from, whole or not at all."""
    partial = path.with_name(f".partial-{path.name}")
    save_file(tensors(network) | adam_state(optimizer, network), partial, metadata={"step": str(step)})
    partial.replace(path)


def restore(network: nn.Module, optimizer: Adam, path: Path) -> int:
    """Puts what was saved into network and optimiser, in place; the step it was saved after, 0 if nothing was."""
    if not path.exists():
        return 0
    network.load_state_dict({name: tensor for name, tensor in load_file(path).items() if "/" not in name})
    load_adam_state(optimizer, network, path)
    with safe_open(path, framework="pt") as file:
        return int(file.metadata()["step"])


def forget_after(path: Path, step: int) -> None:
    """Drops the lines of a log that are later than the step a training goes on from."""
    if not path.exists():
        return
    kept = [line for line in path.read_text().splitlines() if line.endswith("}") and json.loads(line)["step"] <= step]
    path.write_text("".join(line + "\n" for line in kept))


def save_weights(network: nn.Module, output: Path) -> str:
    """Writes the weights, matrices and kernels as float16, and names their SHA-256.

    The network is left with the rounded weights: those that will be used are those that are measured.
    """
    path = output / WEIGHTS_FILE
    halved = {name: value.half() if value.dim() > 1 else value for name, value in tensors(network).items()}
    partial = path.with_name(f".partial-{path.name}")
    save_file(halved, partial)
    partial.replace(path)
    network.load_state_dict(halved)
    return weights_sha256([path])


def finish(output: Path, description: dict[str, Any]) -> None:
    """Writes ``config.json``, which makes the folder an evaluator, and removes what the training went on from."""
    write_json(output / CONFIG_FILE, {"name": output.name, "version": __version__, **description})
    (output / TRAINING_FILE).unlink(missing_ok=True)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a JSON file whole or not at all."""
    partial = path.with_name(f".partial-{path.name}")
    partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    partial.replace(path)
