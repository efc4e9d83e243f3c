"""Detectors of the 80 COCO categories, for semantic object accuracy: torchvision's, transformers', or any function.

The official protocol squashes images to 256 x 256 pixels and takes what YOLOv3 sees with a confidence of 0.5 (Hinz et
al., Semantic Object Accuracy for Generative Text-to-Image Synthesis, TPAMI 2020); numbers of another detector are not
comparable with published ones. None of these has been run by this project with its true weights: they could not be
had where it was made. The tests run the true architectures with random weights.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.models import get_model, get_model_weights
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_V2_Weights
from torchvision.transforms.functional import pil_to_tensor
from transformers import AutoModelForObjectDetection

from xmcgan.encoders.image import read_state_dict
from xmcgan.evaluation.networks.preparation import as_pil, check_images, whole_float32
from xmcgan.evaluation.networks.pretrained import (
    image_protocol,
    load_image_processor,
    load_model,
    pretrained_folder,
    pretrained_sha256,
)
from xmcgan.evaluation.networks.weight_files import fitting, given_file, weights_sha256

CONFIDENCE = 0.5
SQUASHED = 256
CHUNK = 8
"""Images in one forward pass: a detector enlarges them, and its memory should not depend on the batch."""

CATEGORIES: dict[str, int] = {
    name: number
    for number, name in enumerate(FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1.meta["categories"])
    if name not in ("__background__", "N/A")
}
"""The 80 categories and their official ids, from 1 to 90; ten of these numbers are of nothing."""

OTHER_NAMES = {
    "motorbike": "motorcycle",
    "aeroplane": "airplane",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
}
"""Of the same categories, in the list that came with YOLO and that some detectors keep."""


class TorchvisionDetector:
    """A detector of torchvision with a local weight file.

    Of those in load.DETECTORS: torchvision builds them alike with and without weights, where its older ones change
    their norms with the weights.

    Its non-maximum suppression is of each category alone, so that it never removes the last box of a category: the
    threshold has no say in which categories are seen.

    Args:
        name: as torchvision calls it.
        weights: its COCO_V1 weights, a .pth or .safetensors file.
        size: side in pixels to which images are squashed first; None leaves them as they are.

    Raises:
        ValueError: if no weights are given or the file holds something else.
        FileNotFoundError: if there is no such file.
    """

    sees = frozenset(CATEGORIES.values())

    def __init__(
        self, name: str, weights: Path | None, *, size: int | None = SQUASHED, device: torch.device | str = "cpu"
    ):
        path = given_file(weights, name, published(name))
        network = get_model(name, weights=None, weights_backbone=None)
        with fitting(path, name):
            network.load_state_dict(read_state_dict(path))
        self.network: Any = network.eval().requires_grad_(False).to(device)
        self.name, self.size, self.device = name, size, torch.device(device)
        self.weights_sha256 = weights_sha256([path])
        suppressing = getattr(self.network, "roi_heads", self.network)
        self.protocol = {
            "squash": squash_protocol(size),
            "resize": f"bilinear shorter side {self.network.transform.min_size[-1]}",
            "confidence": str(CONFIDENCE),
            "nms": f"per category {suppressing.nms_thresh}",
        }

    def __call__(self, images_B3HW: Tensor) -> list[set[int]]:
        """uint8 images of any size to the official ids of the categories seen in each."""
        pictures = squashed(images_B3HW, self.size)
        seen: list[set[int]] = []
        for start in range(0, len(pictures), CHUNK):
            pixels = [pil_to_tensor(picture).to(self.device) / 255 for picture in pictures[start : start + CHUNK]]
            with whole_float32(self.device):
                found = self.network(pixels)
            for each in found:  # ten of the 90 labels stand for nothing
                labels = set(each["labels"][each["scores"] > CONFIDENCE].tolist())
                seen.append(labels & set(CATEGORIES.values()))
        return seen


class TransformersDetector:
    """A DETR or RT-DETR of transformers, which knows no non-maximum suppression.

    Args:
        source: a local folder of transformers, or a hub name, which is downloaded.
        size: side in pixels to which images are squashed before the model's own processor; None leaves them.

    Raises:
        ValueError: naming the source, if it is no such detector, or one of other categories than COCO's 80.
    """

    sees = frozenset(CATEGORIES.values())

    def __init__(
        self, name: str, source: Path | str, *, size: int | None = SQUASHED, device: torch.device | str = "cpu"
    ):
        folder = pretrained_folder(source)
        self.name, self.size, self.device = name, size, torch.device(device)
        kinds = ("detr", "rt_detr", "rt_detr_v2")
        self.model = load_model(AutoModelForObjectDetection, folder, kinds).to(self.device)
        self.processor = load_image_processor(folder)
        self.categories = official_ids(self.model.config.id2label, folder)
        self.weights_sha256 = pretrained_sha256(folder)
        self.protocol = {
            "squash": squash_protocol(size),
            **image_protocol(self.processor),
            "confidence": str(CONFIDENCE),
            "nms": "none",
        }

    def __call__(self, images_B3HW: Tensor) -> list[set[int]]:
        """uint8 images of any size to the official ids of the categories seen in each."""
        pictures = squashed(images_B3HW, self.size)
        seen: list[set[int]] = []
        for start in range(0, len(pictures), CHUNK):
            inputs = self.processor(pictures[start : start + CHUNK], return_tensors="pt").to(self.device)
            with whole_float32(self.device):
                outputs = self.model(**inputs)
            for found in self.processor.post_process_object_detection(outputs, threshold=CONFIDENCE):
                labels = set(found["labels"].tolist())
                seen.append({self.categories[label] for label in labels if label in self.categories})
        return seen


@dataclass(frozen=True)
class FunctionDetector:
    """Any function of an image as a detector.

    Args:
        name: what results call it.
        categories_in: uint8 pixels (3, H, W) to the official ids of the COCO categories it sees.
        protocol: every choice in it that changes a number.
        weights_sha256: of its weights, if it has any.
        sees: the categories that it can see at all; all 80 unless given.
    """

    name: str
    categories_in: Callable[[Tensor], Iterable[int]]
    protocol: dict[str, str]
    weights_sha256: str = ""
    sees: frozenset[int] = frozenset(CATEGORIES.values())

    def __call__(self, images_B3HW: Tensor) -> list[set[int]]:
        """uint8 images to the categories seen in each.

        Raises:
            ValueError: if the function names what is no COCO category.
        """
        check_images(images_B3HW)
        seen = [set(self.categories_in(image)) for image in images_B3HW]
        strange = set().union(*seen) - set(CATEGORIES.values())
        if strange:
            raise ValueError(f"{self.name} sees {sorted(strange, key=str)}, which is no official COCO category id")
        return seen


def published(name: str) -> str:
    """Where torchvision publishes a detector's weights for COCO."""
    weights: Any = get_model_weights(name)
    return weights.COCO_V1.url


