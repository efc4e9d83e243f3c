"""DINOv2 against transformers itself, on a tiny model with random weights. The true weights were not run."""

import json
import shutil

import pytest
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


@pytest.mark.parametrize("crop", [{"height": 28, "width": 14}, None])
def test_a_processor_that_crops_no_square_is_refused(dinov2_folder, tmp_path, crop):
    folder = shutil.copytree(dinov2_folder, tmp_path / "oblong")
    path = folder / "preprocessor_config.json"
    processor = json.loads(path.read_text())
    assert processor["crop_size"] == {"height": 28, "width": 28}
    path.write_text(json.dumps(processor | {"crop_size": crop}))
    with pytest.raises(
        ValueError, match=r"oblong: crop_size in preprocessor_config\.json is .*; it should be a square"
    ):
        load_feature_extractor("dinov2", folder)
