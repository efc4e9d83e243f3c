"""The files of a model, ``config.json`` and ``generator.safetensors``, and where to find them."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from xmcgan import __version__
from xmcgan.config import Config, from_dict, to_dict
from xmcgan.encoders.hub import cached_folder
from xmcgan.encoders.text import MINILM
from xmcgan.model.build import build_generator
from xmcgan.model.generator import Generator
from xmcgan.runtime.field_types import first_line, shortened
from xmcgan.runtime.files import atomic_file, read_object, write_json

GENERATOR_FILE = "generator.safetensors"

DISCRIMINATOR_FILE = "discriminator.safetensors"
"""Optional: for training that starts from the model. In a checkpoint it is under ``training/``."""

CONFIG_FILE = "config.json"

CHECKSUM = "sha256"
"""Key in the metadata of a safetensors file for ``content_sha256`` of its tensors."""

HUB_NAME = r"[\w-][\w.-]*/[\w-][\w.-]*"

PACKAGED = Path(__file__).parent / "models"
"""Models that are installed with the library, one folder each."""


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
    write_json(folder / CONFIG_FILE, description)


def load_generator(folder: Path) -> tuple[Generator, Config, int]:
    """The EMA generator of a folder, in evaluation mode, with its configuration and training step.

    Raises:
        FileNotFoundError: if the folder is not one.
        ValueError: if a file in it is damaged, or not of this library, naming the file.
    """
    description, path = read_description(folder), folder / GENERATOR_FILE
    try:
        config = from_dict(description["config"])
        with torch.device("meta"):  # takes no memory: a damaged config.json may describe a network of any size
            check_shapes(build_generator(config, description["text_dim"]), path)
        generator = build_generator(config, description["text_dim"])
    except MisfitError:
        raise
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{folder / CONFIG_FILE} describes no model of this version: {error}") from error
    load(generator, path)
    return generator.eval().requires_grad_(False), config, description["step"]


def read_description(folder: Path) -> dict[str, Any]:
    """The content of config.json.

    Raises:
        FileNotFoundError: if the folder has none.
        ValueError: naming the file and the field that is damaged.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is not a model of this library: it has no {CONFIG_FILE}")
    description = read_object(path)
    if description.get("library") != "xmcgan":
        raise ValueError(f"{path} does not describe a model of this library")
    require(description, {"config", "text_dim", "step"}, path)
    for name, least in (("text_dim", 1), ("step", 0)):
        value = description[name]
        if type(value) is not int or value < least:
            found = f"{name} is {shortened(value)}"
            raise ValueError(f"{path} is damaged: {found}; it should be a whole number from {least} on")
    words = description.get("words", [])
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{path} is damaged: words should be a list of strings")
    return description


def require(content: Any, keys: set[str], path: Path) -> None:
    """Refuses a JSON file that lacks one of these keys."""
    if not isinstance(content, dict) or keys - content.keys():
        raise ValueError(f"{path} is damaged: it should hold {', '.join(sorted(keys))}")


