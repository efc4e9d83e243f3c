"""The image side of a dual encoder on a frozen network: its features, and the head trained on them.

A few thousand photographs are too few to train an image network; the frozen one was trained on a million (ImageNet).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xmcgan.encoders.efficientnet import FEATURES
from xmcgan.evaluation.networks.efficientnet import packaged_extractor
from xmcgan.evaluation.networks.preparation import check_images

SMALLEST_DEVIATION = 1e-3


class FrozenImages:
    """uint8 pixels (B, 3, H, W) of any size -> features (B, 1280) of a frozen network.

    Images are resized to ``image_size`` first, so that photographs and generated images have the same level of detail,
    and only then to the side that the network was trained on.

    Args:
        name: name of the network, in networks.efficientnet.NETWORKS.
        image_size: side in pixels.

    Raises:
        ValueError: if the package with the network's weights is not installed.
    """

    def __init__(self, name: str, image_size: int):
        self.extractor, self.image_size = packaged_extractor(name), image_size
        self.sha256 = self.extractor.weights_sha256
        self.protocol = {
            "resize": f"bilinear-antialiased {image_size}, {self.extractor.protocol['resize']}",
            "image_network": name,
            "image_network_sha256": self.sha256,
        }

    def __call__(self, images_B3HW: Tensor) -> Tensor:
        """float32, on the CPU."""
        check_images(images_B3HW)
        if images_B3HW.shape[2:] != (self.image_size, self.image_size):
            size = (self.image_size, self.image_size)
            resized = F.interpolate(images_B3HW.float(), size, mode="bilinear", align_corners=False, antialias=True)
            images_B3HW = resized.round().clamp(0, 255).to(torch.uint8)
        return self.extractor(images_B3HW).features_BF


class FeatureHead(nn.Module):
    """Features (B, 1280) -> (B, dim): each feature standardised, and one hidden layer of twice ``dim``."""

    def __init__(self, dim: int):
        super().__init__()
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("deviation", torch.ones(FEATURES))
        self.hidden, self.head = nn.Linear(FEATURES, 2 * dim), nn.Linear(2 * dim, dim)

    def standardise(self, features_NF: Tensor) -> None:
        """Sets mean and deviation from the features of the training images."""
        deviation, mean = torch.std_mean(features_NF, 0)
        self.mean.copy_(mean)
        self.deviation.copy_(deviation.clamp(min=SMALLEST_DEVIATION))

    def forward(self, features_BF: Tensor) -> Tensor:
        return self.head(F.gelu(self.hidden((features_BF - self.mean) / self.deviation)))
