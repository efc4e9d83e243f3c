"""What stays in float32 while layers compute in half precision: cosines, losses, attention."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def float32_or_wider(x: Tensor) -> Tensor:
    """Half precision as float32; float64 stays as it is."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


SHORTEST = 1e-6
"""A vector shorter than this is only made 10^6 times as long."""


def unit_rows(x: Tensor) -> Tensor:
    """Vectors of unit length along the last dimension, float32 or wider; a zero vector stays zero."""
    x = float32_or_wider(x)
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True).clamp_min(SHORTEST**2))


class UnitRows(torch.autograd.Function):
    """``unit_rows`` in little memory: the backward pass keeps the result, and not the input beside its squares."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        square = x.square().sum(-1, keepdim=True)
        inverse = square.clamp_min(SHORTEST**2).rsqrt()
        unit = x * inverse
        ctx.save_for_backward(unit, inverse, square > SHORTEST**2)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        """With y = x / |x|, d x = (g - y <g, y>) / |x|; of a vector that is too short, g times 10^6."""
        (gradient,) = grad_outputs
        unit, inverse, is_long = ctx.saved_tensors
        along = (gradient * unit).sum(-1, keepdim=True) * is_long
        return torch.addcmul(gradient, unit, along, value=-1).mul_(inverse)
