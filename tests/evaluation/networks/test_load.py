"""Loading networks by name: trained evaluators, and errors on wrong names."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from xmcgan.evaluation.networks import dual_encoder, presence
from xmcgan.evaluation.networks.dual_encoder import DualEncoderNetwork, DualEncoderShape
from xmcgan.evaluation.networks.load import (
    DETECTORS,
    DUAL_ENCODERS,
    FEATURE_EXTRACTORS,
    load_detector,
    load_dual_encoder,
    load_feature_extractor,
)
from xmcgan.evaluation.networks.presence import PresenceShape, presence_network


def write_folder(folder: Path, network: torch.nn.Module, description: dict) -> Path:
    """A trained evaluator, without the training."""
    folder.mkdir(parents=True)
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, folder / "weights.safetensors")
    digest = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    (folder / "config.json").write_text(json.dumps({**description, "weights_sha256": digest}))
    return folder


@pytest.fixture
def encoder_folder(tmp_path) -> Path:
    shape = DualEncoderShape(image_size=16, width=8, dim=8, text_width=32, text_layers=1)
    description = {"kind": "dual-encoder", "name": "tiny", "shape": asdict(shape), "vocabulary": ["a", "car", "red"]}
    return write_folder(tmp_path / "encoder", DualEncoderNetwork(shape, vocabulary=3), description)


@pytest.fixture
def presence_folder(tmp_path) -> Path:
    shape = PresenceShape({"cat": 17, "dog": 18}, image_size=16, width=8)
    description = {"kind": "presence", "name": "tiny-presence", "shape": asdict(shape)}
    return write_folder(tmp_path / "presence", presence_network(shape), description)


@pytest.mark.parametrize("by_path", [True, False])
def test_load_trained_dual_encoder_by_folder(encoder_folder, by_path):
    given = (str(encoder_folder), None) if by_path else ("folder", encoder_folder)
    encoder, extractor = load_dual_encoder(*given), load_feature_extractor(*given)
    images = torch.randint(256, (2, 3, 20, 20), dtype=torch.uint8)
    assert encoder.name == extractor.name == "tiny"
    assert encoder.encode_captions(["a red car"]).shape == (1, 8)
    assert torch.equal(extractor(images).features_BF, encoder.encode_images(images))


def test_load_scenes_networks_by_name(encoder_folder, presence_folder, monkeypatch):
    """With tiny networks instead of the shipped ones, which have their own tests."""
    monkeypatch.setattr(dual_encoder, "SCENES_DUAL_ENCODER", encoder_folder)
    monkeypatch.setattr(presence, "SCENES_PRESENCE", presence_folder)
    assert load_dual_encoder("scenes-dual-encoder").name == "tiny"
    assert load_feature_extractor("scenes-dual-encoder").dim == 8
    assert load_detector("scenes-presence").name == "tiny-presence"
    for load, name in (
        (load_dual_encoder, "scenes-dual-encoder"),
        (load_feature_extractor, "scenes-dual-encoder"),
        (load_detector, "scenes-presence"),
    ):
        with pytest.raises(ValueError, match=f"{name} ships with the package and takes no weights"):
            load(name, encoder_folder)


@pytest.mark.parametrize(
    ("load", "those", "kind"),
    [
        (load_feature_extractor, FEATURE_EXTRACTORS, "feature extractor"),
        (load_dual_encoder, DUAL_ENCODERS, "dual encoder"),
        (load_detector, DETECTORS, "detector"),
    ],
)
def test_unknown_name_lists_the_choices(load, those, kind):
    with pytest.raises(ValueError, match=f"unknown {kind} 'yolov3'; it can be {', '.join(those)}$"):
        load("yolov3")


def test_invalid_dual_encoder_folder_is_rejected(tmp_path, presence_folder):
    for load in (load_dual_encoder, load_feature_extractor):
        with pytest.raises(ValueError, match="folder: weights are missing; give a folder"):
            load("folder")
        with pytest.raises(FileNotFoundError, match=f"{tmp_path} is not a complete trained evaluator"):
            load(str(tmp_path))
        with pytest.raises(ValueError, match="it should be 'dual-encoder'"):
            load("folder", presence_folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": None}, "it lacks name$"),
        ({"name": None, "shape": None, "weights_sha256": None}, "it lacks name, shape, weights_sha256"),
        ({"name": 5}, "name should be text, and shape sizes by name"),
        ({"shape": [8]}, "name should be text, and shape sizes by name"),
        ({"shape": {"widht": 8}}, "shape: unknown size widht"),
        ({"shape": {"width": "8"}}, "shape: width is '8'; it should be a whole number"),
        ({"shape": {"words": 0}}, "shape: words is 0"),
        ({"vocabulary": "a car"}, "vocabulary should be a list of words"),
        ({"vocabulary": ["a", 5]}, "vocabulary should be a list of words"),
        ({"vocabulary": None}, "vocabulary should be a list of words"),
    ],
)
def test_a_damaged_description_is_named(encoder_folder, changes, message):
    path = encoder_folder / "config.json"
    description = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in description.items() if value is not None}))
    with pytest.raises(ValueError, match=rf"config\.json is damaged: {message}"):
        load_dual_encoder("folder", encoder_folder)


def test_the_detector_of_scenes_is_loaded_by_name():
    detector = load_detector("scenes-detector")
    (found,) = detector.detect_objects(torch.full((1, 3, 64, 64), 128, dtype=torch.uint8))
    assert (detector.name, found.boxes_N4.shape[1]) == ("scenes-detector", 4)
