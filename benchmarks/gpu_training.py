"""A training of a recipe whose data lie in device memory and whose step is one CUDA graph.

    python benchmarks/gpu_training.py --output results/scenes-64-frozen --seconds 500 --pack pack
    python benchmarks/gpu_training.py --output results/flowers --recipe flowers-64-plus --data data/flowers102 \\
        --validation-split train --width 24 --batch 128 --seconds 500 --pack pack

All cores draw Scenes, or read the photographs under --data. Captions are embedded once; then a step needs no host work.
Images, captions and noise are chosen at random on the device, so the order is not that of ``xmcgan train``, and a run
cannot be resumed. The learning rates follow the time that is left. Grids and the averaged generator are written every
minute, in half precision. On a CPU the step runs as it is; that is for trying the script.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Adam

from xmcgan.config import Config, to_dict
from xmcgan.data.images import ImageTransform
from xmcgan.data.layouts import read_records
from xmcgan.data.records import Record
from xmcgan.encoders.text import TextEncoder
from xmcgan.inference.model_files import GENERATOR_FILE, save_generator, tensors
from xmcgan.recipes import RECIPES
from xmcgan.runtime.device import resolve_device, use_tf32
from xmcgan.scenes import World, describe, render_scene, sample_scene
from xmcgan.scenes.scene import stream
from xmcgan.training.augmentation import NUMBERS
from xmcgan.training.ema import estimate_batch_norm
from xmcgan.training.loop import save_sample_grid
from xmcgan.training.state import TrainingState, initial_state
from xmcgan.training.step import train_step
from xmcgan.types import Batch, TextEmbedding

WORLD = World(most_objects=2, sides=1.0)
CHUNK = 200  # scenes drawn by a worker at a time


def draw(job: tuple[str, int, int, int]) -> tuple[np.ndarray, list[tuple[str, ...]]]:
    """Pictures (N, H, W, 3) and captions of the scenes first to last of a split."""
    split, first, last, size = job
    scenes = [sample_scene(0, split, number, WORLD) for number in range(first, last)]
    captions = [
        tuple(describe(scene, stream(0, split, number, "captions"), sides=WORLD.sides))
        for number, scene in zip(range(first, last), scenes, strict=True)
    ]
    return np.stack([np.asarray(render_scene(scene, size).picture) for scene in scenes]), captions


@torch.inference_mode()
def embed(encoder: TextEncoder, captions: list[str]) -> tuple[Tensor, Tensor]:
    """Word embeddings of all captions, (N, T, D) in half precision, zero where padded, and their lengths (N,)."""
    rows = 4096 if encoder.device.type == "cuda" else 64
    words, lengths = [], []
    for start in range(0, len(captions), rows):
        tokens = encoder.tokenizer(
            captions[start : start + rows],
            padding="max_length",
            truncation=True,
            max_length=encoder.max_length,
            return_tensors="pt",
        )
        tokens = {name: values.to(encoder.device) for name, values in tokens.items()}
        mask = tokens["attention_mask"]
        words.append((encoder.model(**tokens).last_hidden_state * mask[..., None]).half())
        lengths.append(mask.sum(1))
    return torch.cat(words), torch.cat(lengths)


@dataclass
class ResidentData:
    """A split in device memory."""

    images_N3HW: Tensor  # uint8
    words_MTD: Tensor  # of the M different captions, half precision
    lengths_M: Tensor
    captions_NC: Tensor  # of each image, positions among the M

    def text(self, captions_B: Tensor) -> TextEmbedding:
        """The embeddings of captions by their positions."""
        words_BTD, lengths_B = self.words_MTD[captions_B].float(), self.lengths_M[captions_B]
        mask_BT = torch.arange(words_BTD.shape[1], device=words_BTD.device) < lengths_B[:, None]
        return TextEmbedding(words_BTD, mask_BT, words_BTD.sum(1) / lengths_B[:, None])

    def batch(self, rows: int, noise_dim: int, random: torch.Generator | None = None) -> Batch:
        """A random batch, made on the device alone, with torch's own generator unless one is given."""
        source = {"device": self.images_N3HW.device, "generator": random}
        chosen = torch.randint(len(self.images_N3HW), (rows,), **source)
        caption = torch.randint(self.captions_NC.shape[1], (rows,), **source)
        images = (self.images_N3HW[chosen].float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        noise_BZ = torch.randn(rows, noise_dim, **source)
        uniform_BU = torch.rand(rows, 2 * NUMBERS, **source)
        return Batch(images, self.text(self.captions_NC[chosen, caption]), noise_BZ, None, uniform_BU)


def read(job: tuple[Sequence[Record], int, str]) -> tuple[np.ndarray, list[tuple[str, ...]]]:
    """Pictures (N, H, W, 3) and captions of records."""
    records, size, fit = job
    transform = ImageTransform(size, fit)
    pictures = [transform(record).permute(1, 2, 0).numpy() for record in records]
    return np.stack(pictures), [tuple(record.captions) for record in records]


def jobs_of(split: str, count: int, config: Config, data: Path | None) -> tuple[Callable, list]:
    """The function that makes pictures, and its jobs: Scenes, or the first photographs of a split of the data."""
    if data is None:
        return draw, [(split, n, min(n + CHUNK, count), config.image_size) for n in range(0, count, CHUNK)]
    named = config.dataset.split if split == "train" else config.dataset.validation_split
    records = read_records(data, config.dataset.layout, named)
    chosen = [records[n] for n in range(min(count, len(records)))]
    parts = [chosen[n : n + CHUNK] for n in range(0, len(chosen), CHUNK)]
    return read, [(part, config.image_size, config.dataset.fit) for part in parts]


def read_split(
    split: str, count: int, config: Config, workers: int, data: Path | None
) -> tuple[Tensor, list[tuple[str, ...]]]:
    """Pictures (N, 3, H, W) uint8 and captions of a split, drawn by processes or read by threads."""
    make, jobs = jobs_of(split, count, config, data)
    drawing = data is None
    with ProcessPoolExecutor(workers, get_context("spawn")) if drawing else ThreadPoolExecutor(workers) as pool:
        parts = list(pool.map(make, jobs))
    pixels = torch.from_numpy(np.concatenate([pictures for pictures, _ in parts])).permute(0, 3, 1, 2).contiguous()
    return pixels, [each for _, part in parts for each in part]


def embed_split(pixels_N3HW: Tensor, captions: Sequence[tuple[str, ...]], encoder: TextEncoder) -> ResidentData:
    """A split on the encoder's device, its captions embedded."""
    most = max(map(len, captions))  # an image with fewer captions has some of them twice
    captions = [tuple(islice(cycle(each), most)) for each in captions]
    position = {caption: number for number, caption in enumerate(dict.fromkeys(c for each in captions for c in each))}
    words_MTD, lengths_M = embed(encoder, list(position))
    index = torch.tensor([[position[caption] for caption in each] for each in captions])
    return ResidentData(pixels_N3HW.to(encoder.device), words_MTD, lengths_M, index.to(encoder.device))


class NoAverage:
    """In place of the average inside the step: its decay changes, and a CUDA graph would repeat the first."""

    def update(self, network) -> None: ...


def make_step(state: TrainingState, data: ResidentData, config: Config) -> tuple[Callable[[], None], dict[str, Tensor]]:
    """A function that makes one step, on CUDA the replay of a graph; and the report that it fills."""
    report: dict[str, Tensor] = {}

    def step() -> None:
        report.update(train_step(state, [data.batch(config.training.batch_size, config.generator.noise_dim)]))

    if data.images_N3HW.device.type != "cuda":
        return step, report
    warm_up = torch.cuda.Stream()
    warm_up.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(warm_up):
        for _ in range(4):
            step()
    torch.cuda.current_stream().wait_stream(warm_up)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay, report


def capturable(state: TrainingState, config: Config, device: torch.device) -> None:
    """Gives the state Adams whose learning rate and step count are tensors on the device, as a graph needs."""
    settings, cuda = config.training, device.type == "cuda"
    for name, network, lr in (
        ("generator_optimizer", state.generator, settings.generator_lr),
        ("discriminator_optimizer", state.discriminator, settings.discriminator_lr),
    ):
        rate = torch.tensor(lr, device=device) if cuda else lr
        parameters = [weight for weight in network.parameters() if weight.requires_grad]
        setattr(state, name, Adam(parameters, rate, (settings.beta1, settings.beta2), capturable=cuda, foreach=True))


def set_rates(state: TrainingState, config: Config, done: float) -> None:
    """Learning rates after a share of the time: constant, then along a cosine to 0."""
    start = config.training.lr_decay_from
    if done <= start:
        return
    factor = (1 + math.cos(math.pi * min(1.0, (done - start) / (1 - start)))) / 2
    for optimizer, lr in (
        (state.generator_optimizer, config.training.generator_lr),
        (state.discriminator_optimizer, config.training.discriminator_lr),
    ):
        for group in optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr * factor)
            else:
                group["lr"] = lr * factor


