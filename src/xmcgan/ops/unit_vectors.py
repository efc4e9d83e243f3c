"""Vectors of unit length, with a gradient that needs little memory."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from xmcgan.runtime.precision import float32_or_wider

SHORTEST = 1e-6
"""A vector no longer than this has no direction: the unit vector made of it is zero, and so is its gradient.

An untrained discriminator makes zeros of black pixels. The official implementation divides by this length at
least, which multiplies the gradient by 10^6: Adam would hold the weights behind it still for thousands of steps.
"""


def inverse_length(square: Tensor) -> Tensor:
    """1 / sqrt of squared lengths; 0 for those without a direction."""
    return square.masked_fill(square <= SHORTEST**2, torch.inf).rsqrt()


def unit_rows(x: Tensor) -> Tensor:
    """Vectors of unit length along the last dimension, float32 or wider; one of no length becomes zero."""
    x = float32_or_wider(x)
    return x * inverse_length(x.square().sum(-1, keepdim=True))


class UnitRows(torch.autograd.Function):
    """``unit_rows`` in little memory: the backward pass keeps the result, and not the input beside its squares."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        inverse = inverse_length(x.square().sum(-1, keepdim=True))
        unit = x * inverse
        ctx.save_for_backward(unit, inverse)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        """With y = x / |x|, d x = (g - y <g, y>) / |x|."""
        (gradient,) = grad_outputs
        unit, inverse = ctx.saved_tensors
        along = (gradient * unit).sum(-1, keepdim=True)
        return torch.addcmul(gradient, unit, along, value=-1).mul_(inverse)


def unit_rows_reference(x: Tensor) -> Tensor:
    """``unit_rows`` and ``UnitRows``, of vectors that have a direction."""
    return x / x.norm(dim=-1, keepdim=True)
