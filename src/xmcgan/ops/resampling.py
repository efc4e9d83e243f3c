"""Convolutions joined with nearest upsampling or average pooling, at a fraction of the products."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BOX_CHANNELS = 64
"""Channels (the fewer of in and out) from which resampling convolutions take nine products a pixel instead of sixteen.

Upsampling is spreading the pixels apart and summing every 2 x 2 of them, and pooling is such a sum. It commutes with
the convolution, which is then the plain 3 x 3 one with stride 2. With few channels the pass over memory costs more
than the products it saves (docs/performance.md).
"""


def merge_kernel(kernel: Tensor) -> Tensor:
    """Sum of a 3 x 3 kernel's four shifts in a 4 x 4 window: (..., 3, 3) -> (..., 4, 4).

    Convolving with it at stride 2 does the work of a 3 x 3 convolution beside a 2 x 2 box, so it serves both
    nearest upsampling before, and average pooling after, a convolution: 4 products where there were 9.
    """
    rows = F.pad(kernel, (0, 0, 0, 1)) + F.pad(kernel, (0, 0, 1, 0))
    return F.pad(rows, (0, 1)) + F.pad(rows, (1, 0))


class BoxFilter(torch.autograd.Function):
    """Mean of the four pixels at every place of a 2 x 2 window: (B, C, H, W) -> (B, C, H + 2p - 1, W + 2p - 1).

    With a padding of 0 or 1; the gradient of either is the other. torch's own adds up in half precision, one number
    after another, and takes three times as long on the CPU.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, padding: int) -> Tensor:
        ctx.padding = padding
        return F.avg_pool2d(x, 2, stride=1, padding=padding)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        return BoxFilter.apply(grad_outputs[0], 1 - ctx.padding), None


class BiasGradient(torch.autograd.Function):
    """A map (B, C, H, W) that holds a bias without a gradient, given one.

    oneDNN's transposed convolution takes as long for its bias in bfloat16 as for all other gradients together.
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
        # Four times the kernel, which is exact, and the mean of four pixels are their sum.
        kernel = 4 * self.weight.flip(2, 3).transpose(0, 1)
        # The bias afterwards: with it oneDNN's transposed convolution takes up to ten times as long in bfloat16.
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
    """Each pixel twice in both directions: (B, C, H, W) -> (B, C, 2H, 2W)."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def upsample_conv_reference(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``UpsampleConv2d``, upsampling first."""
    return F.conv2d(upsample_nearest(x), weight, bias, padding=1)


def conv_average_pool_reference(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``ConvAveragePool2d``, at full size and then pooled."""
    return F.avg_pool2d(F.conv2d(x, weight, bias, padding=1), 2)
