"""DINOv2 against transformers itself, on a tiny model with random weights. The true weights were not run."""

import torch
from transformers import Dinov2Model

from tiny_vision import close, normalised
from xmcgan.evaluation.networks.load import load_feature_extractor


def test_dinov2_returns_the_class_token_of_the_whole_image(dinov2_folder, block_images):
    extractor = load_feature_extractor("dinov2", dinov2_folder)
    with torch.no_grad():
        theirs = Dinov2Model.from_pretrained(dinov2_folder)(normalised(block_images, 28)).last_hidden_state[:, 0]
    ours = extractor(block_images)
    close(ours.features_BF, theirs)
    assert ours.features_BF.shape == (3, extractor.dim) == (3, 24)
    assert ours.logits_BC is None
    assert extractor.protocol == {
        "resize": "pil-bicubic 28",
        "features": "class token after the last norm",
        "mean": "0.4 0.5 0.6",
        "std": "0.2 0.3 0.25",
    }
