"""Counts the operations of generator, discriminator and training step, ours and the plain formulation's.

    python benchmarks/operations.py [--width 96] [--word-dim 768] [--batch 8]

Convolutions and matrix products, two a multiply-add (torch.utils.flop_counter), an image or a real image of a step.
The plain formulation is the one of the paper and the release: upsample or pool apart from the convolution, the
condition projected at full size, context vectors formed.
"""

import argparse
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Adam
from torch.utils.flop_counter import FlopCounterMode

from xmcgan import losses
from xmcgan.ema import EMA
from xmcgan.losses import LossWeights, Objective
from xmcgan.model import layers
from xmcgan.model.discriminator import Discriminator
from xmcgan.model.generator import Generator
from xmcgan.train import Training, train_step
from xmcgan.types import Batch, TextEmbedding

WORDS, NOISE = 17, 128


def plain_upsample_conv(self: layers.UpsampleConv2d, input: Tensor) -> Tensor:
    return F.conv2d(layers.upsample_nearest(input), self.weight, self.bias, padding=1)


def plain_conv_pool(self: layers.ConvAveragePool2d, input: Tensor) -> Tensor:
    return F.avg_pool2d(F.conv2d(input, self.weight, self.bias, padding=1), 2)


def plain_attentional(self: layers.AttentionalSelfModulation, x: Tensor, condition: layers.SpatialCondition) -> Tensor:
    context = condition.attention_BRT @ condition.words_BTD
    everywhere = condition.global_BC[:, None].expand(-1, context.shape[1], -1)
    spatial = torch.cat([context, everywhere], 2).mT.unflatten(2, (16, 16))
    spatial = F.interpolate(spatial, size=x.shape[2:], mode="nearest")
    return self.norm(x) * (1 + self.gamma(spatial)) + self.beta(spatial)


def plain_up_block(self: layers.UpBlock, x: Tensor, condition: Tensor | layers.SpatialCondition) -> Tensor:
    y = self.conv1(F.relu(self.norm1(x, condition)))
    y = self.conv2(F.relu(self.norm2(y, condition)))
    return y + self.shortcut(layers.upsample_nearest(x))


def plain_down_block(self: layers.DownBlock, x: Tensor) -> Tensor:
    y, shortcut = self.conv2(F.relu(self.conv1(F.relu(x)))), self.shortcut(x)
    return y + (F.avg_pool2d(shortcut, 2) if self.downsample else shortcut)


def plain_scores(regions_BRD: Tensor, words_BTD: Tensor, mask_BT: Tensor, **settings: float) -> Tensor:
    regions, words = losses.unit_rows(regions_BRD), losses.unit_rows(words_BTD)
    similarity = torch.einsum("brd,ctd->bctr", regions, words)
    context = torch.einsum("bctr,brd->bctd", (settings["rho_1"] * similarity).softmax(-1), regions)
    cosine = (losses.unit_rows(context) * words).sum(-1)
    scores = (settings["rho_2"] * cosine).masked_fill(~mask_BT, -torch.inf).logsumexp(-1)
    return scores / (settings["rho_2"] * settings["temperature"])


def plain() -> list:
    """Patches to the same networks and losses in the plain formulation."""
    return [
        patch.object(target, name, replacement)
        for target, name, replacement in (
            (layers.UpsampleConv2d, "forward", plain_upsample_conv),
            (layers.ConvAveragePool2d, "forward", plain_conv_pool),
            (layers.AttentionalSelfModulation, "forward", plain_attentional),
            (layers.UpBlock, "forward", plain_up_block),
            (layers.DownBlock, "forward", plain_down_block),
            (losses, "region_word_scores", plain_scores),
        )
    ]


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
        patches = plain()
        for each in patches:
            each.start()
        theirs = count(size, options.width, options.word_dim, options.batch)
        for each in patches:
            each.stop()
        for part, value in ours.items():
            print(f"| {size} px, {part} | {theirs[part]:.1f} | {value:.1f} | {value / theirs[part]:.2f} |")


if __name__ == "__main__":
    main()
