"""CLIP against transformers itself, on a tiny model with random weights. The true weights were not run."""

import pytest
import torch
from torch import nn
from transformers import CLIPModel, CLIPTokenizer

from tiny_vision import CAPTIONS, close, normalised
from xmcgan.evaluation.networks.load import load_dual_encoder, load_feature_extractor


def test_clip_matches_transformers(clip_folder, block_images):
    encoder = load_dual_encoder("clip", clip_folder)
    model, tokenizer = CLIPModel.from_pretrained(clip_folder), CLIPTokenizer.from_pretrained(clip_folder)
    with torch.no_grad():
        images_BF = model.get_image_features(normalised(block_images, 32)).pooler_output
        alone = [tokenizer(caption, truncation=True, max_length=24, return_tensors="pt") for caption in CAPTIONS]
        captions_BF = torch.cat([model.get_text_features(**tokens).pooler_output for tokens in alone])
    close(encoder.encode_images(block_images), nn.functional.normalize(images_BF))
    close(encoder.encode_captions(CAPTIONS), nn.functional.normalize(captions_BF))
    assert encoder.encode_images(block_images).shape == (3, encoder.dim) == (3, 8)
    assert encoder.protocol == {
        "resize": "pil-bicubic shorter side 32",
        "crop": "centre 32 x 32",
        "mean": "0.4 0.5 0.6",
        "std": "0.2 0.3 0.25",
        "caption_length": "24",
    }
    extractor = load_feature_extractor("clip", clip_folder)
    close(extractor(block_images).features_BF, images_BF)
    assert extractor(block_images).logits_BC is None


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


def test_unavailable_hub_name_is_named():
    """HF_HUB_OFFLINE is set for all tests."""
    with pytest.raises(ValueError, match="nobody/knows-this is not a local folder and cannot be downloaded"):
        load_dual_encoder("clip", "nobody/knows-this")
    with pytest.raises(ValueError, match="some words is neither a folder nor a Hugging Face hub name"):
        load_dual_encoder("clip", "some words")
    with pytest.raises(ValueError, match="openai/clip-vit-base-patch32 is not a local folder"):
        load_dual_encoder("clip")
