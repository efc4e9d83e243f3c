"""Training of evaluation networks: settings, loop and files for resuming."""

import json
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam, AdamW
from torch.utils.data import Dataset

from xmcgan import __version__
from xmcgan.config import flatten
from xmcgan.data.images import ImageTransform, to_images
from xmcgan.data.records import Record, text_digest
from xmcgan.data.stream import ExampleBatch, ExampleStream, load_batches, random
from xmcgan.evaluation.networks.folder import CONFIG_FILE, FORMAT, WEIGHTS_FILE
from xmcgan.evaluation.networks.image_network import CHUNK
from xmcgan.evaluation.networks.weight_files import loading_errors, weights_sha256
from xmcgan.inference.model_files import read_tensors, save_tensors, tensors
from xmcgan.runtime.device import keep_freed_memory, resolve_device, resolve_precision
from xmcgan.runtime.field_types import shortened
from xmcgan.runtime.files import append_text, make_folder, read_object, write_json
from xmcgan.runtime.folders import changed_settings, refuse_changed, refuse_foreign
from xmcgan.runtime.locks import locked_folder
from xmcgan.runtime.progress import ProgressBar
from xmcgan.training.checkpoint import adam_state, load_adam_state
from xmcgan.training.evaluators.settings import Fitting
from xmcgan.training.log import truncate_log

TRAINING_FILE = "training.safetensors"

SETTINGS_FILE = "settings.json"

LOG_FILE = "log.jsonl"

SHIFT, HELD_OUT, MISMATCHED, EXCHANGED = 4, 5, 6, 7
"""Keys of random streams, distinct from those of data.stream."""


MAY_CHANGE = ("workers", "device", "save_every")
"""Settings that may change on resume."""


def check_counts(records: Sequence[Record], held_out: Sequence[Record], fitting: Fitting, candidates: int) -> None:
    """Check that there are enough images to train and to evaluate.

    Raises:
        ValueError: with the number of images and the minimum.
    """
    if candidates < 1:
        raise ValueError(f"candidates is {candidates}; it should be at least 1")
    if len(records) < fitting.batch_size:
        raise ValueError(f"there are {len(records)} training images; batch_size needs at least {fitting.batch_size}")
    if len(held_out) < candidates:
        raise ValueError(f"there are {len(held_out)} held-out images; there should be at least {candidates}")


def hold_out(records: Sequence[Record], count: int, *, seed: int) -> tuple[list[Record], list[Record]]:
    """Split records into training records and ``count`` random held-out ones, keeping their order.

    Raises:
        ValueError: unless there are more than ``count`` records.
    """
    if not 1 <= count < len(records):
        raise ValueError(f"held_out is {count}; it should be 1 to {len(records) - 1}, with {len(records)} images")
    chosen = set(random(seed, HELD_OUT, 0).permutation(len(records))[:count].tolist())
    kept = [record for number, record in enumerate(records) if number not in chosen]
    return kept, [records[number] for number in sorted(chosen)]