def checkpoints(runs: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    found = (folder for folder in runs.glob("step-*") if re.fullmatch(r"step-\d{8,}", folder.name))
    return sorted(found, key=lambda folder: int(folder.name.removeprefix("step-")))


def newest_checkpoint(runs: Path) -> Path | None:
    """The checkpoint of the highest step, if there is one."""
    return next(reversed(checkpoints(runs)), None)


def tensors(network: nn.Module) -> dict[str, Tensor]:
    """A network's parameters and buffers, contiguous, on the CPU."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}


def save_tensors(content: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Writes a safetensors file atomically, with the permissions that the umask gives.

    Raises:
        WriteFailed: naming the file, if the system cannot write it.
    """
    described = {"format": "pt", CHECKSUM: content_sha256(content), **(metadata or {})}
    with atomic_file(path) as partial:
        partial.touch()
        mode = partial.stat().st_mode  # safetensors itself makes the file readable only for its owner
        save_file(content, partial, metadata=described)
        sort_metadata(partial)
        partial.chmod(mode)


def sort_metadata(path: Path) -> None:
    """Sorts the metadata of a safetensors file by name, since their order is random: so equal content makes equal
    files. The header keeps its length."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) > length:
            raise ValueError(f"{path} has a header of {length} bytes, which cannot be written again in so many")
        file.seek(8)
        file.write(text.ljust(length))


def content_sha256(content: dict[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values of tensors."""
    digest = hashlib.sha256()
    for name in sorted(content):
        tensor = content[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


class MisfitError(ValueError):
    """A file's tensors do not match the network that its configuration describes."""


def check_shapes(network: nn.Module, path: Path) -> None:
    """Compares names and shapes of a network's tensors with the header of a safetensors file.

    Args:
        network: may be on the meta device: only its shapes are read.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it is damaged, or does not fit the network, naming a tensor.
    """
    expected = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    found = read_shapes(path)
    misfit = f"{path} does not fit the network that its configuration describes"
    for names, word in ((expected.keys() - found.keys(), "lacks"), (found.keys() - expected.keys(), "has also")):
        if names:
            raise MisfitError(f"{misfit}: it {word} {min(names)}")
    for name, shape in expected.items():
        if found[name] != shape:
            raise MisfitError(f"{misfit}: {name} has shape {found[name]}; it should be {shape}")


def read_shapes(path: Path) -> dict[str, list[int]]:
    """The shapes in the header of a safetensors file; no tensor is read."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the checkpoint is not whole")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118, not a dict
    except (SafetensorError, RuntimeError, ValueError, TypeError, OverflowError) as error:
        raise MisfitError(f"{path} is damaged: {error}") from error


def load(network: nn.Module, path: Path) -> None:
    """Loads a network's parameters and buffers in place; half precision is converted to the network's precision.

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
    """The tensors of a safetensors file, or a clear error.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it is damaged: cut, or changed since it was saved (files of older versions have no checksum).
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the checkpoint is not whole")
    try:
        content = load_file(path)
        with safe_open(path, framework="pt") as file:
            expected = (file.metadata() or {}).get(CHECKSUM)
    except (SafetensorError, RuntimeError, ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if expected is not None and expected != content_sha256(content):
        raise ValueError(f"{path} is damaged: its tensors are not those that were saved")
    return content


def find_model(source: str | Path, revision: str | None = None) -> Path:
    """The folder that holds a model.

    ``source`` is, in this order: a local folder (a model, or a run, whose newest checkpoint is used), the name of a
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
    if folder.is_file():
        raise FileNotFoundError(f"{source} is a file; a model is a folder: a run, a checkpoint or a saved pipeline")
    if folder.is_absolute() or str(source).startswith(".") or str(source).count("/") > 1:
        raise FileNotFoundError(f"there is no folder {source}; models in the package: {', '.join(packaged_models())}")
    return download_model(str(source), revision)


def packaged_models() -> list[str]:
    """The names of the models that are installed with the library."""
    return sorted(path.parent.name for path in PACKAGED.glob(f"*/{GENERATOR_FILE}"))


def download_model(name: str, revision: str | None) -> Path:
    """The folder of the downloaded copy of a model on the hub.

    If the hub cannot be reached, any copy in the cache that has both files is used.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    files = [CONFIG_FILE, GENERATOR_FILE]
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=files))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        if (cached := cached_folder(name, files, revision)) is not None:
            check_downloaded(cached, name)
            return cached
        reason = first_line(error)
        raise FileNotFoundError(
            f"there is no folder {name}, and the hub gives no model of that name either; models in the package: "
            f"{', '.join(packaged_models())}. The hub: {reason}"
        ) from error
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        raise FileNotFoundError(f"{name} on the hub, or its copy in {folder}, has no {' and no '.join(missing)}")
    check_downloaded(folder, name)
    return folder


def check_downloaded(folder: Path, name: str) -> None:
    """Limits which text encoder a downloaded model may make the loader read: the packaged one, or one on the hub.

    Raises:
        ValueError: if it names a file or folder of this machine as its text encoder.
    """
    settings = read_description(folder)["config"]
    text = settings.get("text", {}) if isinstance(settings, dict) else {}
    encoder = text.get("encoder", "") if isinstance(text, dict) else ""
    if encoder == MINILM or (re.fullmatch(HUB_NAME, str(encoder)) and not Path(str(encoder)).exists()):
        return
    raise ValueError(
        f"{name} names {shortened(encoder)} as its text encoder; a downloaded model may name {MINILM!r} or a model of "
        "the hub such as 'google-bert/bert-base-uncased', and nothing on this machine"
    )
