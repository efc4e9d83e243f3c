"""What stays in float32 while layers compute in half precision."""

import torch
from torch import Tensor


def float32_or_wider(x: Tensor) -> Tensor:
    """Half precision as float32; float64 stays as it is."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
