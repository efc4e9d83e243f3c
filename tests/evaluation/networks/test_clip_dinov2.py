"""CLIP and DINOv2 against transformers itself, on tiny models with random weights that it saved.

The true weights are not part of the project and were not run.
"""

import hashlib
import json
import shutil
import string
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import (
    BitImageProcessorPil,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    Dinov2Config,
    Dinov2Model,
)

from xmcgan.encoders.text import quiet_transformers
from xmcgan.evaluation.networks.load import load_dual_encoder, load_feature_extractor

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
CAPTIONS = ["a red car", "two kites above a beach", "", "a red car and a bus and a car and a bus"]


def save(folder: Path, model: nn.Module, *beside) -> Path:
    """Random weights large enough that inputs tell, as transformers saves them."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1 or "class_embedding" in name:
                weight.normal_(std=0.3)
    with quiet_transformers():
        for part in (model, *beside):
            part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dinov2_folder(tmp_path_factory) -> Path:
    torch.manual_seed(1)
    shape = Dinov2Config(hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14)
    processor = BitImageProcessorPil(
        size={"shortest_edge": 40}, crop_size={"height": 28, "width": 28}, image_mean=MEAN, image_std=STD, resample=3
    )
    return save(tmp_path_factory.mktemp("models") / "dinov2", Dinov2Model(shape), processor)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory) -> Path:
    torch.manual_seed(2)
    words = [letter + end for end in ("", "</w>") for letter in string.ascii_lowercase]
    vocabulary = {word: number for number, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    tower = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    ends = {"bos_token_id": vocabulary["<|startoftext|>"], "eos_token_id": vocabulary["<|endoftext|>"]}
    shape = CLIPConfig(
        text_config={**tower, **ends, "vocab_size": len(vocabulary), "max_position_embeddings": 24},
        vision_config={**tower, "image_size": 32, "patch_size": 16},
        projection_dim=8,
    )
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_mean=MEAN, image_std=STD
    )
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[])
    return save(tmp_path_factory.mktemp("models") / "clip", CLIPModel(shape), processor, tokenizer)


@pytest.fixture
def images() -> Tensor:
    return torch.randint(256, (3, 3, 12, 12), dtype=torch.uint8).repeat_interleave(5, 2).repeat_interleave(5, 3)


def normalised(images: Tensor, side: int) -> Tensor:
    """What the networks are to see, through PIL alone."""
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    resized = [np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC)) for picture in pictures]
    pixels = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2) / 255
    return (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def close(ours: Tensor, theirs: Tensor) -> None:
    assert theirs.std(0).max() > 1e-3, "all look alike to the network: the test would not see a difference"
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_dinov2_returns_the_class_token_of_the_whole_image(dinov2_folder, images):
    extractor = load_feature_extractor("dinov2", dinov2_folder)
    with torch.no_grad():
        theirs = Dinov2Model.from_pretrained(dinov2_folder)(normalised(images, 28)).last_hidden_state[:, 0]
    ours = extractor(images)
    close(ours.features_BF, theirs)
    assert ours.features_BF.shape == (3, extractor.dim) == (3, 24)
    assert ours.logits_BC is None
    assert extractor.protocol == {
        "resize": "pil-bicubic 28",
        "features": "class token after the last norm",
        "mean": "0.4 0.5 0.6",
        "std": "0.2 0.3 0.25",
    }


def test_clip_matches_transformers(clip_folder, images):
    encoder = load_dual_encoder("clip", clip_folder)
    model, tokenizer = CLIPModel.from_pretrained(clip_folder), CLIPTokenizer.from_pretrained(clip_folder)
    with torch.no_grad():
        images_BF = model.get_image_features(normalised(images, 32)).pooler_output
        alone = [tokenizer(caption, truncation=True, max_length=24, return_tensors="pt") for caption in CAPTIONS]
        captions_BF = torch.cat([model.get_text_features(**tokens).pooler_output for tokens in alone])
    close(encoder.encode_images(images), nn.functional.normalize(images_BF))
    close(encoder.encode_captions(CAPTIONS), nn.functional.normalize(captions_BF))
    assert encoder.encode_images(images).shape == (3, encoder.dim) == (3, 8)
    assert encoder.protocol == {
        "resize": "pil-bicubic shorter side 32",
        "crop": "centre 32 x 32",
        "mean": "0.4 0.5 0.6",
        "std": "0.2 0.3 0.25",
        "caption_length": "24",
    }
    extractor = load_feature_extractor("clip", clip_folder)
    close(extractor(images).features_BF, images_BF)
    assert extractor(images).logits_BC is None


def test_long_captions_are_truncated(clip_folder):
    encoder = load_dual_encoder("clip", clip_folder)
    long = "abcdefghijklmnopqrstuv"  # 22 letters, a word piece each, and two special ones
    full, longer, shorter = encoder.encode_captions([long, long + "wxyz", long[:-1]])
    assert torch.equal(full, encoder.encode_captions([long])[0])
    assert (full - longer).abs().max() > 1e-3  # v is not v</w>, the end of a word
    assert torch.equal(longer, encoder.encode_captions([long + "zyxw"])[0])
    assert (full - shorter).abs().max() > 1e-3


def test_caption_embedding_does_not_depend_on_the_batch(clip_folder):
    encoder = load_dual_encoder("clip", clip_folder)
    captions = [*CAPTIONS, *(f"car {letter}" for letter in "abcdefghi")]
    together = encoder.encode_captions(captions)
    assert together.shape == (13, 8)
    for row, caption in enumerate(captions):
        assert torch.equal(encoder.encode_captions([caption])[0], together[row])


@pytest.mark.parametrize("name", ["clip", "dinov2"])
def test_image_features_do_not_depend_on_the_batch(name, request):
    """Judged in batches of any size, by any number of processes."""
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
    from xmcgan.evaluation.networks.pretrained import pretrained_sha256

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


def test_unavailable_hub_name_is_named():
    """HF_HUB_OFFLINE is set for all tests."""
    with pytest.raises(ValueError, match="nobody/knows-this is not a local folder and cannot be downloaded"):
        load_dual_encoder("clip", "nobody/knows-this")
    with pytest.raises(ValueError, match="some words is neither a folder nor a Hugging Face hub name"):
        load_dual_encoder("clip", "some words")
    with pytest.raises(ValueError, match="openai/clip-vit-base-patch32 is not a local folder"):
        load_dual_encoder("clip")
