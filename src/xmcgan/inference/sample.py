"""The sampling loop: generator, text embeddings and seeds, or noise, to images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from xmcgan.inference.fused import FusedGenerator
from xmcgan.inference.noise import NOISE, Noise, seeded_noise
from xmcgan.model.generator import Generator
from xmcgan.types import TextEmbedding


@dataclass(frozen=True)
class Samples:
    """Generated images and their attention."""

    images_B3HW: Tensor  # uint8, on the CPU
    attention_BRT: Tensor | None  # each region's distribution over words, float32, on the CPU


def batch_rows(image_size: int, device: torch.device) -> int:
    """Default batch size: large enough to keep the device busy, small enough not to slow down a single image."""
    return max(1, 512 // image_size) * (4 if device.type == "cuda" else 1)


def sample(
    generator: Generator | FusedGenerator,
    text: TextEmbedding,
    seeds: Sequence[int],
    *,
    noise: Noise = NOISE,
    truncation: float = 1.0,
    batch_size: int | None = None,
    dtype: torch.dtype = torch.float32,
    callback: Callable[[int, int], None] | None = None,
) -> Samples:
    """Generate one image per caption and seed.

    Args:
        generator: in evaluation mode; embeddings and noise are moved to its device.
        text: embeddings of B captions.
        seeds: B seeds.
        noise: the kind of noise that a seed stands for (``xmcgan.inference.noise``).
        truncation: factor of the noise, 0 to 1.
        batch_size: rows per forward pass.
        dtype: compute type of the layers, by autocast unless float32; a fused generator has its own.
        callback: called with (finished images, all images) after every forward pass.

    Raises:
        ValueError: if the numbers of captions and seeds differ, or a seed, noise or truncation is out of range.
    """
    if len(seeds) != len(text.mask_BT):
        raise ValueError(f"{len(text.mask_BT)} captions but {len(seeds)} seeds; give one seed per caption")
    noise_BZ = seeded_noise(seeds, generator.noise_dim, noise, truncation)
    return sample_noise(generator, text, noise_BZ, batch_size=batch_size, dtype=dtype, callback=callback)


@torch.inference_mode()
def sample_noise(
    generator: Generator | FusedGenerator,
    text: TextEmbedding,
    noise_BZ: Tensor,
    *,
    weights_BT: Tensor | None = None,
    batch_size: int | None = None,
    dtype: torch.dtype = torch.float32,
    callback: Callable[[int, int], None] | None = None,
) -> Samples:
    """Generate one image per caption and row of noise.

    ``weights_BT`` are factors on the words' attention, for a fused generator; the other arguments are ``sample``'s.

    Every forward pass has the same number of rows, padded if fewer are left, so that an image has the same bits
    no matter what else is generated with it.
    """
    count, device = len(noise_BZ), next(generator.parameters()).device
    rows = batch_size or batch_rows(generator.image_size, device)
    images, attention = [], []
    for chosen in full_batches(count, rows):
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            weights = () if weights_BT is None else (weights_BT[chosen].to(device),)
            output = generator(noise_BZ[chosen].to(device), text.rows(chosen).to(device), *weights)
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
    """Images in [-1, 1] to uint8 on the CPU.

    Raises:
        ValueError: if a value is NaN, which would become black.
    """
    if images_B3HW.isnan().any():
        raise ValueError(
            "the generator gives NaN: its numbers are too large for its precision, or a weight is NaN. Try float32"
        )
    return images_B3HW.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).cpu()


def to_image(pixels_3HW: Tensor) -> Image.Image:
    """uint8 pixels as a PIL image."""
    return Image.fromarray(pixels_3HW.permute(1, 2, 0).numpy())
