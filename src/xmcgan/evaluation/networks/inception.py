"""Inception-v3, the network of FID and the Inception Score: the TensorFlow graph of 2015-12-05, and torchvision's.

Both architectures are tested with random weights against the forward passes of torch-fidelity and torchvision. The
published weights were not available during development.
"""

import io
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torchvision.models import Inception3, Inception_V3_Weights, inception_v3

from xmcgan.encoders.image import read_state_dict
from xmcgan.evaluation.networks.preparation import Resize, in_chunks, resize, strict_float32
from xmcgan.evaluation.networks.protocols import ImageFeatures
from xmcgan.evaluation.networks.weight_files import loading_errors, require_weight_file, weights_sha256

SIDE = 299

TENSORFLOW_PUBLISHED = (
    "pt_inception-2015-12-05-6726825d.pth at https://github.com/mseitzer/pytorch-fid/releases/tag/fid_weights, or the "
    "same file as weights-inception-2015-12-05-6726825d.pth at https://github.com/toshas/torch-fidelity/releases; its "
    "SHA-256 begins with 6726825d"
)
TORCHVISION_PUBLISHED = f"{Inception_V3_Weights.IMAGENET1K_V1.url}; its SHA-256 begins with 0cc3c7bd"


class Inception:
    """The 2048 features of the last average pool, and the class logits.

    Args:
        network: its children before ``fc`` must be in the order in which they are applied.
        normalise: maps pixels in [0, 255] to the range the network was trained on.
        bias: whether the logits include the bias of the last layer.
        mode: how images are resized to 299 pixels.
    """

    dim = 2048

    def __init__(
        self,
        name: str,
        network: FeatureExtractorInceptionV3 | Inception3,
        normalise: Callable[[Tensor], Tensor],
        *,
        bias: bool,
        mode: Resize,
        weights_sha256: str,
        device: torch.device | str = "cpu",
    ):
        network.eval().requires_grad_(False).to(device)
        excluded = ("AuxLogits", "dropout", "fc")  # training-only layers, and the classifier
        layers = [layer for part, layer in network.named_children() if part not in excluded]
        self.network = network
        self.layers = nn.Sequential(*layers, nn.Flatten()).eval()
        self.fc: nn.Linear = network.fc
        self.name, self.normalise, self.bias, self.mode = name, normalise, bias, mode
        self.weights_sha256, self.device = weights_sha256, torch.device(device)
        self.protocol = {
            "resize": f"{mode} {SIDE}",
            "features": "last average pool",
            "logits": f"{len(self.fc.weight)} classes, {'with' if bias else 'without'} bias",
        }

    def __call__(self, images_B3HW: Tensor) -> ImageFeatures:
        """uint8 images of any size to features (B, 2048) and logits (B, C), float32 on the CPU."""
        pixels = resize(images_B3HW, SIDE, self.mode).to(self.device)
        bias = self.fc.bias if self.bias else None
        with strict_float32(self.device):
            features_BF = in_chunks(lambda chunk: self.layers(self.normalise(chunk)), pixels)
            logits_BC = in_chunks(lambda chunk: F.linear(chunk, self.fc.weight, bias), features_BF)
        return ImageFeatures(features_BF.cpu(), logits_BC.cpu())


def inception_v3_tf(
    name: str, weights: Path | None, *, mode: Resize = "legacy-tensorflow", device: torch.device | str = "cpu"
) -> Inception:
    """The Inception-v3 of the original FID and IS (TensorFlow, 2015-12-05), as in torch-fidelity and pytorch-fid.

    It has 1008 logits. The Inception Score uses them without the bias of the last layer (torch-fidelity's
    "logits_unbiased"), as in the original code of Salimans et al.

    Args:
        name: name of the network in results.
        weights: pt_inception-2015-12-05-6726825d.pth.
        mode: resizing to 299 pixels; ``legacy-tensorflow`` as in the original FID, ``antialiased`` as in clean-fid.

    Raises:
        ValueError: if no weights are given or they belong to another network.
        FileNotFoundError: if the file does not exist.
    """
    path = require_weight_file(weights, name, TENSORFLOW_PUBLISHED)
    # torch-fidelity unpickles its file without restrictions, so give it a copy of tensors that were read safely.
    copy = io.BytesIO()
    torch.save(read_state_dict(path), copy)
    copy.seek(0)
    with loading_errors(path, name):
        network = FeatureExtractorInceptionV3(name, ["2048"], feature_extractor_weights_path=copy)
    return Inception(
        name,
        network,
        lambda pixels: (pixels - 128) / 128,  # as in the TensorFlow graph
        bias=False,
        mode=mode,
        weights_sha256=weights_sha256([path]),
        device=device,
    )


def inception_v3_torchvision(
    name: str, weights: Path | None, *, mode: Resize = "legacy-pytorch", device: torch.device | str = "cpu"
) -> Inception:
    """torchvision's Inception-v3 with 1000 classes: trained separately, so its FID differs from the original FID.

    Pixels are scaled to [-1, 1], the net effect of torchvision's normalisation and ``transform_input``. The whole image
    is resized to 299 pixels, whereas torchvision's classification transform crops the border.

    Args:
        name: name of the network in results.
        weights: inception_v3_google-0cc3c7bd.pth.
        mode: resizing to 299 pixels.

    Raises:
        ValueError: if no weights are given or they belong to another network.
        FileNotFoundError: if the file does not exist.
    """
    path = require_weight_file(weights, name, TORCHVISION_PUBLISHED)
    network = inception_v3(weights=None, init_weights=False)
    with loading_errors(path, name):
        network.load_state_dict(read_state_dict(path))
    return Inception(
        name,
        network,
        lambda pixels: pixels / 127.5 - 1,
        bias=True,
        mode=mode,
        weights_sha256=weights_sha256([path]),
        device=device,
    )
