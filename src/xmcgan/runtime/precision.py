"""Keeps sensitive computations in float32 when layers run in half precision."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def float32_or_wider(x: Tensor) -> Tensor:
    """Converts half precision to float32; leaves float32 and float64 unchanged."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def layers_in(precision: torch.dtype, device: torch.device) -> AbstractContextManager[object]:
    """The context in which layers compute in ``precision``, while parameters stay float32."""
    if device.type == "meta":  # operations are only counted there, and it has no autocast
        return nullcontext()
    return torch.autocast(device.type, precision, enabled=precision != torch.float32)


def no_half_precision(device: torch.device) -> AbstractContextManager[object]:
    """The context in which everything computes in the precision of its inputs."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)
