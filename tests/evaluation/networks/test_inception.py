"""Both Inceptions against torch-fidelity's and torchvision's own forward passes, with random weights.

The true weights are not part of the project and were not run.
"""

import hashlib
import pickle

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from xmcgan.evaluation.networks import preparation
from xmcgan.evaluation.networks.inception import Inception
from xmcgan.evaluation.networks.load import load_feature_extractor
from xmcgan.evaluation.networks.preparation import resize


@pytest.fixture(scope="module", autouse=True)
def small_chunks():
    """Ten images at 299 pixels in every forward pass would take seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparation, "CHUNK", 2)
        yield


def lively(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Random weights under which an image's features depend on the image: norms of a random network dampen it."""
    generator = torch.Generator().manual_seed(5)
    for key, value in state.items():
        if key.endswith("conv.weight"):
            scale = (2 / value[0].numel()) ** 0.5
            state[key] = torch.randn(value.shape, generator=generator) * scale
        elif key.endswith(("bn.bias", "fc.bias")):
            state[key] = torch.randn(value.shape, generator=generator) * 0.1
    return state


@pytest.fixture(scope="module")
def tensorflow_file(tmp_path_factory):
    """A file in the layout of pt_inception-2015-12-05-6726825d.pth."""
    path = tmp_path_factory.mktemp("weights") / "pt_inception.pth"
    # pytorch-fid's own: torchvision's network of 1008 classes and no auxiliary ones.
    network = torchvision.models.inception_v3(
        weights=None, num_classes=1008, aux_logits=False, init_weights=False, transform_input=False
    )
    torch.save(lively(network.state_dict()), path)
    return path


@pytest.fixture(scope="module")
def torchvision_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "inception_v3_google.pth"
    torch.save(lively(torchvision.models.inception_v3(weights=None, init_weights=False).state_dict()), path)
    return path


@pytest.fixture(scope="module")
def extractor(tensorflow_file):
    return load_feature_extractor("inception-v3-tf", tensorflow_file)


@pytest.fixture(scope="module")
def official(tensorflow_file):
    """torch-fidelity's network."""
    outputs = ["2048", "logits_unbiased", "logits"]
    return FeatureExtractorInceptionV3("official", outputs, feature_extractor_weights_path=str(tensorflow_file))


@pytest.fixture(scope="module")
def images():
    pixels = torch.randint(256, (2, 3, 24, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return pixels.repeat_interleave(5, 2).repeat_interleave(5, 3)


@pytest.fixture(scope="module")
def ours(extractor, images):
    return extractor(images)


@pytest.fixture(scope="module")
def theirs(official, images):
    """(features, unbiased logits, logits)"""
    return official(images)


def close(ours: Tensor, theirs: Tensor) -> None:
    assert theirs.std(0).max() > 1e-3, "the images look alike to the network: the test would not see a difference"
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())


def test_tensorflow_port_matches_torch_fidelity(extractor, ours, theirs):
    features, unbiased, biased = theirs
    assert ours.features_BF.shape == (2, extractor.dim) == (2, 2048)
    assert ours.logits_BC.shape == (2, 1008)
    close(ours.features_BF, features)
    close(ours.logits_BC, unbiased)
    assert (unbiased - biased).abs().max() > 1e-2  # the bias is left out, and would be seen


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("inception-v3-tf-antialiased", "antialiased"),
        pytest.param("inception-v3-tf-legacy-pytorch", "legacy-pytorch", marks=pytest.mark.slow),
    ],
)
def test_resizing_mode_by_name(tensorflow_file, official, images, theirs, name, mode):
    """torch-fidelity's network takes pixels alone, so these are resized and rounded beforehand."""
    extractor = load_feature_extractor(name, tensorflow_file)
    features, *_ = official(resize(images, 299, mode).round().to(torch.uint8))
    ours = extractor(images).features_BF
    assert (ours - features).abs().mean() < (ours - theirs[0]).abs().mean() / 2  # what is left is the rounding
    assert extractor.protocol["resize"] == f"{mode} 299"
    assert extractor.name == name


def test_torchvision_matches_direct_call(torchvision_file, images):
    extractor = load_feature_extractor("inception-v3-torchvision", torchvision_file)
    network = torchvision.models.inception_v3(weights=None, init_weights=False, transform_input=True).eval()
    network.load_state_dict(torch.load(torchvision_file, weights_only=True))
    pooled = []
    network.avgpool.register_forward_hook(lambda _layer, _input, output: pooled.append(output.flatten(1)))
    published = torchvision.models.Inception_V3_Weights.IMAGENET1K_V1.transforms()
    in_01 = resize(images, 299, "legacy-pytorch") / 255
    with torch.no_grad():
        logits = network(torchvision.transforms.functional.normalize(in_01, published.mean, published.std))
    ours = extractor(images)
    close(ours.features_BF, pooled[0])
    close(ours.logits_BC, logits)
    assert ours.logits_BC.shape == (2, 1000)
    assert extractor.protocol == {
        "resize": "legacy-pytorch 299",
        "features": "last average pool",
        "logits": "1000 classes, with bias",
    }


