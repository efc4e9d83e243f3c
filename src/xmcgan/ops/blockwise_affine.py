"""Scale and shift per block of pixels, with gradients as cheap as pooling."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from xmcgan.ops.memory import to_memory_format


def blockwise_affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """x * scale + shift in x's precision; each value of the (B, C, 16, 16) scale and shift applies to a block of x."""
    # Scale and shift come from matrix products, in channels_last; convert them to the layout of x.
    channels_last = x.is_contiguous(memory_format=torch.channels_last)
    scale, shift = (to_memory_format(each, channels_last=channels_last).to(x.dtype) for each in (scale, shift))
    return BlockwiseAffine.apply(x, scale, shift)


def blockwise_affine_reference(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """The same, with scale and shift upsampled to the size of x."""
    scale, shift = (F.interpolate(each, size=x.shape[2:], mode="nearest") for each in (scale, shift))
    return x * scale + shift


def bilinear_affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """x * scale + shift in x's precision, with the (B, C, 16, 16) scale and shift upsampled bilinearly."""
    channels_last = x.is_contiguous(memory_format=torch.channels_last)
    scale, shift = (
        F.interpolate(
            to_memory_format(each, channels_last=channels_last).to(x.dtype), size=x.shape[2:], mode="bilinear"
        )
        for each in (scale, shift)
    )
    return torch.addcmul(shift, x, scale)


class BlockwiseAffine(torch.autograd.Function):
    """x * scale + shift, where each value of the (B, C, 16, 16) scale and shift applies to a k x k block of x.

    An explicit backward pass sums the gradients of scale and shift over blocks by pooling: autograd's sum over
    (B, C, 16, k, 16, k) takes up to sixty times as long (docs/performance.md).
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
        block = x.shape[2] // side
        to_x = (blocks_of(gradient, side) * scale[:, :, :, None, :, None]).flatten(4, 5).flatten(2, 3)
        to_scale, to_shift = (F.avg_pool2d(each, block, divisor_override=1) for each in (gradient * x, gradient))
        return to_x, to_scale, to_shift


def blocks_of(x: Tensor, side: int) -> Tensor:
    """Splits a map into side x side blocks: (B, C, H, W) -> (B, C, side, H / side, side, W / side)."""
    return x.unflatten(3, (side, -1)).unflatten(2, (side, -1))
