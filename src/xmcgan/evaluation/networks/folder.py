"""Folders of trained evaluation networks (``config.json``, ``weights.safetensors``), and those shipped in the package.

``config.json`` is written last and holds the SHA-256 of the weights, so an incomplete folder is never loaded.
"""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from xmcgan.encoders.image import refuse_nan
from xmcgan.evaluation.networks.weight_files import loading_errors, weights_sha256
from xmcgan.inference.model_files import check_shapes, read_tensors
from xmcgan.runtime.field_types import check_fields, shortened
from xmcgan.runtime.files import read_json

FORMAT = 2
"""Versions of config.json, which records its version from 2 on: in 2 an image network can be frozen."""

CONFIG_FILE, WEIGHTS_FILE = "config.json", "weights.safetensors"

SHIPPED = Path(__file__).parent / "weights"
SCENES_DUAL_ENCODER = SHIPPED / "scenes-dual-encoder"
SCENES_PRESENCE = SHIPPED / "scenes-presence"

Network = TypeVar("Network", bound=nn.Module)
Shape = TypeVar("Shape")


def read_folder(folder: Path, kind: str) -> dict[str, Any]:
    """Read ``config.json`` of an evaluation network of a kind, ``dual-encoder`` or ``presence``.

    Raises:
        FileNotFoundError: if the folder has no ``config.json``.
        ValueError: if it is damaged or describes another kind of network.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is not a complete trained evaluator: {CONFIG_FILE} is missing")
    description = read_json(path)
    found = description.get("kind") if isinstance(description, dict) else None
    if found != kind:
        raise ValueError(f"{path} has kind {shortened(found)}; it should be {kind!r}")
    written = description.get("format", 1)
    if written not in range(1, FORMAT + 1):
        raise ValueError(f"{path} has format {shortened(written)}; this version of xmcgan reads 1 to {FORMAT}")
    missing = {"name", "shape", "weights_sha256"} - description.keys()
    if missing:
        raise ValueError(f"{path} is damaged: it lacks {', '.join(sorted(missing))}")
    if not isinstance(description["name"], str) or not isinstance(description["shape"], dict):
        raise ValueError(f"{path} is damaged: name should be text, and shape sizes by name")
    return description


def read_shape(kind: Callable[..., Shape], folder: Path, description: dict[str, Any]) -> Shape:
    """The sizes of the network in a folder.

    Raises:
        ValueError: naming config.json and the size that is unknown or invalid.
    """
    try:
        values, known = description["shape"], {field.name for field in fields(kind)}  # ty: ignore[invalid-argument-type]
        if values.keys() - known:
            raise ValueError(f"unknown size {min(values.keys() - known)}")
        check_fields(kind, values)
        return kind(**values)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{folder / CONFIG_FILE} is damaged: shape: {error}") from error


def load_network(build: Callable[[], Network], folder: Path, description: dict[str, Any]) -> Network:
    """Build a network and load a folder's weights (matrices are stored as float16) into it.

    Its shapes are compared with the weights before it takes any memory.

    Raises:
        FileNotFoundError: if the weights are missing.
        ValueError: if they are damaged, do not match the SHA-256 in ``config.json``, or do not fit the network.
    """
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the folder of the evaluator is incomplete")
    found, expected = weights_sha256([path]), description["weights_sha256"]
    if found != expected:
        raise ValueError(f"{path} has SHA-256 {found}; {CONFIG_FILE} expects {shortened(expected)}")
    state = read_tensors(path)
    refuse_nan(state, path)
    try:
        with torch.device("meta"):
            check_shapes(build(), path)
        network = build()
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{folder / CONFIG_FILE} and {path.name} do not belong together: {error}") from error
    with loading_errors(path, description["name"]):
        network.load_state_dict(state)
    return network
