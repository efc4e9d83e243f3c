"""The small convolutional image network of the trained evaluation networks."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CELL = 16
"""Total stride of the network: side in pixels of one cell of the last stage."""

CHUNK = 256
"""Images or captions per forward pass, which bounds memory."""


class Stage(nn.Module):
    """A stride-2 convolution, followed by a residual convolution if ``deep``."""

    def __init__(self, in_channels: int, channels: int, *, kernel: int, deep: bool):
        super().__init__()
        self.down = nn.Conv2d(in_channels, channels, kernel, stride=2, padding=kernel // 2, bias=False)
        self.down_norm = nn.BatchNorm2d(channels)
        self.same = nn.Conv2d(channels, channels, 3, padding=1, bias=False) if deep else None
        self.same_norm = nn.BatchNorm2d(channels) if deep else None

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.down_norm(self.down(x)))
        if self.same is None or self.same_norm is None:
            return x
        return x + F.relu(self.same_norm(self.same(x)))


class ImageNetwork(nn.Module):
    """images_B3HW in [-1, 1] -> (B, dim).

    Four stages, each halving the resolution; the first two, which have the most pixels, are single convolutions. The
    remaining cells (4 x 4 for 64-pixel images) are flattened rather than averaged, because captions describe positions.

    Args:
        image_size: height and width in pixels, a multiple of 16.
        width: channels of the first stage; the others have 2, 4 and 6 times as many.
        dim: output dimension.

    Raises:
        ValueError: if the image size is not a multiple of 16, or width or dim is below 1.
    """

    def __init__(self, *, image_size: int, width: int, dim: int):
        super().__init__()
        if image_size < CELL or image_size % CELL:
            raise ValueError(f"image_size is {image_size}; it should be a multiple of {CELL}")
        if width < 1 or dim < 1:
            raise ValueError(f"width is {width} and dim {dim}; both should be at least 1")
        self.stages = nn.Sequential(
            Stage(3, width, kernel=5, deep=False),
            Stage(width, 2 * width, kernel=3, deep=False),
            Stage(2 * width, 4 * width, kernel=3, deep=True),
            Stage(4 * width, 6 * width, kernel=3, deep=True),
        )
        self.narrow = nn.Conv2d(6 * width, 4 * width, 1)
        self.head = nn.Linear(4 * width * (image_size // CELL) ** 2, dim)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        cells = F.relu(self.narrow(self.stages(images_B3HW)))
        return self.head(cells.flatten(1))


def to_network_size(images_B3HW: Tensor, size: int) -> Tensor:
    """uint8 pixels of any size to float32 images in [-1, 1] of size x size: bilinear, antialiased when shrinking.

    Raises:
        ValueError: if the images are not uint8 (B, 3, H, W).
    """
    if images_B3HW.dtype != torch.uint8 or images_B3HW.dim() != 4 or images_B3HW.shape[1] != 3:
        raise ValueError(
            f"images are {images_B3HW.dtype} {tuple(images_B3HW.shape)}; they should be uint8 pixels (B, 3, H, W)"
        )
    images = images_B3HW.float()
    if images.shape[2:] != (size, size):
        images = F.interpolate(images, (size, size), mode="bilinear", align_corners=False, antialias=True)
    return images.div(127.5).sub(1).contiguous(memory_format=torch.channels_last)
