"""Counts the operations of generator, discriminator and training step, ours and the plain formulation's.

    python benchmarks/operations.py [--width 96] [--word-dim 768] [--batch 8]

Convolutions and matrix products, two a multiply-add (torch.utils.flop_counter), an image or a real image of a step.
The plain formulation is in plain.py.
"""

import argparse

import torch
from plain import plain
from torch.optim import Adam
from torch.utils.flop_counter import FlopCounterMode

from xmcgan.ema import EMA
from xmcgan.losses import LossWeights, Objective
from xmcgan.model.discriminator import Discriminator
from xmcgan.model.generator import Generator
from xmcgan.train import Training, train_step
from xmcgan.types import Batch, TextEmbedding

WORDS, NOISE = 17, 128


def count(image_size: int, width: int, word_dim: int, batch_size: int) -> dict[str, float]:
    """GFLOP of each part: G and D forward an image, the full step a real image consumed."""
    torch.manual_seed(0)
    generator = Generator(image_size=image_size, width=width, text_dim=word_dim, noise_dim=NOISE, stem="noise")
    discriminator = Discriminator(image_size=image_size, width=width, text_dim=word_dim)
    words = torch.randn(batch_size, WORDS, word_dim)
    text = TextEmbedding(words, torch.ones(batch_size, WORDS, dtype=torch.bool), words.mean(1))
    batch = Batch(torch.rand(batch_size, 3, image_size, image_size) * 2 - 1, text, torch.randn(batch_size, NOISE))
    training = Training(
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--word-dim", type=int, default=768)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    options = parser.parse_args()
    print("| GFLOP, width", options.width, "| plain | ours | ours / plain |\n|---|---|---|---|")
    for size in options.sizes:
        ours = count(size, options.width, options.word_dim, options.batch)
        with plain():
            theirs = count(size, options.width, options.word_dim, options.batch)
        for part, value in ours.items():
            print(f"| {size} px, {part} | {theirs[part]:.1f} | {value:.1f} | {value / theirs[part]:.2f} |")


if __name__ == "__main__":
    main()
