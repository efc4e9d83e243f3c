"""Counts the operations of generator, discriminator and training step, in our and in the plain formulation.

    python benchmarks/operations.py [--width 96] [--word-dim 768] [--batch 8] [--layers]

Counts convolutions and matrix products, two operations for a multiply-add (torch.utils.flop_counter), per image, or per
real image for a training step. The plain formulation is in plain_networks.py.
"""

import argparse

import torch
from plain_networks import plain
from torch.optim import Adam
from torch.utils.flop_counter import FlopCounterMode

from xmcgan.inference.fused import fuse_generator
from xmcgan.losses.objective import LossWeights, Objective
from xmcgan.model.discriminator import Discriminator
from xmcgan.model.generator import Generator
from xmcgan.training.ema import EMA
from xmcgan.training.state import TrainingState
from xmcgan.training.step import train_step
from xmcgan.types import Batch, TextEmbedding

WORDS, NOISE = 17, 128


def count(image_size: int, width: int, word_dim: int, batch_size: int) -> dict[str, float]:
    """GFLOP of each part: G and D forward per image, and the full step per real image."""
    torch.manual_seed(0)
    generator = Generator(image_size=image_size, width=width, text_dim=word_dim, noise_dim=NOISE, stem="noise")
    discriminator = Discriminator(image_size=image_size, width=width, text_dim=word_dim)
    words = torch.randn(batch_size, WORDS, word_dim)
    text = TextEmbedding(words, torch.ones(batch_size, WORDS, dtype=torch.bool), words.mean(1))
    batch = Batch(torch.rand(batch_size, 3, image_size, image_size) * 2 - 1, text, torch.randn(batch_size, NOISE))
    training = TrainingState(
        generator,
        discriminator,
        EMA(generator),
        Adam(generator.parameters(), 1e-4),
        Adam(discriminator.parameters(), 4e-4),
        Objective(LossWeights(image_encoder=0.0)),
    )
    counts = {}
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        generator(batch.noise_BZ, text)
    counts["G forward"] = counter.get_total_flops() / 1e9 / batch_size
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        discriminator(batch.images_B3HW, text)
    counts["D forward"] = counter.get_total_flops() / 1e9 / batch_size
    with FlopCounterMode(display=False) as counter:
        train_step(training, [batch, batch])
    counts["full step"] = counter.get_total_flops() / 1e9 / (2 * batch_size)
    return counts


def by_layer(image_size: int, width: int, word_dim: int) -> dict[str, float]:
    """GFLOP of a forward pass per image, for every block and its parts: of G as trained and fused, and of D."""
    torch.manual_seed(0)
    generator = Generator(image_size=image_size, width=width, text_dim=word_dim, noise_dim=NOISE, stem="noise").eval()
    discriminator = Discriminator(image_size=image_size, width=width, text_dim=word_dim).eval()
    words = torch.randn(1, WORDS, word_dim)
    text = TextEmbedding(words, torch.ones(1, WORDS, dtype=torch.bool), words.mean(1))
    noise, images = torch.randn(1, NOISE), torch.rand(1, 3, image_size, image_size)
    counts: dict[str, float] = {}
    for network, given in (
        (generator, (noise, text)),
        (fuse_generator(generator), (noise, text)),
        (discriminator, (images, text)),
    ):
        with FlopCounterMode(display=False, depth=3) as counter, torch.no_grad():
            network(*given)
        counts |= {name: sum(found.values()) / 1e9 for name, found in counter.get_flop_counts().items()}
    return {name: value for name, value in counts.items() if name != "Global"}


def print_layers(image_size: int, width: int, word_dim: int) -> None:
    ours = by_layer(image_size, width, word_dim)
    with plain():
        theirs = by_layer(image_size, width, word_dim)
    print(f"| {image_size} px, width {width} | plain | as trained | fused |\n|---|---|---|---|")
    for name, value in ours.items():
        if name.startswith("Fused") or max(value, theirs[name]) < 0.005:
            continue
        fused = ours.get(f"Fused{name}")
        print(f"| {name} | {theirs[name]:.2f} | {value:.2f} | {'' if fused is None else f'{fused:.2f}'} |")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--word-dim", type=int, default=768)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--layers", action="store_true", help="also count every layer")
    options = parser.parse_args()
    if options.layers:
        for size in options.sizes:
            print_layers(size, options.width, options.word_dim)
    print("| GFLOP, width", options.width, "| plain | ours | ours / plain |\n|---|---|---|---|")
    for size in options.sizes:
        ours = count(size, options.width, options.word_dim, options.batch)
        with plain():
            theirs = count(size, options.width, options.word_dim, options.batch)
        for part, value in ours.items():
            print(f"| {size} px, {part} | {theirs[part]:.1f} | {value:.1f} | {value / theirs[part]:.2f} |")


if __name__ == "__main__":
    main()
