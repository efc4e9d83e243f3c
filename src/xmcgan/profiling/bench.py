"""Benchmarks a recipe on this machine: training step, generation, text encoding and loading.

Times are medians and quartiles of whole calls, with device synchronisation. Operations are counted by torch for
convolutions and matrix products, two for a multiply-add. MFU compares them with the ceiling: the best rate of one
large matrix product in the same precision, measured in the same run. The operations of a training step are counted
without running it, and without recomputation: recomputation that saves memory is not useful work.
"""

import copy
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from xmcgan.config import Config
from xmcgan.data.images import ImageTransform
from xmcgan.data.records import Record
from xmcgan.data.stream import ExampleStream, load_batches
from xmcgan.encoders.text import TextEncoder
from xmcgan.inference.fused import fuse_generator
from xmcgan.inference.sample import batch_rows, sample
from xmcgan.model.generator import Generator
from xmcgan.profiling.flops import count_gflop, count_step, random_batch, random_text, without_recomputation
from xmcgan.profiling.timing import DEFAULT_SCHEDULE, Measurement, OutOfMemory, Schedule, machine, measure
from xmcgan.training.state import initial_state
from xmcgan.training.step import train_step

Part = Literal["training", "generation", "text", "loading"]

PARTS: tuple[Part, ...] = ("training", "generation", "text", "loading")


def can_be_timed(config: Config) -> tuple[Config, str]:
    """The configuration to time a training step with, and a description of its variant.

    Without ``losses.encoder_weights``, the frozen image encoder is left out, because it would need a download.
    """
    settings, variant = config.training, []
    if config.losses.image_encoder > 0 and config.losses.encoder_weights is None:
        config = replace(config, losses=replace(config.losses, image_encoder=0.0, encoder="vgg19"))
        variant.append("no frozen image encoder")
    variant += [f"micro-batches of {settings.micro_batch}"] if settings.micro_batch is not None else []
    variant += ["activation checkpointing"] if settings.checkpoint_activations else []
    variant += [] if settings.channels_last else ["channels first"]
    variant += ["fused Adam"] if settings.fused else []
    variant += ["TF32"] if settings.tf32 else []
    variant += ["compiled"] if settings.compile else []
    return config, ", ".join(variant)


def bench_training(
    config: Config,
    text_dim: int,
    device: torch.device,
    *,
    schedule: Schedule = DEFAULT_SCHEDULE,
) -> Measurement:
    """Times a whole step of Algorithm 1 as configured: ``discriminator_steps`` batches, all updates, and the EMA.

    The caller sets ``training.tf32``, which applies to the whole process (``device.use_tf32``).
    """
    config, variant = can_be_timed(config)
    state = initial_state(config, text_dim, device)
    batches = [random_batch(config, text_dim, device) for _ in range(config.training.discriminator_steps)]
    words = int(batches[0].text.mask_BT.sum())
    plain = without_recomputation(config)
    gflop = count_step(plain, text_dim, words)
    return measure(
        "training",
        variant,
        config.training.precision,
        lambda: train_step(state, batches),
        images=config.training.batch_size * config.training.discriminator_steps,
        device=device,
        gflop=gflop,
        gflop_run=gflop if plain == config else count_step(config, text_dim, words),
        schedule=schedule,
    )


def bench_generation(
    generator: Generator,
    text_dim: int,
    device: torch.device,
    dtype: torch.dtype,
    *,
    length: int = 17,
    batch_size: int | None = None,
    fused: bool = True,
    compile: bool = False,
    cuda_graphs: bool = False,
    schedule: Schedule = DEFAULT_SCHEDULE,
) -> Measurement:
    """Times ``sample`` on one batch, up to uint8 images on the CPU.

    Args:
        generator: copied, so that it is neither moved nor compiled.
        length: word embeddings of a caption.
        batch_size: by default as in ``Pipeline``.
        fused: use fused weights, as ``Pipeline`` does.
        cuda_graphs: compile with torch.compile's CUDA graphs.
    """
    generator = copy.deepcopy(generator).eval().to(device).to(memory_format=torch.channels_last)
    rows = batch_rows(generator.image_size, device) if batch_size is None else batch_size
    text = random_text(rows, length, text_dim, device)
    network = fuse_generator(generator, dtype) if fused else generator
    variant = ["fused" if fused else "as trained"]

    def call() -> None:
        sample(network, text, range(rows), batch_size=rows, dtype=torch.float32 if fused else dtype)

    gflop = count_gflop(call)
    if cuda_graphs:
        variant.append("compiled with CUDA graphs")
        network.compile(mode="reduce-overhead")
    elif compile:
        variant.append("compiled")
        network.compile()
    return measure(
        "generation",
        ", ".join(variant),
        str(dtype).removeprefix("torch."),
        call,
        images=rows,
        device=device,
        gflop=gflop,
        schedule=schedule,
    )


