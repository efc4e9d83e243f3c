"""What stays in float32 while layers compute in half precision: cosines, losses, attention."""

import torch
from torch import Tensor


def float32_or_wider(x: Tensor) -> Tensor:
    """Half precision as float32; float64 stays as it is."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def unit_rows(x: Tensor) -> Tensor:
    """Vectors of unit length along the last dimension, float32 or wider; a zero vector stays zero."""
    x = float32_or_wider(x)
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True).clamp_min(1e-12))
