"""What the official implementation computed of attention and losses, and how near ours must be."""

import numpy as np
import torch
from torch import Tensor

from golden_arrays import golden, meta, relative_error

RECORDED = golden("attention_losses")


DEVIATIONS = meta("attention_losses")["f32_deviation_max_abs_and_rel_l2"]


DTYPES = [torch.float64, torch.float32]


def recorded(key: str, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.from_numpy(np.array(RECORDED[key])).to(dtype)


def leaf(key: str, dtype: torch.dtype) -> Tensor:
    return recorded(key, dtype).requires_grad_()


def recorded_mask() -> Tensor:
    return torch.arange(RECORDED["word_feat"].shape[1]) < torch.from_numpy(RECORDED["max_len"]).long()


def same(value: Tensor, key: str) -> None:
    """To 1e-6 in float64; in float32 ten times the deviation of the authors' code in float32, one eps at the least."""
    error = relative_error(value, RECORDED[key])
    if value.dtype == torch.float64:
        assert error <= 1e-6, f"{key}: {error}"
        return
    their_absolute, their_relative = DEVIATIONS.get(key, (0.0, 0.0))  # accuracies have none recorded: they are exact
    absolute = np.abs(value.detach().double().numpy() - RECORDED[key]).max()
    close = error <= 10 * max(their_relative, np.finfo(np.float32).eps)
    assert close or absolute <= 10 * their_absolute, f"{key}: {error}, {absolute}"
