"""Detectors of the 80 COCO categories, for semantic object accuracy: torchvision, transformers, or any function.

The official protocol squashes images to 256 x 256 pixels and counts YOLOv3 detections with confidence above 0.5 (Hinz
et al., Semantic Object Accuracy for Generative Text-to-Image Synthesis, TPAMI 2020). Numbers from other detectors are
not comparable with published ones. The real architectures are tested with random weights only: the published weights
were not available during development.
"""

from collections.abc import Callable, Iterable, Sequence
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
from xmcgan.evaluation.networks.detections import Detections, sorted_detections
from xmcgan.evaluation.networks.preparation import as_pil, check_images, strict_float32
from xmcgan.evaluation.networks.pretrained import (
    image_protocol,
    load_image_processor,
    load_model,
    pretrained_folder,
    pretrained_sha256,
)
from xmcgan.evaluation.networks.weight_files import loading_errors, require_weight_file, weights_sha256

CONFIDENCE = 0.5
FLOOR = 0.05
"""Lowest score of a detected object: torchvision returns none below it."""

SQUASHED = 256
CHUNK = 8
"""Images per forward pass, which bounds memory: detectors enlarge their inputs."""

CATEGORIES: dict[str, int] = {
    name: number
    for number, name in enumerate(FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1.meta["categories"])
    if name not in ("__background__", "N/A")
}
"""Official ids of the 80 categories, between 1 and 90; ten of these numbers are unused."""

OTHER_NAMES = {
    "motorbike": "motorcycle",
    "aeroplane": "airplane",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
}
"""Names of the same categories in the list published with YOLO, which some detectors use."""


class TorchvisionDetector:
    """A torchvision detector with a local weight file.

    Use only those in load.DETECTORS: when torchvision loads the weights of its older detectors itself, it builds them
    with other norms.

    Non-maximum suppression runs per category and never removes a category's last box, so its threshold does not change
    the set of detected categories.

    Args:
        name: torchvision's name of the model.
        weights: its COCO_V1 weights, a .pth or .safetensors file.
        size: side in pixels to which images are squashed first; None keeps their size.

    Raises:
        ValueError: if no weights are given or they belong to another network.
        FileNotFoundError: if the file does not exist.
    """

    detectable = frozenset(CATEGORIES.values())
    floor = FLOOR

    def __init__(
        self, name: str, weights: Path | None, *, size: int | None = SQUASHED, device: torch.device | str = "cpu"
    ):
        path = require_weight_file(weights, name, published_url(name))
        network = get_model(name, weights=None, weights_backbone=None)
        with loading_errors(path, name):
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
        """uint8 images of any size to the official ids of the categories detected in each."""
        return self.categories(self.detect_objects(images_B3HW))

    def categories(self, detections: Sequence[Detections]) -> list[set[int]]:
        """The official ids of the categories that count as detected in each image."""
        return confident_categories(detections)

    def detect_objects(self, images_B3HW: Tensor) -> list[Detections]:
        """uint8 images of any size to the objects detected in each, with a score of at least ``floor``."""
        pictures = squash(images_B3HW, self.size)
        found: list[Detections] = []
        for start in range(0, len(pictures), CHUNK):
            chosen = pictures[start : start + CHUNK]
            pixels = [pil_to_tensor(picture).to(self.device) / 255 for picture in chosen]
            with strict_float32(self.device):
                detections = self.network(pixels)
            for each, picture in zip(detections, chosen, strict=True):
                boxes_N4 = each["boxes"].float().cpu() / torch.tensor(picture.size * 2)
                found.append(known_objects(boxes_N4, each["labels"].cpu(), each["scores"].float().cpu(), self.floor))
        return found


