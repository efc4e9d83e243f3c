"""What images and arithmetic go through before a pretrained network: the choices behind most differences of FID.

Images here are uint8, so they have been rounded as a PNG rounds them, whoever drew them. They are squares already
where the protocol has squares (data.captions.ImageTransform); a network's own size is reached by squashing.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

Resize = Literal["antialiased", "legacy-tensorflow", "legacy-pytorch"]
"""How an image gets the size that a network wants (Parmar et al., On Aliased Resizing and Surprising Subtleties in GAN
Evaluation, CVPR 2022):

- ``antialiased``: PIL's bicubic filter, widened where it shrinks, a channel at a time in float32; clean-fid's "clean".
- ``legacy-tensorflow``: bilinear between the two nearest pixels, corners aligned as TensorFlow 1 does; the resizing
  inside the first Inception graph of FID, clean-fid's "legacy_tensorflow", torch-fidelity's only one.
- ``legacy-pytorch``: bilinear between the two nearest pixels, centres aligned; clean-fid's "legacy_pytorch".
"""

CHUNK = 10
"""Rows of every forward pass, whatever was asked for: libraries choose their kernels by the shape, and an image's
features are to have the same bits in any company. On a CPU 10 images are as fast an image as 50."""


def resize(images_B3HW: Tensor, size: int, how: Resize) -> Tensor:
    """uint8 images to float32 pixels in [0, 255], not rounded: (B, 3, size, size).

    Raises:
        ValueError: on an unknown way, or what :func:`check_images` refuses.
    """
    check_images(images_B3HW)
    pixels = images_B3HW.float()
    match how:
        case "antialiased":
            return antialiased(pixels, size)
        case "legacy-tensorflow":
            return corner_bilinear(pixels, size)
        case "legacy-pytorch":
            return F.interpolate(pixels, (size, size), mode="bilinear", align_corners=False, antialias=False)
    raise ValueError(f"resize is {how!r}; it can be {', '.join(get_args(Resize))}")


def antialiased(pixels_B3HW: Tensor, size: int) -> Tensor:
    """Each channel as a float image of PIL, resized bicubically, and clipped to [0, 255] as clean-fid 0.1.35 does."""
    channels = pixels_B3HW.flatten(0, 1).numpy()
    resized = [
        np.asarray(Image.fromarray(channel).resize((size, size), Image.Resampling.BICUBIC)) for channel in channels
    ]
    return torch.from_numpy(np.stack(resized)).clamp_(0, 255).unflatten(0, pixels_B3HW.shape[:2])


def corner_bilinear(pixels_B3HW: Tensor, size: int) -> Tensor:
    """Bilinear as TensorFlow 1 does it, to the bit: output k lies at k * (input / output), columns before rows."""
    for axis in (3, 2):
        length = pixels_B3HW.shape[axis]
        places = torch.arange(size, dtype=torch.float32) * torch.tensor(length / size, dtype=torch.float32)
        low = places.long()
        share = (places - low).reshape(-1, *[1] * (3 - axis))
        first = pixels_B3HW.index_select(axis, low)
        second = pixels_B3HW.index_select(axis, (low + 1).clamp_max(length - 1))
        pixels_B3HW = first + (second - first) * share
    return pixels_B3HW


def as_pil(images_B3HW: Tensor) -> list[Image.Image]:
    """uint8 images as PIL's."""
    check_images(images_B3HW)
    return [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images_B3HW]


def check_images(images_B3HW: Tensor) -> None:
    """Refuses all but uint8 pixels (B, 3, H, W) with at least one image.

    Raises:
        ValueError: saying what was given. Floats in [0, 1] or [-1, 1] would be judged as black otherwise.
    """
    if images_B3HW.dtype != torch.uint8 or images_B3HW.dim() != 4 or images_B3HW.shape[1] != 3 or not len(images_B3HW):
        given = f"{images_B3HW.dtype} {tuple(images_B3HW.shape)}"
        raise ValueError(f"the images are {given}; a network judges torch.uint8 (B, 3, H, W), at least one")


@contextmanager
def whole_float32(device: torch.device) -> Generator[None]:
    """Without gradients, autocast, TF32 or kernels chosen by a trial: a number should not depend on the card."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with (
            torch.no_grad(),
            torch.autocast(device.type, enabled=False),
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


def in_chunks(network: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """What a network makes of each row, CHUNK rows at a time; the last chunk is filled up with zeros."""
    results = []
    for chunk in rows.split(CHUNK):
        filling = chunk.new_zeros(CHUNK - len(chunk), *chunk.shape[1:])
        results.append(network(torch.cat([chunk, filling]))[: len(chunk)])
    return torch.cat(results)
