"""What evaluation asks of a network that judges images. Nothing need inherit from these: a fitting shape is enough.

Images are always uint8 pixels (B, 3, H, W), RGB, on the CPU: what a PNG can hold, so that images of this library and
images that another system wrote are judged alike.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor


class ImageFeatures(NamedTuple):
    """What a feature extractor says of B images, float32 on the CPU."""

    features_BF: Tensor
    logits_BC: Tensor | None  # of a classifier, for the Inception Score


class FeatureExtractor(Protocol):
    """An image network whose features are compared as distributions (FID, KID, precision and recall)."""

    name: str  # such as inception-v3-tf
    dim: int
    weights_sha256: str
    protocol: dict[str, str]  # every choice that changes a number, such as {"resize": "tf1-bilinear 299"}

    def __call__(self, images_B3HW: Tensor) -> ImageFeatures: ...


class DualEncoder(Protocol):
    """Images and captions in one space, in which a dot product of unit vectors says how well they match."""

    name: str
    dim: int
    weights_sha256: str
    protocol: dict[str, str]

    def encode_images(self, images_B3HW: Tensor) -> Tensor: ...  # unit rows (B, F), float32, CPU

    def encode_captions(self, captions: Sequence[str]) -> Tensor: ...  # unit rows (B, F), float32, CPU


class Detector(Protocol):
    """Which COCO categories (official ids, 1 to 90) are seen in each image, at the detector's confidence."""

    name: str
    weights_sha256: str
    protocol: dict[str, str]
    sees: frozenset[int]  # the categories that it can see at all

    def __call__(self, images_B3HW: Tensor) -> list[set[int]]: ...
