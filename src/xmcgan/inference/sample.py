"""The sampling loop: generator, text embeddings and seeds to images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xmcgan.inference.fused import FusedGenerator
from xmcgan.model.generator import Generator
from xmcgan.types import TextEmbedding


@dataclass(frozen=True)
class Samples:
    """Generated images and their attention."""

    images_B3HW: Tensor  # uint8, on the CPU
    attention_BRT: Tensor | None  # each region's distribution over words, float32, on the CPU


def seeded_noise(seeds: Sequence[int], dim: int) -> Tensor:
    """z ~ N(0, I), float32: noise_BZ with one row per seed; each row depends only on its seed.

    Raises:
        ValueError: on a negative seed.
    """
    for seed in seeds:
        if seed < 0:
            raise ValueError(f"seed is {seed}; it should be at least 0")
    rows = [np.random.default_rng(seed).standard_normal(dim, dtype=np.float32) for seed in seeds]
    return torch.from_numpy(np.stack(rows))


def batch_rows(image_size: int, device: torch.device) -> int:
    """Default batch size: large enough to keep the device busy, small enough not to slow down a single image."""
    return max(1, 512 // image_size) * (4 if device.type == "cuda" else 1)


@torch.inference_mode()
def sample(
    generator: Generator | FusedGenerator,
    text: TextEmbedding,
    seeds: Sequence[int],
    *,
    batch_size: int | None = None,
    dtype: torch.dtype = torch.float32,
    callback: Callable[[int, int], None] | None = None,
) -> Samples:
    """Generate one image per caption and seed.

    Every forward pass has the same number of rows, padded if fewer are left, so that an image has the same bits
    whatever else is generated with it.

    Args:
        generator: in evaluation mode; embeddings and noise are moved to its device.
        text: embeddings of B captions.
        seeds: B seeds.
        batch_size: rows per forward pass.
        dtype: compute type of the layers, by autocast unless float32; a fused generator has its own.
        callback: called with (finished images, all images) after every forward pass.

    Raises:
        ValueError: if the numbers of captions and seeds differ, or a seed is negative.
    """
    count, device = len(seeds), next(generator.parameters()).device
    if count != len(text.mask_BT):
        raise ValueError(f"{len(text.mask_BT)} captions but {count} seeds; give one seed per caption")
    rows = batch_size or batch_rows(generator.image_size, device)
    noise_BZ = seeded_noise(seeds, generator.noise_dim)
    images, attention = [], []
    for chosen in full_batches(count, rows):
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            output = generator(noise_BZ[chosen].to(device), text[chosen].to(device))
        kept = min(rows, count - len(images) * rows)
        images.append(to_pixels(output.images_B3HW[:kept]))
        if output.attention_BRT is not None:
            attention.append(output.attention_BRT[:kept].float().cpu())
        if callback is not None:
            callback(min(len(images) * rows, count), count)
    return Samples(torch.cat(images), torch.cat(attention) if attention else None)


def full_batches(count: int, rows: int) -> Iterator[list[int]]:
    """Indices 0 ... count - 1 in lists of exactly ``rows``; the last list is padded with the last index."""
    for start in range(0, count, rows):
        yield [min(index, count - 1) for index in range(start, start + rows)]


def to_pixels(images_B3HW: Tensor) -> Tensor:
    """Images in [-1, 1] to uint8 on the CPU."""
    return images_B3HW.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).cpu()
