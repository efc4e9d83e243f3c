"""Residual blocks of the generator and the discriminator."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from xmcgan.model.modulation import Modulation, SelfModulation, SpatialCondition
from xmcgan.ops.resampling import ConvAveragePool2d, UpsampleConv2d, upsample_nearest


def glorot_normal(module: nn.Module) -> None:
    """Glorot-normal kernels and zero biases of a linear layer or convolution, as in the official implementation."""
    if isinstance(module, nn.Linear | nn.Conv2d) and not module.weight.is_meta:  # meta tensors have no values
        nn.init.xavier_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class UpBlock(nn.Module):
    """Residual block of the generator: (B, I, H, W) -> (B, O, 2H, 2W).

    norm, relu, upsample, conv 3 x 3, norm, relu, conv 3 x 3; shortcut: upsample, conv 1 x 1. The shortcut convolves
    before it upsamples: the result is the same, at a quarter of the cost.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        condition_dim: int,
        modulation: Callable[[int, int], Modulation] = SelfModulation,
    ):
        super().__init__()
        self.norm1 = modulation(in_channels, condition_dim)
        self.conv1 = UpsampleConv2d(in_channels, out_channels)
        self.norm2 = modulation(out_channels, condition_dim)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, condition: Tensor | SpatialCondition) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x, condition)))
        y = self.conv2(F.relu(self.norm2(y, condition)))
        return y + upsample_nearest(self.shortcut(x))


class OptimizedDownBlock(nn.Module):
    """First block of the discriminator, applied to the image: (B, I, H, W) -> (B, O, H/2, W/2).

    conv, relu, conv, pool; shortcut: pool, conv 1 x 1.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv2 = ConvAveragePool2d(out_channels, out_channels)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.relu(self.conv1(x))) + self.shortcut(F.avg_pool2d(x, 2))


class DownBlock(nn.Module):
    """Residual block of the discriminator: (B, I, H, W) -> (B, O, H/2, W/2), or (B, O, H, W) without downsampling.

    relu, conv, relu, conv, (pool); shortcut on the raw input: (pool), conv 1 x 1, or the identity if neither size nor
    width changes. The shortcut pools before its 1 x 1 convolution: the result is the same, at a quarter of the cost.
    """

    def __init__(self, in_channels: int, out_channels: int, *, downsample: bool):
        super().__init__()
        self.downsample = downsample
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv2 = (
            ConvAveragePool2d(out_channels, out_channels)
            if downsample
            else nn.Conv2d(out_channels, out_channels, 3, padding=1)
        )
        changes = downsample or in_channels != out_channels
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.conv1(F.relu(x))))
        return y + self.shortcut(F.avg_pool2d(x, 2) if self.downsample else x)
