"""Peak memory of the region-word loss, and of a training step with activation checkpointing and micro-batches.

    python benchmarks/memory.py [--device cuda]       # measured, each case in its own process
    python benchmarks/memory.py --estimate            # the paper's batch at 256 px, counted on fake tensors

Measured on a CPU: the increase of peak resident memory over the memory before the loss or step; on CUDA: the same for
allocated memory. Counted: the peak of all storages alive at once in a step on fake tensors. Kernel workspaces and
fragmentation are not included, so it is an estimate.
"""

import argparse
import resource
import subprocess
import sys
import weakref
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim import SGD
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from xmcgan.config import Config
from xmcgan.encoders.image import VGG19Features
from xmcgan.losses.contrastive import region_word_scores, symmetric_cross_entropy
from xmcgan.losses.objective import Objective, Terms
from xmcgan.model.build import build_discriminator, build_generator
from xmcgan.recipes import RECIPES
from xmcgan.runtime.device import resolve_device
from xmcgan.training.ema import EMA
from xmcgan.training.state import TrainingState, initial_state
from xmcgan.training.step import train_step
from xmcgan.types import Batch, DiscriminatorOutput, TextEmbedding

CARD_GB = 24.0
WAYS = {
    "plain": {},
    "checkpointed": {"checkpoint_activations": True},
    "micro-batches": {"micro_batch": 4},
    "both": {"micro_batch": 4, "checkpoint_activations": True},
}


