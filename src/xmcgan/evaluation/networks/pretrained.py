"""Load transformers models as evaluation networks, from a local folder or the Hugging Face hub."""

import re
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer

from xmcgan.encoders.hub import cached_folder
from xmcgan.encoders.text import quiet_transformers
from xmcgan.evaluation.networks.weight_files import weights_sha256
from xmcgan.runtime.field_types import first_line
from xmcgan.runtime.files import read_json


def pretrained_folder(source: Path | str) -> Path:
    """A model's local folder: ``source`` itself, or a downloaded snapshot of a hub name.

    Raises:
        ValueError: if it is neither a folder with a config.json nor a model that can be downloaded.
    """
    folder, name = Path(source), str(source)
    if folder.exists():
        if not (folder / "config.json").is_file():
            raise ValueError(f"{name} has no config.json; it should be a folder saved by transformers")
        return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise ValueError(f"{name} is neither a folder nor a Hugging Face hub name such as facebook/dinov2-large")
    try:
        folder = Path(snapshot_download(name, allow_patterns=["*.json", "*.txt", "*.safetensors"]))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(name, allow_patterns=["*.json", "*.txt", "pytorch_model*.bin"]))
    except (HfHubHTTPError, OSError, ValueError) as error:
        for weights in ("model.safetensors", "pytorch_model.bin"):
            if (cached := cached_folder(name, ["config.json", weights])) is not None:
                return cached
        reason = first_line(error)
        raise ValueError(
            f"{name} is not a local folder and cannot be downloaded from the Hugging Face hub: {reason}"
        ) from error
    return folder


def pretrained_sha256(folder: Path) -> str:
    """SHA-256 of a folder's .safetensors files, or of pytorch_model*.bin if there are none.

    Raises:
        ValueError: if it has neither.
    """
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not files:
        raise ValueError(f"{folder} has no weights; it should have *.safetensors or pytorch_model.bin")
    return weights_sha256(files)


def load_model(architecture: Any, folder: Path, kinds: tuple[str, ...]) -> Any:
    """Load a frozen float32 model and check that the folder holds all its weights.

    Args:
        architecture: a transformers class such as CLIPModel.
        kinds: accepted values of ``model_type`` in config.json.

    Raises:
        ValueError: naming the folder, if it holds another kind of model, cannot be read, or lacks weights, which
            transformers would silently initialise at random.
    """
    described = read_json(folder / "config.json")
    kind = described.get("model_type") if isinstance(described, dict) else None
    if kind is None:
        raise ValueError(f"{folder / 'config.json'} has no model_type; it should be {' or '.join(kinds)}")
    if kind not in kinds:
        raise ValueError(f"{folder} has model_type {kind!r}; it should be {' or '.join(kinds)}")
    try:
        with quiet_transformers():
            model, info = architecture.from_pretrained(
                folder, dtype=torch.float32, output_loading_info=True, trust_remote_code=False
            )
    except Exception as error:  # a damaged file can raise anything, from several libraries
        raise ValueError(f"{folder} cannot be loaded as {kind}: {shorten(str(error), 600)}") from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise ValueError(f"{folder} lacks {len(missing)} weights of {kind}: {', '.join(missing[:3])}, ...")
    return model.eval().requires_grad_(False)


def load_image_processor(folder: Path) -> Any:
    """Load a model's image processor from preprocessor_config.json; it runs on PIL.

    Raises:
        ValueError: naming the folder, if the file is missing or damaged.
    """
    try:
        with quiet_transformers():
            return AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False)
    except Exception as error:
        raise ValueError(f"{folder} has no readable preprocessor_config.json: {shorten(str(error), 600)}") from error


def load_tokenizer(folder: Path) -> Any:
    """Load a model's tokenizer.

    Raises:
        ValueError: naming the folder, if it has no readable tokenizer.
    """
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise ValueError(f"{folder} has no tokenizer; it should have tokenizer.json or vocab.json")
    try:
        with quiet_transformers():
            return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        raise ValueError(f"{folder} has no readable tokenizer: {shorten(str(error), 600)}") from error


def image_protocol(processor: Any) -> dict[str, str]:
    """Settings of an image processor, as recorded in results."""
    size, resample, crop = processor.size, Image.Resampling(processor.resample), None
    if getattr(processor, "do_center_crop", False):  # processors of detectors lack the attribute
        crop = processor.crop_size
    side = f"shorter side {size.shortest_edge}" if size.shortest_edge else f"{size.height} x {size.width}"
    return {
        "resize": f"pil-{resample.name.lower()} {side}",
        "crop": f"centre {crop.height} x {crop.width}" if crop else "none",
        "mean": colour(processor.image_mean),
        "std": colour(processor.image_std),
    }


def colour(values: Sequence[float]) -> str:
    """Values of the red, green and blue channels as text."""
    return " ".join(f"{value:g}" for value in values)
