"""Vectors of unit length, with a backward pass that needs little memory."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from xmcgan.runtime.precision import float32_or_wider

MIN_LENGTH = 1e-6
"""A vector no longer than this counts as zero: it is normalised to zero and gets a zero gradient.

An untrained discriminator maps black pixels to zero vectors. The official implementation divides by at least this
length instead, which multiplies their gradients by 10^6; Adam's second moment then freezes the weights before them for
thousands of steps.
"""


def inverse_length(square: Tensor) -> Tensor:
    """1 / length from squared lengths; 0 for vectors no longer than ``MIN_LENGTH``."""
    return square.masked_fill(square <= MIN_LENGTH**2, torch.inf).rsqrt()


def unit_rows(x: Tensor) -> Tensor:
    """Normalises vectors along the last dimension, in float32 or wider; zero vectors stay zero."""
    x = float32_or_wider(x)
    return x * inverse_length(x.square().sum(-1, keepdim=True))


class UnitRows(torch.autograd.Function):
    """``unit_rows`` in less memory: the backward pass keeps the output, not the input and its squares."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        inverse = inverse_length(x.square().sum(-1, keepdim=True))
        unit = x * inverse
        ctx.save_for_backward(unit, inverse)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        """dx = (g - y <g, y>) / |x|, with y = x / |x|."""
        (gradient,) = grad_outputs
        unit, inverse = ctx.saved_tensors
        along = (gradient * unit).sum(-1, keepdim=True)
        return torch.addcmul(gradient, unit, along, value=-1).mul_(inverse)


def unit_rows_reference(x: Tensor) -> Tensor:
    """``unit_rows`` and ``UnitRows`` for nonzero vectors."""
    return x / x.norm(dim=-1, keepdim=True)
