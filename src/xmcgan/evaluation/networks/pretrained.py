"""Networks that judge, as transformers saves them: from a local folder, or a name on the Hugging Face hub."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from PIL import Image
from safetensors import SafetensorError
from transformers import AutoImageProcessor, AutoTokenizer

from xmcgan.encoders.text import quiet_transformers
from xmcgan.evaluation.networks.weight_files import weights_sha256


def pretrained_folder(source: Path | str) -> Path:
    """The local folder of a model: itself, or the snapshot of a name on the hub, which is downloaded.

    Raises:
        ValueError: if it is neither a folder with a config.json nor a model that can be had from the hub.
    """
    folder, name = Path(source), str(source)
    if folder.exists():
        if not (folder / "config.json").is_file():
            raise ValueError(f"{name} has no config.json: it is not a folder that transformers wrote")
        return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise ValueError(f"{name} is no folder, nor a name on the Hugging Face hub such as facebook/dinov2-large")
    try:
        folder = Path(snapshot_download(name, allow_patterns=["*.json", "*.txt", "*.safetensors"]))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(name, allow_patterns=["*.json", "*.txt", "pytorch_model*.bin"]))
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{name} is no folder here, and cannot be had from the Hugging Face hub: {reason}") from error
    return folder


def pretrained_sha256(folder: Path) -> str:
    """SHA-256 over a folder's .safetensors files, or over pytorch_model.bin of a model that is published only so.

    Raises:
        ValueError: if it has neither.
    """
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not files:
        raise ValueError(f"{folder} has no weights: neither *.safetensors nor pytorch_model.bin")
    return weights_sha256(files)


def load_model(architecture: Any, folder: Path, kinds: tuple[str, ...]) -> Any:
    """A frozen model in float32 whose every weight came from the folder.

    Args:
        architecture: of transformers, such as CLIPModel.
        kinds: what ``model_type`` in config.json may be.

    Raises:
        ValueError: naming the folder, if it is of another kind, cannot be read, or lacks weights, which transformers
            would make up.
    """
    try:
        kind = json.loads((folder / "config.json").read_text())["model_type"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / 'config.json'} does not say its model_type") from error
    if kind not in kinds:
        raise ValueError(f"{folder} is of model_type {kind!r}; it should be {' or '.join(kinds)}")
    try:
        with quiet_transformers():
            model, info = architecture.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
        raise ValueError(f"{folder} cannot be loaded as {kind}: {error}") from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise ValueError(f"{folder} lacks weights of {kind}: {', '.join(missing[:3])} ({len(missing)} in all)")
    return model.eval().requires_grad_(False)


def load_image_processor(folder: Path) -> Any:
    """What a model's images go through, with the numbers of its preprocessor_config.json, computed by PIL.

    Raises:
        ValueError: naming the folder, if it does not say.
    """
    try:
        with quiet_transformers():
            return AutoImageProcessor.from_pretrained(folder, backend="pil")
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{folder} has no preprocessor_config.json that can be read: {error}") from error


def load_tokenizer(folder: Path) -> Any:
    """A model's tokenizer.

    Raises:
        ValueError: naming the folder, if it has none.
    """
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise ValueError(f"{folder} has no tokenizer: neither tokenizer.json nor vocab.json")
    try:
        with quiet_transformers():
            return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{folder} has no tokenizer that can be read: {error}") from error


def image_protocol(processor: Any) -> dict[str, str]:
    """The numbers of a processor, for a result's protocol."""
    size, resample, crop = processor.size, Image.Resampling(processor.resample), None
    if getattr(processor, "do_center_crop", False):  # detectors' have none
        crop = processor.crop_size
    side = f"shorter side {size.shortest_edge}" if size.shortest_edge else f"{size.height} x {size.width}"
    return {
        "resize": f"pil-{resample.name.lower()} {side}",
        "crop": f"centre {crop.height} x {crop.width}" if crop else "none",
        "mean": colour(processor.image_mean),
        "std": colour(processor.image_std),
    }


def colour(values: Sequence[float]) -> str:
    """Red, green and blue."""
    return " ".join(f"{value:g}" for value in values)
