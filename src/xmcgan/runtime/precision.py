"""Keeps sensitive computations in float32 when layers run in half precision."""

import torch
from torch import Tensor


def float32_or_wider(x: Tensor) -> Tensor:
    """Converts half precision to float32; leaves float32 and float64 unchanged."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
