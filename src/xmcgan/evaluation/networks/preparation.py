"""Image resizing and numerics of pretrained networks: the choices behind most differences between FID values.

Images are uint8, rounded as in a PNG, whatever their source. ``data.images.ImageTransform`` has already made them
square; here they are squashed to the network's input size.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

Resize = Literal["antialiased", "legacy-tensorflow", "legacy-pytorch"]
"""How images are resized to a network's input size (Parmar et al., On Aliased Resizing and Surprising Subtleties in GAN
Evaluation, CVPR 2022):

- ``antialiased``: PIL's antialiased bicubic filter on float32 channels; clean-fid's "clean".
- ``legacy-tensorflow``: bilinear without antialiasing, TensorFlow 1's top-left alignment; built into FID's original
  Inception graph, clean-fid's "legacy_tensorflow", and the only choice of torch-fidelity.
- ``legacy-pytorch``: bilinear without antialiasing, aligned pixel centres; clean-fid's "legacy_pytorch".
"""

CHUNK = 10
"""Rows of every forward pass. Libraries choose kernels by shape; with a fixed shape, an image's features have the same
bits whatever else is in the batch. On a CPU, time per image is the same at 10 and at 50 images."""


def resize(images_B3HW: Tensor, size: int, mode: Resize) -> Tensor:
    """uint8 images to float32 pixels in [0, 255], not rounded: (B, 3, size, size).

    Raises:
        ValueError: on an unknown mode, or images that :func:`check_images` rejects.
    """
    check_images(images_B3HW)
    pixels = images_B3HW.float()
    match mode:
        case "antialiased":
            return antialiased(pixels, size)
        case "legacy-tensorflow":
            return corner_bilinear(pixels, size)
        case "legacy-pytorch":
            return F.interpolate(pixels, (size, size), mode="bilinear", align_corners=False, antialias=False)
    raise ValueError(f"mode is {mode!r}; it can be {', '.join(get_args(Resize))}")


def antialiased(pixels_B3HW: Tensor, size: int) -> Tensor:
    """Bicubic resizing by PIL of each channel as a float image, clipped to [0, 255] as in clean-fid 0.1.35."""
    channels = pixels_B3HW.flatten(0, 1).numpy()
    resized = [
        np.asarray(Image.fromarray(channel).resize((size, size), Image.Resampling.BICUBIC)) for channel in channels
    ]
    return torch.from_numpy(np.stack(resized)).clamp_(0, 255).unflatten(0, pixels_B3HW.shape[:2])


def corner_bilinear(pixels_B3HW: Tensor, size: int) -> Tensor:
    """TensorFlow 1's bilinear resizing to the bit: output k samples position k * (input / output), columns first."""
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
    """uint8 images as PIL images."""
    check_images(images_B3HW)
    return [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images_B3HW]


def check_images(images_B3HW: Tensor) -> None:
    """Reject images other than uint8 pixels (B, 3, H, W), at least one. Floats in [-1, 1] would count as black images.

    Raises:
        ValueError: with the type and shape of the images.
    """
    if images_B3HW.dtype != torch.uint8 or images_B3HW.dim() != 4 or images_B3HW.shape[1] != 3 or not len(images_B3HW):
        actual = f"{images_B3HW.dtype} {tuple(images_B3HW.shape)}"
        raise ValueError(f"images are {actual}; they should be torch.uint8 (B, 3, H, W), at least one")


HALF: ContextVar[torch.dtype | None] = ContextVar("HALF", default=None)
"""The half precision that networks run in; None for float32."""


@contextmanager
def network_precision(name: str) -> Generator[None]:
    """Run evaluation networks in float32, bfloat16 or float16; weights stay float32.

    Half precision is faster on GPUs and changes a number in its third digit or so; results record it.
    """
    half = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]
    token = HALF.set(half)
    try:
        if half is None:
            yield
        else:
            with torch.autocast("cpu", torch.bfloat16), torch.autocast("cuda", half, enabled=torch.cuda.is_available()):
                yield
    finally:
        HALF.reset(token)


@contextmanager
def strict_float32(device: torch.device) -> Generator[None]:
    """Disable gradients, autocast, TF32 and cuDNN autotuning, so that results do not depend on the GPU.

    Inside :func:`network_precision` with a half precision, that precision is used instead of float32.
    """
    precision, half = torch.get_float32_matmul_precision(), HALF.get()
    torch.set_float32_matmul_precision("highest")
    autocast = torch.autocast(device.type, enabled=False) if half is None else torch.autocast(device.type, half)
    try:
        with (
            torch.no_grad(),
            autocast,
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


def in_chunks(network: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Apply a network to CHUNK rows at a time; the last chunk is padded with zeros."""
    results = []
    for chunk in rows.split(CHUNK):
        filling = chunk.new_zeros(CHUNK - len(chunk), *chunk.shape[1:])
        results.append(network(torch.cat([chunk, filling]))[: len(chunk)])
    return torch.cat(results)