def test_weights_sha256_and_protocol(tensorflow_file, extractor, ours, tmp_path, images):
    """The hash is the file's; the same tensors in a .safetensors file are another file, and the same network."""
    assert extractor.weights_sha256 == hashlib.sha256(tensorflow_file.read_bytes()).hexdigest()
    save_file(torch.load(tensorflow_file, weights_only=True), tmp_path / "same.safetensors")
    same = load_feature_extractor("inception-v3-tf", tmp_path / "same.safetensors")
    assert same.weights_sha256 != extractor.weights_sha256
    assert torch.equal(same(images).features_BF, ours.features_BF)
    assert extractor.protocol == {
        "resize": "legacy-tensorflow 299",
        "features": "last average pool",
        "logits": "1008 classes, without bias",
    }


def test_network_is_frozen(extractor, images, ours):
    assert isinstance(extractor, Inception)
    assert not extractor.layers.training
    assert not any(parameter.requires_grad for parameter in extractor.layers.parameters())
    second = extractor(images[1:])
    assert not ours.features_BF.requires_grad
    assert ours.features_BF.dtype == ours.logits_BC.dtype == torch.float32
    assert torch.equal(ours.features_BF[1:], second.features_BF)  # whatever else is in the batch
    assert torch.equal(ours.logits_BC[1:], second.logits_BC)


@pytest.mark.parametrize(
    ("name", "file"), [("inception-v3-tf", "6726825d"), ("inception-v3-torchvision", "inception_v3_google-0cc3c7bd")]
)
def test_missing_weights_error_names_the_published_file(name, file, tmp_path):
    with pytest.raises(ValueError, match=f"{name} needs a local weight file.*https://.*{file}"):
        load_feature_extractor(name)
    with pytest.raises(
        FileNotFoundError, match=rf"nowhere\.pth does not exist; it should hold the weights of {name}.*{file}"
    ):
        load_feature_extractor(name, tmp_path / "nowhere.pth")


def test_weights_of_another_network_are_rejected(tensorflow_file, torchvision_file):
    with pytest.raises(ValueError, match=r"inception_v3_google\.pth does not hold the weights of inception-v3-tf: "):
        load_feature_extractor("inception-v3-tf", torchvision_file)
    with pytest.raises(ValueError, match=r"pt_inception\.pth does not hold the weights of inception-v3-torchvision: "):
        load_feature_extractor("inception-v3-torchvision", tensorflow_file)


@pytest.mark.parametrize("name", ["inception-v3-tf", "inception-v3-torchvision"])
def test_damaged_file_is_named(name, tensorflow_file, tmp_path):
    path = tmp_path / "half.pth"
    path.write_bytes(tensorflow_file.read_bytes()[: 2**20])
    with pytest.raises(ValueError, match=r"half\.pth cannot be read as a state dict"):
        load_feature_extractor(name, path)


class Code:
    """Runs when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_code_in_a_weight_file_is_not_run(tmp_path):
    """torch-fidelity alone would run it: it reads its files with weights_only=False."""
    trace, path = tmp_path / "trace", tmp_path / "weights.pth"
    torch.save({"fc.weight": Code(trace)}, path)
    with pytest.raises(ValueError, match="and no code"):
        load_feature_extractor("inception-v3-tf", path)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Code(trace)))  # the trap is a trap
    assert trace.exists()


def test_spatial_features_are_the_first_channels_of_a_middle_layer(tensorflow_file, official, images):
    extractor = load_feature_extractor("inception-v3-tf-spatial", tensorflow_file)
    seen = []
    branches = []
    layer = official.Mixed_6d
    with (
        layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output)),
        layer.branch1x1.register_forward_hook(lambda _module, _inputs, output: branches.append(output)),
    ):
        official(images)
    ours = extractor(images)
    assert ours.features_BF.shape == (2, extractor.dim) == (2, 2023)
    assert ours.logits_BC is None
    close(ours.features_BF, seen[0][:, :7].flatten(1))
    close(ours.features_BF, branches[0][:, :7].flatten(1))  # mixed_6/conv of the TensorFlow graph
    assert "mixed_6" in extractor.protocol["features"]
