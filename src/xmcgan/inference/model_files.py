"""The files of a model, ``config.json`` and ``generator.safetensors``, and where to find them."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from xmcgan import __version__
from xmcgan.config import Config, from_dict, to_dict
from xmcgan.model.build import build_generator
from xmcgan.model.generator import Generator
from xmcgan.runtime.files import atomic_file, read_json

GENERATOR_FILE = "generator.safetensors"

DISCRIMINATOR_FILE = "discriminator.safetensors"
"""Optional: for training that starts from the model. Lies under ``training/`` in a checkpoint."""

CONFIG_FILE = "config.json"

PACKAGED = Path(__file__).parent / "models"
"""Models that are installed with the library, a folder each."""


def save_generator(
    folder: Path, generator: Generator, config: Config, text_dim: int, step: int, words: Sequence[str] | None = None
) -> None:
    """Writes a drawing generator and its configuration into an existing folder.

    Args:
        words: the vocabulary of the training captions, if it is known (``xmcgan.inference.vocabulary``).
    """
    save_tensors(tensors(generator), folder / GENERATOR_FILE)
    description: dict[str, Any] = {
        "library": "xmcgan",
        "version": __version__,
        "step": step,
        "text_dim": text_dim,
        "config": to_dict(config),
    }
    if words is not None:
        description["words"] = list(words)
    (folder / CONFIG_FILE).write_text(json.dumps(description, indent=2) + "\n")


def load_generator(folder: Path) -> tuple[Generator, Config, int]:
    """The averaged generator of a folder, in evaluation mode, with its configuration and training step.

    Raises:
        FileNotFoundError: if the folder is not one.
        ValueError: if a file in it is damaged, or not of this library; it is named.
    """
    description = read_description(folder)
    try:
        config = from_dict(description["config"])
        generator = build_generator(config, description["text_dim"])
    except (ValueError, TypeError) as error:
        raise ValueError(f"{folder / CONFIG_FILE} describes no model of this version: {error}") from error
    load(generator, folder / GENERATOR_FILE)
    return generator.eval().requires_grad_(False), config, description["step"]


def read_description(folder: Path) -> dict[str, Any]:
    """The content of config.json."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is not a model of this library: it has no {CONFIG_FILE}")
    description = read_json(path)
    if not isinstance(description, dict) or description.get("library") != "xmcgan":
        raise ValueError(f"{path} does not describe a model of this library")
    require(description, {"config", "text_dim", "step"}, path)
    words = description.get("words", [])
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{path} is damaged: words should be a list of strings")
    return description


def require(content: Any, keys: set[str], path: Path) -> None:
    """Refuses a JSON file that lacks one of these keys."""
    if not isinstance(content, dict) or keys - content.keys():
        raise ValueError(f"{path} is damaged: it should hold {', '.join(sorted(keys))}")


def checkpoints(runs: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    found = (folder for folder in runs.glob("step-*") if re.fullmatch(r"step-\d{8,}", folder.name))
    return sorted(found, key=lambda folder: int(folder.name.removeprefix("step-")))


def newest_checkpoint(runs: Path) -> Path | None:
    """The checkpoint of the highest step, if there is one."""
    return next(reversed(checkpoints(runs)), None)


def tensors(network: nn.Module) -> dict[str, Tensor]:
    """A network's parameters and buffers, contiguous, on the CPU."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}


def save_tensors(content: dict[str, Tensor], path: Path) -> None:
    """Writes a safetensors file atomically, readable by whom the umask allows."""
    with atomic_file(path) as partial:
        partial.touch()
        mode = partial.stat().st_mode  # safetensors itself gives the file to its owner alone
        save_file(content, partial, metadata={"format": "pt"})
        partial.chmod(mode)


def load(network: nn.Module, path: Path) -> None:
    """Loads a network's parameters and buffers in place; half precision becomes the network's own.

    Raises:
        ValueError: if the file does not fit the network, or a weight is not finite or not of a floating type.
    """
    state = read_tensors(path)
    for name, own in network.state_dict().items():
        if name in state and own.is_floating_point():
            check_finite(name, state[name], path)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit the network that its configuration describes: {error}") from None


def check_finite(name: str, tensor: Tensor, path: Path) -> None:
    """Refuses a weight that is NaN, infinite or a whole number: every image would be black or grey."""
    if not tensor.is_floating_point():
        raise ValueError(f"{path} holds {name} as {tensor.dtype}; weights are floating-point numbers")
    wrong = tensor.numel() - int(tensor.isfinite().sum())
    if wrong:
        raise ValueError(f"{path} holds {name} with {wrong} of {tensor.numel()} values NaN or infinite")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or a clear error."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the checkpoint is not whole")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def find_model(source: str | Path, revision: str | None = None) -> Path:
    """The folder that holds a model.

    ``source`` is, in this order: a local folder (a model, or a run, whose newest checkpoint is taken), the name of a
    model in the package (``packaged_models``), or a name on the hub, which is downloaded.

    Raises:
        FileNotFoundError: if it is none of these.
    """
    folder = Path(source)
    if folder.is_dir():
        if (folder / GENERATOR_FILE).is_file():
            return folder
        newest = newest_checkpoint(folder / "checkpoints")
        if newest is None:
            raise FileNotFoundError(f"{folder} holds no model: neither {GENERATOR_FILE} nor a checkpoint of a run")
        return newest
    if str(source) in packaged_models():
        return PACKAGED / str(source)
    return download_model(str(source), revision)


def packaged_models() -> list[str]:
    """The names of the models that are installed with the library."""
    return sorted(path.parent.name for path in PACKAGED.glob(f"*/{GENERATOR_FILE}"))


def download_model(name: str, revision: str | None) -> Path:
    """The folder of the downloaded copy of a model on the hub."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=[CONFIG_FILE, GENERATOR_FILE]))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise FileNotFoundError(
            f"there is no folder {name}, and the hub gives no model of that name either; models in the package: "
            f"{', '.join(packaged_models())}. The hub: {reason}"
        ) from error
