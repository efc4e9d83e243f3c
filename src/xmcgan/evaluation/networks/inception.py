"""Inception-v3, the network of FID and the Inception Score: the TensorFlow graph of 2015-12-05, and torchvision's.

Neither has been run with its true weights by this project: they could not be had where it was made. The tests run the
true architectures with random weights, against torch-fidelity's and torchvision's own forward passes.
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
from xmcgan.evaluation.networks.preparation import Resize, in_chunks, resize, whole_float32
from xmcgan.evaluation.networks.protocols import ImageFeatures
from xmcgan.evaluation.networks.weight_files import fitting, given_file, weights_sha256

SIDE = 299

TENSORFLOW_PUBLISHED = (
    "pt_inception-2015-12-05-6726825d.pth at https://github.com/mseitzer/pytorch-fid/releases/tag/fid_weights, or the "
    "same file as weights-inception-2015-12-05-6726825d.pth at https://github.com/toshas/torch-fidelity/releases; its "
    "SHA-256 begins with 6726825d"
)
TORCHVISION_PUBLISHED = f"{Inception_V3_Weights.IMAGENET1K_V1.url}; its SHA-256 begins with 0cc3c7bd"


class Inception:
    """Images to the 2048 features of the last average pool, and the logits of the classes.

    Args:
        network: with the layers before its ``fc`` in the order in which they are applied.
        normalise: pixels in [0, 255] to what the network was trained on.
        bias: whether the logits have the bias of the last layer.
    """

    dim = 2048

    def __init__(
        self,
        name: str,
        network: FeatureExtractorInceptionV3 | Inception3,
        normalise: Callable[[Tensor], Tensor],
        *,
        bias: bool,
        how: Resize,
        weights_sha256: str,
        device: torch.device | str = "cpu",
    ):
        network.eval().requires_grad_(False).to(device)
        beside = ("AuxLogits", "dropout", "fc")  # what training needs, and the logits
        layers = [layer for part, layer in network.named_children() if part not in beside]
        self.layers = nn.Sequential(*layers, nn.Flatten()).eval()
        self.fc: nn.Linear = network.fc
        self.name, self.normalise, self.bias, self.how = name, normalise, bias, how
        self.weights_sha256, self.device = weights_sha256, torch.device(device)
        self.protocol = {
            "resize": f"{how} {SIDE}",
            "features": "last average pool",
            "logits": f"{len(self.fc.weight)} classes, {'with' if bias else 'without'} bias",
        }

    def __call__(self, images_B3HW: Tensor) -> ImageFeatures:
        """uint8 images of any size to features (B, 2048) and logits (B, C), float32 on the CPU."""
        pixels = resize(images_B3HW, SIDE, self.how).to(self.device)
        bias = self.fc.bias if self.bias else None
        with whole_float32(self.device):
            features_BF = in_chunks(lambda chunk: self.layers(self.normalise(chunk)), pixels)
            logits_BC = in_chunks(lambda chunk: F.linear(chunk, self.fc.weight, bias), features_BF)
        return ImageFeatures(features_BF.cpu(), logits_BC.cpu())


def inception_v3_tf(
    name: str, weights: Path | None, *, how: Resize = "legacy-tensorflow", device: torch.device | str = "cpu"
) -> Inception:
    """The Inception-v3 of the first FID and IS (TensorFlow, 2015-12-05), as torch-fidelity and pytorch-fid port it.

    It has 1008 logits; the Inception Score's are those without the bias of the last layer (torch-fidelity's
    "logits_unbiased"), as in the first code of Salimans et al. Never run here with the true weights.

    Args:
        name: what results call it.
        weights: pt_inception-2015-12-05-6726825d.pth.
        how: resizing to 299 pixels; ``legacy-tensorflow`` is the first FID's, ``antialiased`` clean-fid's.

    Raises:
        ValueError: if no weights are given or the file holds something else.
        FileNotFoundError: if there is no such file.
    """
    path = given_file(weights, name, TENSORFLOW_PUBLISHED)
    # torch-fidelity unpickles a file with all that pickle can do: it is given a copy of what was read safely.
    copy = io.BytesIO()
    torch.save(read_state_dict(path), copy)
    copy.seek(0)
    with fitting(path, name):
        network = FeatureExtractorInceptionV3(name, ["2048"], feature_extractor_weights_path=copy)
    return Inception(
        name,
        network,
        lambda pixels: (pixels - 128) / 128,  # as in the graph; 128 is its zero
        bias=False,
        how=how,
        weights_sha256=weights_sha256([path]),
        device=device,
    )


def inception_v3_torchvision(
    name: str, weights: Path | None, *, how: Resize = "legacy-pytorch", device: torch.device | str = "cpu"
) -> Inception:
    """torchvision's Inception-v3 of 1000 classes, trained anew: another network, and never the same FID.

    Its pixels are in [-1, 1], as torchvision's mean, deviation and ``transform_input`` come to; the whole image is
    resized to 299 pixels, where torchvision's classification cuts the border off. Never run here with the true
    weights.

    Args:
        name: what results call it.
        weights: inception_v3_google-0cc3c7bd.pth.
        how: resizing to 299 pixels.

    Raises:
        ValueError: if no weights are given or the file holds something else.
        FileNotFoundError: if there is no such file.
    """
    path = given_file(weights, name, TORCHVISION_PUBLISHED)
    network = inception_v3(weights=None, init_weights=False)
    with fitting(path, name):
        network.load_state_dict(read_state_dict(path))
    return Inception(
        name,
        network,
        lambda pixels: pixels / 127.5 - 1,
        bias=True,
        how=how,
        weights_sha256=weights_sha256([path]),
        device=device,
    )