class TransformersDetector:
    """A DETR or RT-DETR from transformers; they need no non-maximum suppression.

    Args:
        source: a local folder of transformers, or a hub name to download.
        size: side in pixels to which images are squashed before the model's own processor; None keeps their size.

    Raises:
        ValueError: naming the source, if it is not such a detector or its categories are not COCO's 80.
    """

    detectable = frozenset(CATEGORIES.values())
    floor = FLOOR

    def __init__(
        self, name: str, source: Path | str, *, size: int | None = SQUASHED, device: torch.device | str = "cpu"
    ):
        folder = pretrained_folder(source)
        self.name, self.size, self.device = name, size, torch.device(device)
        kinds = ("detr", "rt_detr", "rt_detr_v2")
        self.model = load_model(AutoModelForObjectDetection, folder, kinds).to(self.device)
        self.processor = load_image_processor(folder)
        self.official = official_ids(self.model.config.id2label, folder)
        self.weights_sha256 = pretrained_sha256(folder)
        self.protocol = {
            "squash": squash_protocol(size),
            **image_protocol(self.processor),
            "confidence": str(CONFIDENCE),
            "nms": "none",
        }

    def __call__(self, images_B3HW: Tensor) -> list[set[int]]:
        """uint8 images of any size to the official ids of the categories detected in each."""
        return self.categories(self.detect_objects(images_B3HW))

    def categories(self, detections: Sequence[Detections]) -> list[set[int]]:
        """The official ids of the categories that count as detected in each image."""
        return confident_categories(detections)

    def detect_objects(self, images_B3HW: Tensor) -> list[Detections]:
        """uint8 images of any size to the objects detected in each, with a score of at least ``floor``."""
        pictures = squash(images_B3HW, self.size)
        found: list[Detections] = []
        for start in range(0, len(pictures), CHUNK):
            inputs = self.processor(pictures[start : start + CHUNK], return_tensors="pt").to(self.device)
            with strict_float32(self.device):
                outputs = self.model(**inputs)
            for each in self.processor.post_process_object_detection(outputs, threshold=self.floor):
                ids = torch.tensor([self.official.get(label, 0) for label in each["labels"].tolist()], dtype=torch.long)
                found.append(known_objects(each["boxes"].float().cpu(), ids, each["scores"].float().cpu(), self.floor))
        return found


@dataclass(frozen=True)
class FunctionDetector:
    """Any function of an image as a detector.

    Args:
        name: name of the detector in results.
        detect: uint8 pixels (3, H, W) to the official COCO ids of the categories detected.
        protocol: every choice in it that changes a number.
        weights_sha256: hash of its weights, if it has any.
        detectable: the categories that it can detect; default all 80.
    """

    name: str
    detect: Callable[[Tensor], Iterable[int]]
    protocol: dict[str, str]
    weights_sha256: str = ""
    detectable: frozenset[int] = frozenset(CATEGORIES.values())

    def __call__(self, images_B3HW: Tensor) -> list[set[int]]:
        """uint8 images to the categories detected in each.

        Raises:
            ValueError: if the function returns an id that is not an official COCO category.
        """
        check_images(images_B3HW)
        detected = [set(self.detect(image)) for image in images_B3HW]
        unknown = set().union(*detected) - set(CATEGORIES.values())
        if unknown:
            raise ValueError(
                f"{self.name} detected {sorted(unknown, key=str)}; it should return official COCO category ids, 1 to 90"
            )
        return detected


def known_objects(boxes_N4: Tensor, ids_N: Tensor, scores_N: Tensor, floor: float) -> Detections:
    """The objects of COCO's 80 categories: ten of the 90 ids are unused."""
    known_N = torch.isin(ids_N, torch.tensor(list(CATEGORIES.values()))) & (scores_N >= floor)
    return sorted_detections(boxes_N4[known_N].clamp(0, 1), ids_N[known_N], scores_N[known_N])


def confident_categories(detections: Sequence[Detections]) -> list[set[int]]:
    """The categories detected in each image with a confidence above SOA's threshold."""
    return [set(each.categories_N[each.scores_N > CONFIDENCE].tolist()) for each in detections]


def published_url(name: str) -> str:
    """Where torchvision publishes a detector's COCO weights."""
    weights: Any = get_model_weights(name)
    return weights.COCO_V1.url


def squash(images_B3HW: Tensor, size: int | None) -> list[Image.Image]:
    """Images as PIL images of size x size pixels (bilinear, as in the official code); None keeps their size."""
    pictures = as_pil(images_B3HW)
    if size is None or pictures[0].size == (size, size):
        return pictures
    return [picture.resize((size, size), Image.Resampling.BILINEAR) for picture in pictures]


def squash_protocol(size: int | None) -> str:
    """The setting of :func:`squash` as recorded in results."""
    return "none" if size is None else f"pil-bilinear {size}"


def official_ids(names: dict[int, str], folder: Path) -> dict[int, int]:
    """Map a model's labels to official ids by name, without unused labels ("N/A").

    Raises:
        ValueError: naming the folder, if a name is not a COCO category or a category has no label.
    """
    named = {label: OTHER_NAMES.get(name, name) for label, name in names.items() if name != "N/A"}
    unknown = sorted(set(named.values()) - CATEGORIES.keys())
    missing = sorted(CATEGORIES.keys() - set(named.values()))
    if unknown or missing:
        raise ValueError(
            f"{folder} is not a detector of COCO's 80 categories: id2label in config.json has unknown names "
            f"{unknown[:3]} and lacks {missing[:3]}"
        )
    return {label: CATEGORIES[name] for label, name in named.items()}
