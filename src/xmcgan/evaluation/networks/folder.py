"""The folder of a trained evaluator: ``config.json`` and ``weights.safetensors``, and those that ship with the package.

``config.json`` is written last, and holds the SHA-256 of the weights: a folder is whole, or it is none.
"""

import json
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from xmcgan.evaluation.networks.weight_files import fitting, weights_sha256

CONFIG_FILE, WEIGHTS_FILE = "config.json", "weights.safetensors"

SHIPPED = Path(__file__).parent / "weights"
SCENES_DUAL_ENCODER = SHIPPED / "scenes-dual-encoder"
SCENES_PRESENCE = SHIPPED / "scenes-presence"

Network = TypeVar("Network", bound=nn.Module)


def read_folder(folder: Path, kind: str) -> dict[str, Any]:
    """What ``config.json`` says of an evaluator of this kind, ``dual-encoder`` or ``presence``.

    Raises:
        FileNotFoundError: if the folder has none.
        ValueError: if it describes something else.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is no trained evaluator: it has no {CONFIG_FILE}, which is written last")
    try:
        description = json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    found = description.get("kind") if isinstance(description, dict) else None
    if found != kind:
        raise ValueError(f"{path} describes an evaluator of kind {found!r}; it should be {kind!r}")
    missing = {"name", "shape", "weights_sha256"} - description.keys()
    if missing:
        raise ValueError(f"{path} is damaged: it lacks {', '.join(sorted(missing))}")
    return description


def load_network(network: Network, folder: Path, description: dict[str, Any]) -> Network:
    """Puts the weights of a folder into a network, float16 where they are stored so.

    Raises:
        FileNotFoundError: if they are missing.
        ValueError: if they are not those that ``config.json`` names, or do not fit.
    """
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the evaluator is not whole")
    found, named = weights_sha256([path]), description["weights_sha256"]
    if found != named:
        raise ValueError(f"{path} has SHA-256 {found}; {CONFIG_FILE} says {named}: one of the two is not its own")
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    with fitting(path, description["name"]):
        network.load_state_dict(state)
    return network
