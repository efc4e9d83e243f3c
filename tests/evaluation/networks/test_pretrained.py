"""What CLIP and DINOv2 share: folders of transformers, their checksums, and damage."""

import hashlib
import json
import shutil

import pytest
import torch

from xmcgan.encoders.text import quiet_transformers
from xmcgan.evaluation.networks.load import load_feature_extractor
from xmcgan.evaluation.networks.pretrained import pretrained_sha256


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