def bench_text(encoder: TextEncoder, *, captions: int = 64, schedule: Schedule = DEFAULT_SCHEDULE) -> Measurement:
    """Times tokenizing and encoding of new captions, which are not in the cache."""
    words = ["a", "red", "blue", "green", "car", "boat", "tree", "dog", "near", "under", "left", "of", "the", "street"]
    rng = np.random.default_rng(0)

    def call() -> None:
        encoder([" ".join(rng.choice(words, 12)) for _ in range(captions)])

    return measure(
        "text",
        f"{encoder.name}, {encoder.max_length} words",
        "float32",
        call,
        images=captions,
        device=encoder.device,
        gflop=count_gflop(call),
        schedule=schedule,
    )


def bench_loading(
    size: int,
    *,
    batch_size: int = 16,
    originals: int = 32,
    schedule: Schedule = DEFAULT_SCHEDULE,
) -> Measurement:
    """Times reading, decoding, resizing and flipping of 640 x 480 JPEGs of smooth noise, cached, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        records = list(write_photographs(Path(folder), originals))
        stream = ExampleStream(records, ImageTransform(size), seed=0, flip=True, resize=True)
        batches = iter(load_batches(stream, start=0, batch_size=batch_size, workers=0))
        return measure(
            "loading",
            f"JPEG 640 x 480 to {size}, one process",
            "",
            lambda: next(batches),
            images=batch_size,
            device=torch.device("cpu"),
            gflop=0.0,
            schedule=schedule,
        )


def write_photographs(folder: Path, count: int) -> Iterator[Record]:
    """Writes images that compress about as well as photographs."""
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8))
        file = folder / f"{number:04d}.jpg"
        coarse.resize((640, 480), Image.Resampling.BICUBIC).save(file, quality=95)
        yield Record(file, ("a picture of something",), file.stem)


def report(device: torch.device, ceilings: dict[str, float], found: list[Measurement | OutOfMemory]) -> dict[str, Any]:
    """The content of the JSON file: all measurements so far."""
    return {
        "machine": machine(device),
        "ceiling_tflops": ceilings,
        "measurements": [each.summary(ceilings) for each in found if isinstance(each, Measurement)],
        "out_of_memory": [asdict(each) for each in found if isinstance(each, OutOfMemory)],
    }


HEAD = """| part | how | images/s | ms, median | quartiles | peak MB | GFLOP | MFU |
|---|---|---|---|---|---|---|---|"""


def table(measurements: Sequence[Measurement | OutOfMemory], ceilings: dict[str, float]) -> str:
    """The measurements as a Markdown table."""
    return "\n".join([HEAD, *(row(each, ceilings) for each in measurements)])


def row(each: Measurement | OutOfMemory, ceilings: dict[str, float]) -> str:
    """One line of the table."""
    how = ", ".join(filter(None, (each.precision, each.variant)))
    if isinstance(each, OutOfMemory):
        return f"| {each.part} | {how} | out of memory |  |  |  |  |  |"
    first, third = each.quartiles
    mfu = each.mfu(ceilings)
    counted = ("", "") if mfu is None else (f"{each.gflop:.1f}", f"{mfu:.0%}")
    memory = "" if each.peak_mb is None else f"{each.peak_mb:.0f}"
    return (
        f"| {each.part} | {how} | {each.images_per_second:.2f} | {1e3 * each.median:.1f} | "
        f"{1e3 * first:.1f} to {1e3 * third:.1f} | {memory} | {counted[0]} | {counted[1]} |"
    )