def batch_of(rows: int, size: int, words: int, text_dim: int, noise_dim: int, device: torch.device) -> Batch:
    """A batch of random numbers."""
    words_BTD = torch.randn(rows, words, text_dim, device=device)
    mask_BT = torch.ones(rows, words, dtype=torch.bool, device=device)
    images_B3HW = torch.randn(rows, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    text = TextEmbedding(words_BTD, mask_BT, words_BTD.mean(1))
    return Batch(images_B3HW, text, torch.randn(rows, noise_dim, device=device))


# Measured


def region_word_loss(rows: int, words: int, text_dim: int, device: torch.device) -> float:
    """Megabytes for the loss and its gradient, beyond its inputs and the gradient of the regions."""
    regions_BRD = torch.randn(rows, 256, text_dim, device=device).requires_grad_()
    regions_BRD.grad = torch.zeros_like(regions_BRD)
    words_BTD, mask_BT = torch.randn(rows, words, text_dim, device=device), torch.ones(rows, words, device=device) > 0
    before = most(device)
    symmetric_cross_entropy(region_word_scores(regions_BRD, words_BTD, mask_BT)).loss.backward()
    return most(device) - before


def training_step(way: str, size: int, width: int, rows: int, device: torch.device) -> float:
    """Megabytes for the second step of Algorithm 1, beyond weights, moments and batches; the first allocates those."""
    config = narrow(size, width, rows, **WAYS[way])
    training = initial_state(config, 384, device)
    batch = batch_of(rows, size, 17, 384, config.generator.noise_dim, device)
    for parameters in (training.generator.parameters(), training.discriminator.parameters()):
        for weight in parameters:  # to allocate Adam's moments
            weight.grad = torch.zeros_like(weight)
    training.generator_optimizer.step()
    training.discriminator_optimizer.step()
    training.generator_optimizer.zero_grad()
    training.discriminator_optimizer.zero_grad()
    before = most(device)
    train_step(training, [batch])
    return most(device) - before


def narrow(size: int, width: int, rows: int, **training: object) -> Config:
    """The paper's recipe at another size, without the frozen image encoder."""
    recipe = RECIPES["coco14-256"]
    return replace(
        recipe,
        image_size=size,
        generator=replace(recipe.generator, width=width),
        discriminator=replace(recipe.discriminator, width=width),
        losses=replace(recipe.losses, image_encoder=0.0),
        training=replace(recipe.training, batch_size=rows, precision="float32", **training),
    )


def most(device: torch.device) -> float:
    """The peak memory so far, in megabytes of 2^20 bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / 2**20 if sys.platform == "darwin" else largest / 2**10


# Counted


class Alive(TorchDispatchMode):
    """Counts the bytes of all live storages, and their peak."""

    def __init__(self):
        super().__init__()
        self.known: dict[int, int] = {}
        self.now = self.most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.track(leaf)
        return result

    def track(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.known:
            self.known[storage._cdata] = storage.nbytes()
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self.forget, storage._cdata)

    def forget(self, key: int) -> None:
        self.now -= self.known.pop(key)


class AnyLoss(Objective):
    """Replaces the losses, whose memory depends on data and is measured separately: every feature gets a gradient."""

    def discriminator(self, real, fake, text, traces_BTR=None) -> Terms:
        return some_loss("d_hinge", real, fake.logits_B)

    def generator(self, real, fake, text, encoded=None, distances_B=None) -> Terms:
        return some_loss("g_hinge", fake, *(encoded or ()))


def some_loss(name: str, output: DiscriminatorOutput, *more: Tensor) -> Terms:
    return Terms({name: torch.stack([each.mean() for each in (*output.tensors, *more)]).sum()}, {name: 1.0}, {})


class Count(NamedTuple):
    """Bytes of live storages."""

    resting: int  # before a step: weights, moments, EMA, batches
    most: int  # peak during the step


def counted(config: Config, text_dim: int, *, encoder: bool) -> Count:
    """Bytes of live storages in a training step."""
    settings, size, words = config.training, config.image_size, config.text.max_length
    with FakeTensorMode(), Alive() as alive:
        generator, discriminator = build_generator(config, text_dim), build_discriminator(config, text_dim)
        ema = EMA(generator)  # its copy of fake tensors belongs to a copied fake mode
        ema.network = build_generator(config, text_dim).eval().requires_grad_(False)
        weights = [*generator.parameters(), *discriminator.parameters()]
        moments = [torch.zeros_like(weight) for weight in weights for _ in range(2)]
        training = TrainingState(
            generator,
            discriminator,
            ema,
            # Adam reads its step count, which a fake tensor does not have.
            SGD(generator.parameters()),  # ty: ignore[invalid-argument-type]
            SGD(discriminator.parameters()),  # ty: ignore[invalid-argument-type]
            AnyLoss(),
            VGG19Features().requires_grad_(False) if encoder else None,
            getattr(torch, settings.precision),
            settings.micro_batch,
        )
        generator.checkpoint_activations = settings.checkpoint_activations
        discriminator.network.checkpoint_activations = settings.checkpoint_activations
        shape = (settings.batch_size, size, words, text_dim, config.generator.noise_dim, torch.device("cpu"))
        batches = [batch_of(*shape) for _ in range(settings.discriminator_steps)]
        resting = alive.most = alive.now
        train_step(training, batches)
        assert len(moments) == 2 * len(weights)  # held until here
    return Count(resting=resting, most=alive.most)


def estimate(rows: int, *, checkpointed: bool) -> float:
    """Gigabytes (10^9 bytes) of the paper's step with n_D = 2 and VGG-19, in micro-batches of ``rows``."""
    recipe = RECIPES["coco14-256"]
    losses = replace(recipe.losses, image_encoder=0.0)  # VGG-19 is passed separately, without loading weights
    settings = replace(recipe.training, micro_batch=rows, checkpoint_activations=checkpointed, precision="bfloat16")
    return counted(replace(recipe, losses=losses, training=settings), 768, encoder=True).most / 1e9


# The command


def run_case(*arguments: object) -> float:
    """Runs one case of this script in its own process and returns the printed number."""
    command = [sys.executable, __file__, *map(str, arguments)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=["loss", *WAYS], help="run only this case, in this process")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--estimate", action="store_true")
    options = parser.parse_args()
    device, shape = resolve_device(options.device), (options.size, options.width, options.batch)
    if options.case:
        loss = options.case == "loss"
        print(region_word_loss(256, 64, 768, device) if loss else training_step(options.case, *shape, device))
    elif options.estimate:
        print("| rows | GB, batch 256, 256 px, width 96, bfloat16 | checkpointed |\n|---|---|---|")
        for rows in (4, 8, 16, 32, 64, 256):
            both = [estimate(rows, checkpointed=checkpointed) for checkpointed in (False, True)]
            print(
                f"| {rows} | " + " | ".join(f"{gb:.1f}{' (too much)' * (gb > CARD_GB)}" for gb in both) + " |",
                flush=True,
            )
    else:
        megabytes = run_case("--case", "loss", "--device", options.device)
        print(f"region-word loss, batch 256, 64 words, 256 regions, D 768: {megabytes:.0f} MB beyond its inputs")
        flags = ("--device", options.device, "--size", options.size, "--width", options.width, "--batch", options.batch)
        print(
            f"| step, {shape[0]} px, width {shape[1]}, batch {shape[2]} | MB | of plain | counted |\n|---|---|---|---|"
        )
        plain, plain_counted = None, None
        for way, switches in WAYS.items():
            megabytes = run_case("--case", way, *flags)
            count = counted(narrow(*shape, discriminator_steps=1, **switches), 384, encoder=False)
            bytes_counted = count.most - count.resting
            plain, plain_counted = plain or megabytes, plain_counted or bytes_counted
            print(
                f"| {way} | {megabytes:.0f} | {megabytes / plain:.2f} | {bytes_counted / plain_counted:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
