"""Interfaces of evaluation networks. They are structural: implementations need not inherit from them.

Images are uint8 RGB pixels (B, 3, H, W) on the CPU, exactly what a PNG holds, so that images of this library and of
other systems are evaluated alike.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor


class ImageFeatures(NamedTuple):
    """Output of a feature extractor for B images, float32 on the CPU."""

    features_BF: Tensor
    logits_BC: Tensor | None  # for the Inception Score; None if the network is not a classifier


class FeatureExtractor(Protocol):
    """An image network whose features are compared as distributions (FID, KID, precision and recall)."""

    name: str  # such as inception-v3-tf
    dim: int
    weights_sha256: str
    protocol: dict[str, str]  # every choice that changes a number, such as {"resize": "tf1-bilinear 299"}

    def __call__(self, images_B3HW: Tensor) -> ImageFeatures: ...


class DualEncoder(Protocol):
    """Embeds images and captions in one space; the dot product of unit vectors measures how well they match."""

    name: str
    dim: int
    weights_sha256: str
    protocol: dict[str, str]

    def encode_images(self, images_B3HW: Tensor) -> Tensor: ...  # unit rows (B, F), float32, CPU

    def encode_captions(self, captions: Sequence[str]) -> Tensor: ...  # unit rows (B, F), float32, CPU


class Detector(Protocol):
    """Detects COCO categories (official ids, 1 to 90) in each image, at its own confidence threshold."""

    name: str
    weights_sha256: str
    protocol: dict[str, str]
    detectable: frozenset[int]  # the categories that it can detect

    def __call__(self, images_B3HW: Tensor) -> list[set[int]]: ...