def squashed(images_B3HW: Tensor, size: int | None) -> list[Image.Image]:
    """Images as PIL's, at size x size pixels (bilinear, as the official code does); None leaves them as they are."""
    pictures = as_pil(images_B3HW)
    if size is None or pictures[0].size == (size, size):
        return pictures
    return [picture.resize((size, size), Image.Resampling.BILINEAR) for picture in pictures]


def squash_protocol(size: int | None) -> str:
    """What :func:`squashed` does, in words."""
    return "none" if size is None else f"pil-bilinear {size}"


def official_ids(names: dict[int, str], folder: Path) -> dict[int, int]:
    """A model's labels to official ids, by their names; labels without a meaning ("N/A") are left out.

    Raises:
        ValueError: naming the folder, if a name is of no COCO category, or a category has no label.
    """
    named = {label: OTHER_NAMES.get(name, name) for label, name in names.items() if name != "N/A"}
    strange = sorted(set(named.values()) - CATEGORIES.keys())
    lacking = sorted(CATEGORIES.keys() - set(named.values()))
    if strange or lacking:
        raise ValueError(
            f"{folder} is no detector of COCO's 80 categories: id2label in config.json has {strange[:3]}, "
            f"which are none of them, and lacks {lacking[:3]}"
        )
    return {label: CATEGORIES[name] for label, name in named.items()}
