"""Scale and shift per block of pixels, with gradients that cost no more than pooling."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class BlockwiseAffine(torch.autograd.Function):
    """x * scale + shift, where each value of the (B, C, 16, 16) scale and shift serves its whole square of x.

    Written out for the gradients of scale and shift, sums over the squares: autograd's sum over (B, C, 16, k, 16, k)
    takes up to sixty times as long as pooling (docs/performance.md).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        ctx.save_for_backward(x, scale)
        scale, shift = scale[:, :, :, None, :, None], shift[:, :, :, None, :, None]
        return torch.addcmul(shift, blocks_of(x, scale.shape[2]), scale).flatten(4, 5).flatten(2, 3)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        (gradient,) = grad_outputs
        x, scale = ctx.saved_tensors
        side = scale.shape[2]
        times = x.shape[2] // side
        to_x = (blocks_of(gradient, side) * scale[:, :, :, None, :, None]).flatten(4, 5).flatten(2, 3)
        to_scale, to_shift = (F.avg_pool2d(each, times, divisor_override=1) for each in (gradient * x, gradient))
        return to_x, to_scale, to_shift


def blocks_of(x: Tensor, side: int) -> Tensor:
    """A map cut into side x side squares: (B, C, H, W) -> (B, C, side, H / side, side, W / side)."""
    return x.unflatten(3, (side, -1)).unflatten(2, (side, -1))
