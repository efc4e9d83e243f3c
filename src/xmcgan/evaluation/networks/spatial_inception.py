"""Spatial features of Inception-v3, for sFID: where things are, rather than what they are.

Nash, Menick, Dieleman and Battaglia 2021, "Generating images with sparse representations" (arXiv 2103.03841): the first
seven channels of the layer mixed_6 (17 x 17), whose Fréchet distance is sensitive to layout. With this extractor the
metric ``fid`` is sFID; results name the network, so the two never share a column.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from xmcgan.evaluation.networks.inception import SIDE, Inception, inception_v3_tf
from xmcgan.evaluation.networks.preparation import Resize, in_chunks, resize, strict_float32
from xmcgan.evaluation.networks.protocols import ImageFeatures

LAYER, CHANNELS, GRID = "Mixed_6d", 7, 17
"""TensorFlow's mixed_6 is PyTorch's Mixed_6d. Its first channels come from its first branch, ``mixed_6/conv``."""


class SpatialInception:
    """The first channels of a middle layer of an Inception-v3, at every place: (B, 7 x 17 x 17). No logits."""

    dim = CHANNELS * GRID * GRID

    def __init__(self, name: str, inception: Inception, network: nn.Module):
        names = [part for part, _ in network.named_children()]
        before = names[: names.index(LAYER) + 1]
        self.layers = nn.Sequential(*(getattr(network, part) for part in before)).eval()
        self.name, self.inception = name, inception
        self.weights_sha256 = inception.weights_sha256
        self.protocol = {
            "resize": f"{inception.mode} {SIDE}",
            "features": f"first {CHANNELS} channels of mixed_6 at {GRID} x {GRID} places",
        }

    def __call__(self, images_B3HW: Tensor) -> ImageFeatures:
        """uint8 images of any size to features (B, 2023), float32 on the CPU."""
        inception = self.inception
        pixels = resize(images_B3HW, SIDE, inception.mode).to(inception.device)
        with strict_float32(inception.device):
            features = in_chunks(lambda chunk: self.layers(inception.normalise(chunk))[:, :CHANNELS].flatten(1), pixels)
        return ImageFeatures(features.float().cpu(), None)


def spatial_inception_v3_tf(
    name: str, weights: Path | None, *, mode: Resize = "legacy-tensorflow", device: torch.device | str = "cpu"
) -> SpatialInception:
    """The network of sFID, with the weights of the original FID's.

    Raises:
        ValueError: if no weights are given or they belong to another network.
        FileNotFoundError: if the file does not exist.
    """
    inception = inception_v3_tf(name, weights, mode=mode, device=device)
    return SpatialInception(name, inception, inception.network)
