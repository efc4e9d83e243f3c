"""A small multi-label classifier of the categories present in an image: the detector of Scenes, for SOA."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from xmcgan.evaluation.networks.folder import SCENES_PRESENCE, load_network, read_folder, read_shape
from xmcgan.evaluation.networks.image_network import CHUNK, ImageNetwork, to_network_size

CONFIDENCE = 0.5
"""Lowest probability at which a category counts as detected (the threshold of SOA's detector)."""


@dataclass(frozen=True)
class PresenceShape:
    """Categories and sizes of the network.

    Args:
        categories: COCO ids by category name, in the order of the outputs.
        image_size: side in pixels to which images are resized, a multiple of 16.
        width: channels of the image network's first stage.
    """

    categories: dict[str, int] = field(default_factory=dict)
    image_size: int = 64
    width: int = 24

    def __post_init__(self):
        if not self.categories:
            raise ValueError("categories is empty; a presence model needs at least one")


def presence_network(shape: PresenceShape) -> ImageNetwork:
    """A new network: images_B3HW in [-1, 1] -> a logit for each category (B, C)."""
    return ImageNetwork(image_size=shape.image_size, width=shape.width, dim=len(shape.categories))


class PresenceModel:
    """A trained presence model; implements protocols.Detector."""

    def __init__(self, network: ImageNetwork, shape: PresenceShape, *, name: str, sha256: str):
        self.network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.shape, self.name, self.weights_sha256 = shape, name, sha256
        self.detectable = frozenset(shape.categories.values())
        self.protocol = {"resize": f"bilinear-antialiased {shape.image_size}", "confidence": str(CONFIDENCE)}

    def __call__(self, images_B3HW: Tensor) -> list[set[int]]:
        """uint8 pixels (B, 3, H, W) of any size to the COCO ids of the categories detected in each."""
        ids = list(self.shape.categories.values())
        detected_BC = self.probabilities(images_B3HW) >= CONFIDENCE
        return [{ids[number] for number in row.nonzero().flatten().tolist()} for row in detected_BC]

    @torch.no_grad()
    def probabilities(self, images_B3HW: Tensor) -> Tensor:
        """Probability that each category is present in each image: (B, C), float32."""
        chunks = images_B3HW.split(CHUNK)
        return torch.cat([self.network(to_network_size(chunk, self.shape.image_size)).sigmoid() for chunk in chunks])


def load_presence_folder(folder: Path | str) -> PresenceModel:
    """Load a presence model written by ``xmcgan train-evaluators``.

    Raises:
        FileNotFoundError: if the configuration or the weights are missing.
        ValueError: if a file is damaged, or describes another kind of network.
    """
    folder = Path(folder)
    description = read_folder(folder, "presence")
    shape = read_shape(PresenceShape, folder, description)
    network = load_network(lambda: presence_network(shape), folder, description)
    return PresenceModel(network, shape, name=description["name"], sha256=description["weights_sha256"])


def load_scenes_presence() -> PresenceModel:
    """Load the presence model of the 26 categories of Scenes that ships with the package (docs/evaluators.md)."""
    return load_presence_folder(SCENES_PRESENCE)
