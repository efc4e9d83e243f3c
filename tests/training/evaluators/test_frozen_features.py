"""A dual encoder on the features of a frozen image network: computed once, and the same bits after an interruption."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import xmcgan.evaluation.networks.frozen_images as frozen_module
import xmcgan.training.evaluators.fitting as fitting_module
import xmcgan.training.evaluators.frozen_features as features_module
from xmcgan.data.images import ImageTransform
from xmcgan.data.stream import ExampleStream
from xmcgan.evaluation.networks.dual_encoder import DualEncoderShape, load_dual_encoder_folder
from xmcgan.evaluation.networks.load import load_dual_encoder
from xmcgan.evaluation.networks.protocols import ImageFeatures
from xmcgan.training.evaluators.dual_encoder import retrieval_accuracy, train_dual_encoder
from xmcgan.training.evaluators.fitting import Fitting
from xmcgan.training.evaluators.frozen_features import FeatureStream, image_features

SHAPE = DualEncoderShape(
    image_size=24, image_network="efficientnet-lite2", dim=16, text_width=32, text_layers=1, words=16
)

FITTING = Fitting(
    steps=12, batch_size=8, learning_rate=3e-3, warmup=2, save_every=4, workers=0, device="cpu", flip=True
)


class SmallExtractor:
    """In place of EfficientNet: fixed random sums of an image's pixels, 1280 of them."""

    seen = 0
    weights_sha256 = "12" * 32

    def __init__(self, _name: str):
        self.protocol = {"resize": "antialiased 260"}
        self.sums = torch.randn(3 * 24 * 24, 1280, generator=torch.Generator().manual_seed(0)) / 24

    def __call__(self, images_B3HW: torch.Tensor) -> ImageFeatures:
        SmallExtractor.seen += len(images_B3HW)
        return ImageFeatures((images_B3HW.flatten(1) / 255) @ self.sums, None)


@pytest.fixture(autouse=True)
def small_network(monkeypatch):
    monkeypatch.setattr(frozen_module, "packaged_extractor", SmallExtractor)
    monkeypatch.setattr(SmallExtractor, "seen", 0)
    monkeypatch.setattr(features_module, "PART", 12)


def encoder(output: Path, records, held_out, fitting: Fitting = FITTING) -> dict:
    return train_dual_encoder(output, records, held_out, shape=SHAPE, fitting=fitting, candidates=8, progress=False)


@pytest.fixture
def trained(records, held_out, tmp_path) -> Path:
    encoder(tmp_path / "encoder", records, held_out)
    return tmp_path / "encoder"


def test_it_learns_and_names_its_network(records, held_out, tmp_path):
    output = tmp_path / "encoder"
    measured = encoder(output, records, held_out, replace(FITTING, steps=40, batch_size=16))
    losses = [json.loads(line)["loss"] for line in (output / "log.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.9 * losses[0]
    assert measured["retrieval_top1"] > 0.2  # of 8 captions, of which many are true of an image
    assert sorted(path.name for path in output.iterdir()) == [
        "config.json",
        "log.jsonl",
        "settings.json",
        "weights.safetensors",
    ]
    loaded = load_dual_encoder(str(output))
    assert round(retrieval_accuracy(loaded, held_out, candidates=8), 4) == measured["retrieval_top1"]
    assert loaded.protocol == {
        "resize": "bilinear-antialiased 24, antialiased 260",
        "image_network": "efficientnet-lite2",
        "image_network_sha256": "12" * 32,
    }


def test_features_are_computed_once_and_a_resume_gives_the_same_bits(trained, records, held_out, tmp_path, monkeypatch):
    SmallExtractor.seen = 0
    output, saved, save = tmp_path / "stopped", features_module.save_tensors, fitting_module.save_training

    def killed_after_a_part(tensors, path):
        saved(tensors, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(features_module, "save_tensors", killed_after_a_part)
    with pytest.raises(KeyboardInterrupt):
        encoder(output, records, held_out)
    assert SmallExtractor.seen == 2 * 12
    monkeypatch.setattr(features_module, "save_tensors", saved)

    def killed_at_8(network, optimizer, step, path):
        if step == 8:
            raise KeyboardInterrupt
        save(network, optimizer, step, path)

    monkeypatch.setattr(fitting_module, "save_training", killed_at_8)
    with pytest.raises(KeyboardInterrupt):
        encoder(output, records, held_out)
    assert SmallExtractor.seen == 2 * len(records)
    monkeypatch.setattr(fitting_module, "save_training", save)
    encoder(output, records, held_out)
    assert SmallExtractor.seen == 2 * len(records) + len(held_out)  # the last, to measure
    for name in ("weights.safetensors", "log.jsonl"):
        assert (output / name).read_bytes() == (trained / name).read_bytes()


def test_a_damaged_part_is_computed_anew(records, tmp_path, capsys):
    frozen = frozen_module.FrozenImages("efficientnet-lite2", 24)
    whole = image_features(frozen, records, FITTING, tmp_path, progress=False)
    part = sorted((tmp_path / "features").iterdir())[1]
    part.write_bytes(part.read_bytes()[:-8])
    SmallExtractor.seen = 0
    assert torch.equal(image_features(frozen, records, FITTING, tmp_path, progress=False), whole)
    assert SmallExtractor.seen == 2 * 12
    assert "computing features again" in capsys.readouterr().out


def test_the_stream_takes_the_captions_and_mirror_images_of_the_pixel_stream(records):
    frozen, transform = frozen_module.FrozenImages("efficientnet-lite2", 24), ImageTransform(24)
    pixels = torch.stack([transform(record) for record in records])
    features_VNF = torch.stack([frozen(pixels), frozen(pixels.flip(3))])
    examples = ExampleStream(records, transform, seed=3, flip=True)
    stream = FeatureStream(examples, features_VNF)
    for number in range(40, 60):
        expected, found = examples[number], stream[number]
        torch.testing.assert_close(found.pixels, frozen(expected.pixels[None])[0])
        assert (found.caption, found.number) == (expected.caption, number)


def test_the_head_standardises_by_the_training_images(trained, records):
    frozen, transform = frozen_module.FrozenImages("efficientnet-lite2", 24), ImageTransform(24)
    pixels = torch.stack([transform(record) for record in records])
    both = torch.cat([frozen(pixels), frozen(pixels.flip(3))])
    stored = load_file(trained / "weights.safetensors")
    torch.testing.assert_close(stored["image.mean"], both.mean(0), rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(stored["image.deviation"], both.std(0), rtol=1e-2, atol=1e-2)


def test_other_weights_of_the_image_network_are_refused(trained, records, held_out, monkeypatch):
    monkeypatch.setattr(SmallExtractor, "weights_sha256", "34" * 32)
    with pytest.raises(ValueError, match=r"was trained on efficientnet-lite2 with weights of SHA-256 '1212"):
        load_dual_encoder_folder(trained)
    with pytest.raises(ValueError, match=r"image_network_sha256 was '1212"):
        encoder(trained, records, held_out)


def test_a_larger_image_is_brought_to_the_size_of_the_training(trained):
    loaded = load_dual_encoder_folder(trained)
    small = torch.randint(256, (2, 3, 24, 24), dtype=torch.uint8)
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    embedded = loaded.encode_images(torch.cat([small]))
    assert (loaded.encode_images(large) * embedded).sum(1).min() > 0.9
    with pytest.raises(ValueError, match=r"they should be torch\.uint8"):
        loaded.encode_images(small.float())
