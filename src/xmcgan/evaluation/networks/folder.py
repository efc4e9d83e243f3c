"""Folders of trained evaluation networks (``config.json``, ``weights.safetensors``), and those shipped in the package.

``config.json`` is written last and holds the SHA-256 of the weights, so an incomplete folder is never loaded.
"""

import json
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from xmcgan.evaluation.networks.weight_files import loading_errors, weights_sha256

CONFIG_FILE, WEIGHTS_FILE = "config.json", "weights.safetensors"

SHIPPED = Path(__file__).parent / "weights"
SCENES_DUAL_ENCODER = SHIPPED / "scenes-dual-encoder"
SCENES_PRESENCE = SHIPPED / "scenes-presence"

Network = TypeVar("Network", bound=nn.Module)


def read_folder(folder: Path, kind: str) -> dict[str, Any]:
    """Read ``config.json`` of an evaluation network of a kind, ``dual-encoder`` or ``presence``.

    Raises:
        FileNotFoundError: if the folder has no ``config.json``.
        ValueError: if it is damaged or describes another kind of network.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is not a complete trained evaluator: {CONFIG_FILE} is missing")
    try:
        description = json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    found = description.get("kind") if isinstance(description, dict) else None
    if found != kind:
        raise ValueError(f"{path} has kind {found!r}; it should be {kind!r}")
    missing = {"name", "shape", "weights_sha256"} - description.keys()
    if missing:
        raise ValueError(f"{path} is damaged: it lacks {', '.join(sorted(missing))}")
    return description


def load_network(network: Network, folder: Path, description: dict[str, Any]) -> Network:
    """Load a folder's weights (matrices are stored as float16) into a network.

    Raises:
        FileNotFoundError: if the weights are missing.
        ValueError: if they are damaged, do not match the SHA-256 in ``config.json``, or do not fit the network.
    """
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the folder of the evaluator is incomplete")
    found, expected = weights_sha256([path]), description["weights_sha256"]
    if found != expected:
        raise ValueError(f"{path} has SHA-256 {found}; {CONFIG_FILE} expects {expected}")
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    with loading_errors(path, description["name"]):
        network.load_state_dict(state)
    return network
