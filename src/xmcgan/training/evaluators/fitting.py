"""How an evaluator is trained: settings, the loop, and what an interrupted one goes on from."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam, AdamW
from tqdm import tqdm

from xmcgan import __version__
from xmcgan.config import flatten
from xmcgan.data.images import Fit, ImageTransform, to_images
from xmcgan.data.records import Record
from xmcgan.data.stream import ExampleBatch, ExampleStream, load_batches, random
from xmcgan.evaluation.networks.folder import CONFIG_FILE, WEIGHTS_FILE
from xmcgan.evaluation.networks.image_network import CHUNK
from xmcgan.evaluation.networks.weight_files import weights_sha256
from xmcgan.inference.model_files import tensors
from xmcgan.runtime.device import keep_freed_memory, resolve_device
from xmcgan.runtime.files import atomic_file, read_json, write_json
from xmcgan.runtime.folders import changed_settings, refuse_changed, refuse_foreign
from xmcgan.training.checkpoint import adam_state, load_adam_state

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


def batched(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """So many records at a time as a network takes in one forward pass."""
    return (records[start : start + CHUNK] for start in range(0, len(records), CHUNK))


def pixels_of(records: Sequence[Record], transform: ImageTransform) -> Tensor:
    """Their images as uint8 pixels (B, 3, size, size)."""
    return torch.stack([transform(record) for record in records])


# The loop


class Loss(NamedTuple):
    """What is minimised, and the share of a batch that came out right."""

    loss: Tensor
    accuracy: Tensor


def fit(
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
    truncate_log(output / LOG_FILE, step)
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


def image_precision(fitting: Fitting, device: torch.device) -> torch.autocast:
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
        refuse_foreign(output, "an evaluator's training")
        output.mkdir(parents=True, exist_ok=True)
        write_json(path, settings, indent=1, ensure_ascii=False)
        return False
    known, asked = flatten(read_json(path)), flatten(json.loads(json.dumps(settings)))
    changes = changed_settings(known, asked, may_change={f"fitting.{name}" for name in MAY_CHANGE})
    refuse_changed(output, "a training of other settings", changes)
    return (output / CONFIG_FILE).exists()


def data_of(records: Sequence[Record]) -> dict[str, Any]:
    """What says whether some records are the same ones: how many, and a hash of their ids and captions."""
    lines = (line for record in records for line in (record.id, *record.captions))
    return {"images": len(records), "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest()}


def save_training(network: nn.Module, optimizer: Adam, step: int, path: Path) -> None:
    """Writes what a training goes on from, whole or not at all."""
    with atomic_file(path) as partial:
        save_file(tensors(network) | adam_state(optimizer, network), partial, metadata={"step": str(step)})


def restore(network: nn.Module, optimizer: Adam, path: Path) -> int:
    """Puts what was saved into network and optimiser, in place; the step it was saved after, 0 if nothing was."""
    if not path.exists():
        return 0
    network.load_state_dict({name: tensor for name, tensor in load_file(path).items() if "/" not in name})
    load_adam_state(optimizer, network, path)
    with safe_open(path, framework="pt") as file:
        return int(file.metadata()["step"])


def truncate_log(path: Path, step: int) -> None:
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
    with atomic_file(path) as partial:
        save_file(halved, partial)
    network.load_state_dict(halved)
    return weights_sha256([path])


def finish(output: Path, description: dict[str, Any]) -> None:
    """Writes ``config.json``, which makes the folder an evaluator, and removes what the training went on from."""
    write_json(
        output / CONFIG_FILE,
        {"name": output.name, "version": __version__, **description},
        indent=1,
        ensure_ascii=False,
    )
    (output / TRAINING_FILE).unlink(missing_ok=True)