def batched(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """Records in chunks for one forward pass each."""
    return (records[start : start + CHUNK] for start in range(0, len(records), CHUNK))


def load_pixels(records: Sequence[Record], transform: ImageTransform) -> Tensor:
    """Images of records as uint8 pixels (B, 3, size, size)."""
    return torch.stack([transform(record) for record in records])


def pixel_stream(records: Sequence[Record], image_size: int, fitting: Fitting) -> ExampleStream:
    """The training examples for an image network that is not frozen: pixels and captions."""
    return ExampleStream(
        records, ImageTransform(image_size, fitting.fit), seed=fitting.seed, flip=fitting.flip, resize=True
    )


# The loop


class Loss(NamedTuple):
    """The loss to minimise, and the accuracy on the batch."""

    loss: Tensor
    accuracy: Tensor


def fit(
    network: nn.Module,
    loss_of: Callable[[Tensor, ExampleBatch], Loss],
    stream: Dataset,
    fitting: Fitting,
    output: Path,
    *,
    progress: bool,
) -> None:
    """Train a network, resuming from files saved under ``output``; the network ends on the CPU.

    Args:
        loss_of: computes the loss from the network's inputs and the batch of examples.
        stream: yields uint8 pixels, which become images in [-1, 1], or features.

    Raises:
        FloatingPointError: naming the step, if the loss is not finite.
    """
    device = resolve_device(fitting.device)
    if device.type == "cpu":
        keep_freed_memory()
    network.to(device).to(memory_format=torch.channels_last).train()
    optimizer = AdamW(parameter_groups(network, fitting.weight_decay), lr=fitting.learning_rate, fused=True)
    step = load_training(network, optimizer, output / TRAINING_FILE)
    batches = load_batches(
        stream, start=step * fitting.batch_size, batch_size=fitting.batch_size, workers=fitting.workers
    )
    truncate_log(output / LOG_FILE, step)
    bar = ProgressBar(total=fitting.steps, initial=step, unit="step", desc=output.name, disable=not progress)
    with bar, closing(batches):
        while step < fitting.steps:
            batch = next(batches)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(step, fitting)
            loss, accuracy = loss_of(network_inputs(batch.pixels.to(device), step, fitting), batch)
            if not loss.isfinite():
                raise FloatingPointError(f"step {step}: the loss is {loss.item()}; try a lower learning_rate")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            step += 1
            if step % 25 == 0 or step == fitting.steps:
                values = {"loss": round(loss.item(), 4), "accuracy": round(accuracy.item(), 4)}
                bar.set_postfix_str(", ".join(f"{name} {value}" for name, value in values.items()))
                append_text(output / LOG_FILE, json.dumps({"step": step, **values}) + "\n")
            if step % fitting.save_every == 0 or step == fitting.steps:
                save_training(network, optimizer, step, output / TRAINING_FILE)
            bar.update()
    network.to("cpu")


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups: weight decay for matrices and kernels, none for biases, norms and the temperature."""
    decaying = [parameter for parameter in network.parameters() if parameter.dim() > 1]
    others = [parameter for parameter in network.parameters() if parameter.dim() <= 1]
    return [{"params": decaying, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def learning_rate_at(step: int, fitting: Fitting) -> float:
    """Learning rate of a step."""
    warm = min(1.0, (step + 1) / (fitting.warmup + 1))
    return fitting.learning_rate * warm * (1 + math.cos(math.pi * step / fitting.steps)) / 2


def network_inputs(examples: Tensor, step: int, fitting: Fitting) -> Tensor:
    """uint8 pixels, shifted, as images in [-1, 1]; features as they are."""
    if examples.dtype != torch.uint8:
        return examples
    return to_images(random_shift(examples, step, fitting)).contiguous(memory_format=torch.channels_last)


def random_shift(pixels_B3HW: Tensor, step: int, fitting: Fitting) -> Tensor:
    """Shift a batch by a random number of pixels, replicating the edges."""
    if not fitting.shift:
        return pixels_B3HW
    down, right = random(fitting.seed, SHIFT, step).integers(2 * fitting.shift + 1, size=2).tolist()
    height, width = pixels_B3HW.shape[2:]
    padded = F.pad(pixels_B3HW.float(), (fitting.shift,) * 4, mode="replicate")
    return padded[:, :, down : down + height, right : right + width]


def image_precision(fitting: Fitting, device: torch.device) -> torch.autocast:
    """Autocast for the image network; parameters stay float32."""
    dtype = resolve_precision(fitting.precision, device)
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)


# Files


@contextmanager
def claimed(output: Path, settings: dict[str, Any]) -> Generator[bool]:
    """Locks the folder of an evaluator until its last file is written; yields whether it is finished (``is_finished``).

    Raises:
        FileExistsError: if another process trains into ``output``.
        ValueError: naming settings or data that differ, or if the folder has other content.
    """
    if not (output / SETTINGS_FILE).exists():
        refuse_foreign(output, "an evaluator's training")  # before a lock is put there
    elif is_finished(output, settings):  # without a lock: the folder may be read-only
        yield True
        return
    with locked_folder(output, "trained into"):
        yield is_finished(output, settings)


def is_finished(output: Path, settings: dict[str, Any]) -> bool:
    """Whether ``output`` is a finished evaluator with these settings; creates the folder if it does not exist.

    Raises:
        ValueError: naming settings or data that differ, or if the folder has other content.
    """
    path = output / SETTINGS_FILE
    if not path.exists():
        refuse_foreign(output, "an evaluator's training")
        make_folder(output)
        write_json(path, settings, indent=1, ensure_ascii=False)
        return False
    existing, requested = flatten(read_object(path)), flatten(json.loads(json.dumps(settings)))
    changes = changed_settings(existing, requested, may_change={f"fitting.{name}" for name in MAY_CHANGE})
    refuse_changed(output, "a training run with other settings", changes)
    return (output / CONFIG_FILE).exists()


def settings_of(
    kind: str, shape: Any, fitting: Fitting, records: Sequence[Record], held_out: Sequence[Record]
) -> dict[str, Any]:
    """The settings that determine an evaluator: its kind, the shape of its network, its training, and its data."""
    return {
        "kind": kind,
        "shape": asdict(shape),
        "fitting": asdict(fitting),
        "data": fingerprint(records),
        "held_out": fingerprint(held_out),
    }


def fingerprint(records: Sequence[Record]) -> dict[str, Any]:
    """Number of records and a hash of their ids and captions, to detect other data on resume."""
    return {"images": len(records), "sha256": text_digest((record.id, record.captions) for record in records)}


def save_training(network: nn.Module, optimizer: Adam, step: int, path: Path) -> None:
    """Write network and optimiser for resuming, atomically."""
    save_tensors(tensors(network) | adam_state(optimizer, network), path, {"step": str(step)})


def load_training(network: nn.Module, optimizer: Adam, path: Path) -> int:
    """Load network and optimiser in place; return the step of the save, or 0 if there is none.

    Raises:
        ValueError: naming the file, if it is damaged or of another network.
    """
    if not path.exists():
        return 0
    saved = read_tensors(path)
    with loading_errors(path, path.parent.name):
        network.load_state_dict({name: tensor for name, tensor in saved.items() if "/" not in name})
    load_adam_state(optimizer, network, path)
    with safe_open(path, framework="pt") as file:
        step = (file.metadata() or {}).get("step", "")
    if not step.isdecimal():
        raise ValueError(f"{path} is damaged: its step is {shortened(step)}; it should be a number")
    return int(step)


def save_weights(network: nn.Module, output: Path) -> str:
    """Write the weights, matrices and kernels as float16, and return their SHA-256.

    The network keeps the rounded weights, so that the evaluation uses the weights in the file.
    """
    path = output / WEIGHTS_FILE
    halved = {name: value.half() if value.dim() > 1 else value for name, value in tensors(network).items()}
    save_tensors(halved, path)
    network.load_state_dict(halved)
    return weights_sha256([path])


def finish(output: Path, description: dict[str, Any]) -> None:
    """Write ``config.json``, which marks the evaluator as complete, and remove the files for resuming."""
    write_json(
        output / CONFIG_FILE,
        {"name": output.name, "version": __version__, "format": FORMAT, **description},
        indent=1,
        ensure_ascii=False,
    )
    (output / TRAINING_FILE).unlink(missing_ok=True)