def save(state: TrainingState, average, output: Path, config: Config, text_dim: int, steps: int) -> None:
    """The averaged generator in half precision, with its configuration, and the discriminator's trained part."""
    folder = output / "model"
    folder.mkdir(exist_ok=True)
    save_generator(folder, average.network, config, text_dim, steps)
    for name, network in ((GENERATOR_FILE, average.network), ("discriminator.safetensors", state.discriminator)):
        half = {key: value.half() if value.is_floating_point() else value for key, value in tensors(network).items()}
        save_file(half, folder / name, metadata={"format": "pt"})


def recipe(options: argparse.Namespace) -> Config:
    """The recipe with the options' changes."""
    config = RECIPES[options.recipe]
    if options.pack is not None:
        text = replace(config.text, encoder=str(options.pack / "minilm"))
        discriminator = replace(config.discriminator, encoder_weights=str(options.pack / "lite0.pth"))
        config = replace(config, text=text, discriminator=discriminator)
    changes = {"width": options.width} if options.width else {}
    batch = {"batch_size": options.batch} if options.batch else {}
    dataset = {"layout": options.layout} if options.layout else {}
    validation = {"validation_split": options.validation_split} if options.validation_split else {}
    return replace(
        config,
        dataset=replace(config.dataset, **dataset, **validation),
        generator=replace(config.generator, **changes),
        training=replace(config.training, device=options.device, tf32=options.device == "cuda", **batch),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="a folder, new")
    parser.add_argument("--seconds", type=float, default=500, help="in all, the data included")
    parser.add_argument("--recipe", default="scenes-64-frozen")
    parser.add_argument("--data", type=Path, help="photographs and their captions; Scenes are drawn unless given")
    parser.add_argument("--layout", help="of the data, unless the recipe's")
    parser.add_argument("--validation-split", help="whose first captions the grids show, unless the recipe's")
    parser.add_argument("--pack", type=Path, help="the folder of gpu_pack.py")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--width", type=int, help="of the generator, unless the recipe's")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--train", type=int, default=50_000, help="pictures")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    began = time.perf_counter()
    config, device = recipe(options), resolve_device(options.device)
    options.output.mkdir(parents=True)
    use_tf32(device, config.training.tf32)
    torch.manual_seed(config.training.seed)
    loading = ThreadPoolExecutor(1).submit(TextEncoder.from_config, config.text, device=device)
    shown = embed_split(*read_split("val", 64, config, options.workers, options.data), loading.result())
    data = embed_split(*read_split("train", options.train, config, options.workers, options.data), loading.result())
    text_dim = data.words_MTD.shape[2]
    print(
        f"{len(data.images_N3HW):,} pictures, {len(data.words_MTD):,} captions in {time.perf_counter() - began:.0f} s",
        flush=True,
    )

    state = initial_state(config, text_dim, device)
    average, state.ema = state.ema, NoAverage()  # ty: ignore[invalid-assignment]
    capturable(state, config, device)
    step, report = make_step(state, data, config)
    state_for_grids = replace(state, ema=average)
    started, steps, last_saved = time.perf_counter(), 0, 0.0
    total = options.seconds - (started - began) - (20 if device.type == "cuda" else 0)  # what the end takes
    lines = []
    while (elapsed := time.perf_counter() - started) < total:
        set_rates(state, config, elapsed / total)
        step()
        average.update(state.generator)
        steps += 1
        if steps % 200 == 0 or device.type == "cpu":
            lines.append({name: value.item() for name, value in report.items()} | {"step": steps, "seconds": elapsed})
        if elapsed - last_saved > 60:
            last_saved = elapsed
            save_sample_grid(state_for_grids, shown.text(shown.captions_NC[:, 0]), options.output / "samples.png")
            save(state, average, options.output, config, text_dim, steps)
            images = steps * config.training.batch_size
            print(f"{steps} steps, {images:,} images, {images / elapsed:.0f} images/s", flush=True)
    batches = (
        data.batch(config.training.batch_size, config.generator.noise_dim)
        for _ in range(config.training.batch_norm_batches if device.type == "cuda" else 2)
    )
    with state.layers_in_precision():
        estimate_batch_norm(average.network, ((batch.noise_BZ, batch.text) for batch in batches))
    save_sample_grid(state_for_grids, shown.text(shown.captions_NC[:, 0]), options.output / "samples.png")
    save(state, average, options.output, config, text_dim, steps)
    (options.output / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (options.output / "config.json").write_text(json.dumps(to_dict(config), indent=2) + "\n")
    images, elapsed = steps * config.training.batch_size, time.perf_counter() - started
    print(f"{steps} steps, {images:,} images in {elapsed:.0f} s: {images / elapsed:.0f} images/s", flush=True)


if __name__ == "__main__":
    main()
