"""The only sampling loop: generator, text, seeds -> images."""

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
    """Drawn images and where they looked."""

    images_B3HW: Tensor  # uint8, on the CPU
    attention_BRT: Tensor | None  # each region's distribution over words, float32, on the CPU


def seeded_noise(seeds: Sequence[int], dim: int) -> Tensor:
    """z ~ N(0, I), one row a seed and a function of that seed alone: noise_BZ, float32.

    Raises:
        ValueError: on a negative seed.
    """
    for seed in seeds:
        if seed < 0:
            raise ValueError(f"seed is {seed}; a seed is a whole number from 0 on")
    rows = [np.random.default_rng(seed).standard_normal(dim, dtype=np.float32) for seed in seeds]
    return torch.from_numpy(np.stack(rows))


def batch_rows(image_size: int, device: torch.device) -> int:
    """Rows of a forward pass where none are asked for: enough to keep the device busy, few enough for one image."""
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
    """Draws one image a caption and seed.

    Every forward pass has the same number of rows, filled up where fewer are left, so that an image does not depend,
    to the last bit, on what is drawn beside it.

    Args:
        generator: in evaluation mode; the embeddings and noise go to its device.
        text: of B captions.
        seeds: B of them.
        batch_size: rows of a forward pass.
        dtype: in which layers compute, through autocast unless float32; a prepared generator has its own.
        callback: called with (images done, images in all) after every forward pass.
    """
    count, device = len(seeds), next(generator.parameters()).device
    if count != len(text.mask_BT):
        raise ValueError(f"{len(text.mask_BT)} captions but {count} seeds; give one seed a caption")
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
    """Indices 0 ... count - 1 in lists of exactly ``rows``; the last index fills up the last list."""
    for start in range(0, count, rows):
        yield [min(index, count - 1) for index in range(start, start + rows)]


def to_pixels(images_B3HW: Tensor) -> Tensor:
    """Images in [-1, 1] to uint8 on the CPU."""
    return images_B3HW.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).cpu()
