"""Convolutions fused with nearest upsampling or average pooling, at a fraction of the multiplications."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BOX_CHANNELS = 64
"""From this many channels (the smaller of in and out) on, a resampling convolution uses a box filter and a 3 x 3 kernel
instead of a merged 4 x 4 kernel: 9 multiplications a pixel instead of 16.

Nearest upsampling is zero insertion followed by a 2 x 2 box filter; average pooling is a box filter followed by
subsampling. The box filter commutes with the convolution, which leaves a 3 x 3 convolution with stride 2. With few
channels, the extra pass over memory costs more than the multiplications it saves (docs/performance.md).
"""


def merge_kernel(kernel: Tensor) -> Tensor:
    """Sum of a 3 x 3 kernel's four shifts in a 4 x 4 window: (..., 3, 3) -> (..., 4, 4).

    At stride 2, the merged kernel does the work of a 3 x 3 convolution and a 2 x 2 box filter. Transposed, it is
    nearest upsampling and then the convolution; times 1/4, it is the convolution and then average pooling. An upsampled
    pixel takes 4 multiplications instead of 9.
    """
    rows = F.pad(kernel, (0, 0, 0, 1)) + F.pad(kernel, (0, 0, 1, 0))
    return F.pad(rows, (0, 1)) + F.pad(rows, (1, 0))


class BoxFilter(torch.autograd.Function):
    """2 x 2 average pooling with stride 1 and padding p, 0 or 1: (B, C, H, W) -> (B, C, H + 2p - 1, W + 2p - 1).

    The gradient with padding p is the same filter with padding 1 - p. torch's own gradient accumulates in half
    precision and takes three times as long on the CPU.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, padding: int) -> Tensor:
        ctx.padding = padding
        return F.avg_pool2d(x, 2, stride=1, padding=padding)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        return BoxFilter.apply(grad_outputs[0], 1 - ctx.padding), None


class BiasGradient(torch.autograd.Function):
    """The identity on a map (B, C, H, W) to which a detached bias was added; backward computes the bias' gradient.

    In bfloat16, oneDNN's transposed convolution takes as long for its bias gradient as for all others together.
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor, bias: Tensor) -> Tensor:
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        return grad_outputs[0], grad_outputs[0].sum((0, 2, 3))


class UpsampleConv2d(nn.Conv2d):
    """Nearest upsampling x2, then a 3 x 3 convolution: (B, I, H, W) -> (B, O, 2H, 2W)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(self, input: Tensor) -> Tensor:
        assert self.bias is not None
        if min(self.weight.shape[:2]) < BOX_CHANNELS:
            kernel = merge_kernel(self.weight).flip(2, 3).transpose(0, 1)
            y = F.conv_transpose2d(input, kernel, self.bias.detach(), stride=2, padding=1)
            return BiasGradient.apply(y, self.bias)
        # Times 4 (exact in floating point), because BoxFilter averages and upsampling needs the sum.
        kernel = 4 * self.weight.flip(2, 3).transpose(0, 1)
        # Add the bias last: inside, it makes oneDNN's bfloat16 transposed convolution up to ten times slower.
        y = BoxFilter.apply(F.conv_transpose2d(input, kernel, stride=2), 0)
        return y.add_(self.bias.to(y.dtype)[:, None, None])


class ConvAveragePool2d(nn.Conv2d):
    """A 3 x 3 convolution, then 2 x 2 average pooling: (B, I, H, W) -> (B, O, H/2, W/2)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(self, input: Tensor) -> Tensor:
        if min(self.weight.shape[:2]) < BOX_CHANNELS:
            return F.conv2d(input, merge_kernel(self.weight) / 4, self.bias, stride=2, padding=1)
        return F.conv2d(BoxFilter.apply(input, 1), self.weight, self.bias, stride=2)


def upsample_nearest(x: Tensor) -> Tensor:
    """Nearest upsampling x2: (B, C, H, W) -> (B, C, 2H, 2W)."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def upsample_conv_reference(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``UpsampleConv2d`` in two steps: upsample, then convolve."""
    return F.conv2d(upsample_nearest(x), weight, bias, padding=1)


def conv_average_pool_reference(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``ConvAveragePool2d`` in two steps: convolve at full size, then pool."""
    return F.avg_pool2d(F.conv2d(x, weight, bias, padding=1), 2)
