"""The arrays recorded from the authors' code (tests/golden/README.md says how), as torch sees them."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parents[1] / "golden"


@cache
def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def meta(name: str) -> dict:
    return json.loads(str(golden(name)["meta_json"]))


def below(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays under a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}


def nchw(array: np.ndarray, dtype: torch.dtype = torch.float64) -> Tensor:
    """An NHWC array as NCHW."""
    return torch.from_numpy(np.array(array)).to(dtype).permute(0, 3, 1, 2).contiguous()


def relative_error(value: Tensor | np.ndarray, reference: np.ndarray) -> float:
    """|value - reference| / |reference|, Euclidean; the absolute error where the reference is zero."""
    value = value.detach().double().numpy() if isinstance(value, Tensor) else value
    reference = np.asarray(reference, dtype=np.float64)
    assert value.shape == reference.shape, f"{value.shape} is not {reference.shape}"
    return float(np.linalg.norm(value - reference) / (np.linalg.norm(reference) or 1.0))
