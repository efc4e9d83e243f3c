"""What CLIP and DINOv2 share: folders of transformers, their checksums, and damage."""

import hashlib
import json
import shutil
from fnmatch import fnmatch

import pytest
import torch
from huggingface_hub import constants
from transformers import CLIPModel

from xmcgan.encoders.text import quiet_transformers
from xmcgan.evaluation.networks import pretrained as module
from xmcgan.evaluation.networks.load import load_feature_extractor
from xmcgan.evaluation.networks.pretrained import load_model, load_tokenizer, pretrained_folder, pretrained_sha256


@pytest.mark.parametrize("name", ["clip", "dinov2"])
def test_image_features_do_not_depend_on_the_batch(name, request):
    """Batches may have any size, on any number of processes."""
    extractor = load_feature_extractor(name, request.getfixturevalue(f"{name}_folder"))
    images = torch.randint(256, (13, 3, 40, 30), dtype=torch.uint8)
    together = extractor(images).features_BF
    assert torch.equal(extractor(images.flip(0)).features_BF.flip(0), together)
    assert all(torch.equal(extractor(images[[row]]).features_BF[0], together[row]) for row in range(13))


@pytest.mark.parametrize("name", ["clip", "dinov2"])
def test_weights_sha256_and_protocol(name, request, tmp_path):
    folder = request.getfixturevalue(f"{name}_folder")
    extractor = load_feature_extractor(name, folder)
    assert extractor.weights_sha256 == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert extractor.name == name
    with quiet_transformers():
        type(extractor.model).from_pretrained(folder).save_pretrained(tmp_path, max_shard_size="10KB")
    for part in folder.glob("*.json"):
        if not (tmp_path / part.name).exists():
            shutil.copy(part, tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    sharded = load_feature_extractor(name, tmp_path)
    first = sharded.weights_sha256
    assert first not in ("", extractor.weights_sha256)
    with (tmp_path / sorted(path.name for path in tmp_path.glob("*.safetensors"))[-1]).open("ab") as file:
        file.write(b" ")
    assert pretrained_sha256(tmp_path) != first


@pytest.mark.parametrize("name", ["clip", "dinov2"])
def test_invalid_folders_are_rejected(name, request, tmp_path):
    folder = request.getfixturevalue(f"{name}_folder")
    other = request.getfixturevalue({"clip": "dinov2_folder", "dinov2": "clip_folder"}[name])
    with pytest.raises(ValueError, match=rf"has model_type '{other.name}'; it should be {name}"):
        load_feature_extractor(name, other)
    with pytest.raises(ValueError, match=r"has no config\.json"):
        load_feature_extractor(name, tmp_path)
    for missing, message in (
        ("preprocessor_config.json", r"has no readable preprocessor_config\.json"),
        ("model.safetensors", rf"cannot be loaded as {name}"),
        ("tokenizer.json", "has no tokenizer"),
    ):
        if (folder / missing).exists():
            lacking = tmp_path / f"without-{missing}"
            shutil.copytree(folder, lacking, ignore=shutil.ignore_patterns(missing))
            with pytest.raises(ValueError, match=message):
                load_feature_extractor(name, lacking)


@pytest.mark.parametrize("name", ["clip", "dinov2"])
def test_damaged_weights_are_named(name, request, tmp_path):
    folder = shutil.copytree(request.getfixturevalue(f"{name}_folder"), tmp_path / "damaged")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=rf"damaged cannot be loaded as {name}"):
        load_feature_extractor(name, folder)


def test_incomplete_weights_are_rejected(dinov2_folder, tmp_path):
    """A folder of fewer layers than its config.json says would give a partly random network with only a warning."""
    folder = shutil.copytree(dinov2_folder, tmp_path / "shallow")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(ValueError, match=r"shallow lacks \d+ weights of dinov2: encoder\.layer\.2"):
        load_feature_extractor("dinov2", folder)


def test_weights_are_those_of_pytorch_where_there_are_no_others(tmp_path):
    with pytest.raises(ValueError, match=r"has no weights; it should have \*\.safetensors or pytorch_model\.bin"):
        pretrained_sha256(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"weights")
    assert pretrained_sha256(tmp_path) == hashlib.sha256(b"weights").hexdigest()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", r"config\.json has no model_type; it should be clip or siglip"),
        ("[]", r"config\.json has no model_type; it should be clip or siglip"),
        ("{", r"config\.json is not JSON"),
    ],
)
def test_a_configuration_that_names_no_kind_of_model_is_refused(tmp_path, content, message):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        load_model(CLIPModel, tmp_path, ("clip", "siglip"))


def test_a_damaged_tokenizer_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match=f"{tmp_path} has no readable tokenizer: "):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("weights", "kept"),
    [
        (["model.safetensors", "pytorch_model.bin"], "model.safetensors"),
        (["pytorch_model.bin", "flax_model.msgpack"], "pytorch_model.bin"),
    ],
)
def test_one_kind_of_weights_is_downloaded(tmp_path, monkeypatch, weights, kept):
    def download(name, allow_patterns):
        for file in ["config.json", "vocab.txt", "README.md", *weights]:
            if any(fnmatch(file, pattern) for pattern in allow_patterns):
                (tmp_path / file).touch()
        return str(tmp_path)

    monkeypatch.setattr(module, "snapshot_download", download)
    assert pretrained_folder("someone/model") == tmp_path
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "vocab.txt", kept}


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin", None])
def test_a_copy_is_used_where_the_hub_refuses(tmp_path, monkeypatch, weights):
    commit, copy = "0" * 40, tmp_path / "models--someone--model"
    folder = copy / "snapshots" / commit
    for path, content in ((copy / "refs/main", commit), (folder / "config.json", "{}")):
        path.parent.mkdir(parents=True)
        path.write_text(content)
    if weights:
        (folder / weights).touch()

    def refuse(*_, **__):
        raise OSError("no connection\ntraceback")

    monkeypatch.setattr(module, "snapshot_download", refuse)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    if weights:
        assert pretrained_folder("someone/model") == folder
        return
    with pytest.raises(ValueError, match=r"someone/model .* cannot be downloaded from .* hub: no connection$"):
        pretrained_folder("someone/model")
