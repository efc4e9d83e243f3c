"""A small model of which categories are seen in an image: the detector of Scenes, for Semantic Object Accuracy."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from xmcgan.evaluation.networks.folder import SCENES_PRESENCE, load_network, read_folder
from xmcgan.evaluation.networks.image_network import CHUNK, ImageNetwork, to_network_size

CONFIDENCE = 0.5
"""From which probability on a category counts as seen (the threshold of SOA's detector)."""


@dataclass(frozen=True)
class PresenceShape:
    """What the network is built from.

    Args:
        categories: the COCO id of each category by its name, in the order of the outputs.
        image_size: images are resized to this side in pixels, a multiple of 16.
        width: channels of the image network's first stage.
    """

    categories: dict[str, int] = field(default_factory=dict)
    image_size: int = 64
    width: int = 24

    def __post_init__(self):
        if not self.categories:
            raise ValueError("categories is empty; a presence model needs at least one")


def presence_network(shape: PresenceShape) -> ImageNetwork:
    """images_B3HW in [-1, 1] -> the logit of each category (B, C), with fresh weights."""
    return ImageNetwork(image_size=shape.image_size, width=shape.width, dim=len(shape.categories))


class PresenceModel:
    """A trained presence model as evaluation wants it: a protocols.Detector."""

    def __init__(self, network: ImageNetwork, shape: PresenceShape, *, name: str, sha256: str):
        self.network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.shape, self.name, self.weights_sha256 = shape, name, sha256
        self.sees = frozenset(shape.categories.values())
        self.protocol = {"resize": f"bilinear-antialiased {shape.image_size}", "confidence": str(CONFIDENCE)}

    def __call__(self, images_B3HW: Tensor) -> list[set[int]]:
        """uint8 pixels (B, 3, H, W) of any size to the COCO ids of the categories seen in each."""
        ids = list(self.shape.categories.values())
        seen_BC = self.probabilities(images_B3HW) >= CONFIDENCE
        return [{ids[number] for number in row.nonzero().flatten().tolist()} for row in seen_BC]

    @torch.no_grad()
    def probabilities(self, images_B3HW: Tensor) -> Tensor:
        """Of each category to be in each image: (B, C), float32, in [0, 1]."""
        chunks = images_B3HW.split(CHUNK)
        return torch.cat([self.network(to_network_size(chunk, self.shape.image_size)).sigmoid() for chunk in chunks])


def load_presence_folder(folder: Path | str) -> PresenceModel:
    """A presence model that ``xmcgan train-evaluators`` wrote.

    Raises:
        FileNotFoundError: if the folder holds none, or its weights are missing.
        ValueError: if a file is damaged, or of another kind.
    """
    folder = Path(folder)
    description = read_folder(folder, "presence")
    shape = PresenceShape(**description["shape"])
    network = load_network(presence_network(shape), folder, description)
    return PresenceModel(network, shape, name=description["name"], sha256=description["weights_sha256"])


def load_scenes_presence() -> PresenceModel:
    """The presence model of the 26 categories of Scenes, as it ships with the package (docs/evaluators.md)."""
    return load_presence_folder(SCENES_PRESENCE)
