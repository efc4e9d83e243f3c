"""The shipped dual encoder on unseen scenes, and its parts."""

import hashlib
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import xmcgan.evaluation.networks.dual_encoder as module
from fresh import fresh_records
from xmcgan.data.images import ImageTransform
from xmcgan.evaluation.networks.dual_encoder import (
    FIRST_WORD,
    PADDING,
    UNKNOWN,
    DualEncoderNetwork,
    DualEncoderShape,
    Exchange,
    Vocabulary,
    load_dual_encoder_folder,
    load_scenes_dual_encoder,
    split_words,
)
from xmcgan.evaluation.networks.folder import SCENES_DUAL_ENCODER, SCENES_PRESENCE, WEIGHTS_FILE
from xmcgan.evaluation.networks.image_network import ImageNetwork, to_network_size
from xmcgan.evaluation.networks.probes import mistakes_detected
from xmcgan.evaluation.networks.protocols import DualEncoder, FeatureExtractor
from xmcgan.scenes import World
from xmcgan.training.evaluators.dual_encoder import retrieval_accuracy

CARD = Path(__file__).parents[3] / "docs" / "evaluators.md"
FEW = World(most_objects=2)


@pytest.fixture(scope="module")
def encoder():
    return load_scenes_dual_encoder()


def pixels(count: int, size: int = 64) -> torch.Tensor:
    return torch.stack([ImageTransform(size)(record) for record in fresh_records(count, size=size)])


# What ships


def test_shipped_model_is_small_and_matches_its_card():
    folders = (SCENES_DUAL_ENCODER, SCENES_PRESENCE)
    assert sum(file.stat().st_size for folder in folders for file in folder.iterdir()) < 6e6
    for folder in folders:
        digest = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
        assert json.loads((folder / "config.json").read_text())["weights_sha256"] == digest
        assert digest in CARD.read_text()


def test_implements_both_protocols(encoder):
    dual_encoder: DualEncoder = encoder
    extractor: FeatureExtractor = encoder
    assert (dual_encoder.name, extractor.dim) == ("scenes-dual-encoder", 256)
    images, captions = pixels(3), ["a red car on a street", "a boat"]
    features, logits = extractor(images)
    assert logits is None
    for rows, count in (
        (features, 3),
        (dual_encoder.encode_images(images), 3),
        (dual_encoder.encode_captions(captions), 2),
    ):
        assert rows.shape == (count, dual_encoder.dim)
        assert rows.dtype == torch.float32
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(count))
    assert torch.equal(features, dual_encoder.encode_images(images))


def test_retrieval_of_held_out_captions(encoder):
    """Top 1 of 100; several captions may be true of an image, as they leave things unsaid."""
    assert retrieval_accuracy(encoder, fresh_records(200)) >= 0.88


def test_retrieval_with_few_objects(encoder):
    assert retrieval_accuracy(encoder, fresh_records(200, FEW)) >= 0.88


def test_retrieval_of_shuffled_captions_is_at_chance(encoder):
    """Each image with the captions of the next: 1 in 100, within four standard errors of 1,000 captions."""
    records = fresh_records(200)
    wrong = [record._replace(captions=other.captions) for record, other in zip(records, records[1:] + records[:1])]  # noqa: B905
    assert retrieval_accuracy(encoder, wrong) < 0.01 + 4 * (0.01 * 0.99 / 1000) ** 0.5


def test_detects_every_kind_of_mistake(encoder):
    """Sides least of all, which the card says too."""
    shares = mistakes_detected(encoder, FEW, count=200)
    assert set(shares) == {"side", "colour", "kind", "background", "weather"}
    assert shares.pop("side") >= 0.65
    assert min(shares.values()) >= 0.85, shares


@pytest.mark.parametrize("size", [128, 256])
def test_embeddings_do_not_depend_on_image_size(encoder, size):
    """They are drawn with finer edges, then resized with antialiasing."""
    small, large = encoder.encode_images(pixels(40)), encoder.encode_images(pixels(40, size))
    assert (small * large).sum(1).mean() > 0.97
    others = small @ large.T - 2 * torch.eye(40)
    assert ((small * large).sum(1) > others.amax(1)).all()


def test_a_thousand_images_take_seconds(encoder):
    images = pixels(50).repeat(20, 1, 1, 1)
    began = time.process_time()
    encoder.encode_images(images)
    encoder.encode_captions(["a red car left of a stop sign under a night sky"] * 1000)
    assert time.process_time() - began < 10


def test_embeddings_do_not_depend_on_the_batch(encoder):
    images, captions = pixels(5), ["a red car", "two blue boats on the sea at night, left of a kite", "", "Ein Auto"]
    whole, texts = encoder.encode_images(images), encoder.encode_captions(captions)
    torch.testing.assert_close(encoder.encode_images(images[3:4]), whole[3:4], rtol=0, atol=1e-5)
    torch.testing.assert_close(encoder.encode_captions(captions[1:2]), texts[1:2], rtol=0, atol=1e-5)
    assert texts.isfinite().all()


# Its parts


def test_vocabulary_ids():
    assert split_words("A Red  car, in\tthe CAFÉ (no. 7)!") == ["a", "red", "car", "in", "the", "café", "no", "7"]
    words = Vocabulary.from_captions(["a red car", "a red bus", "a blue car"], size=3)
    assert words.words == ("a", "car", "red")  # car and red are as common as each other; bus and blue are rarer
    numbers = words(["Red car!", "a bus a bus a", "..."], length=4)
    a, car, red = range(FIRST_WORD, FIRST_WORD + 3)
    assert numbers.tolist() == [
        [red, car, PADDING, PADDING],
        [a, UNKNOWN, a, UNKNOWN],  # the fifth word is cut off
        [UNKNOWN, PADDING, PADDING, PADDING],  # no word at all
    ]


def test_vocabulary_ties_are_alphabetical():
    assert Vocabulary.from_captions(["bus car apple"], size=2).words == ("apple", "bus")


def test_exchange_replaces_one_word_by_another_of_its_kind():
    words = Vocabulary(["a", "blue", "car", "left", "of", "red", "right"])
    exchange = Exchange([("left", "right"), ("red", "blue", "mauve")], words)  # mauve is in no caption
    captions = ["a red car left of a car", "a car of a", "red red"]
    words_BT = words(captions, length=9)
    seen: dict[str, set[str]] = {caption: set() for caption in captions}
    for seed in range(40):
        wrong_BT = exchange(words_BT, [np.random.default_rng([seed, row]) for row in range(3)])
        assert torch.equal(wrong_BT == PADDING, words_BT == PADDING)
        for caption, row in zip(captions, wrong_BT.tolist(), strict=True):
            seen[caption].add(" ".join(words.words[number - FIRST_WORD] for number in row if number != PADDING))
    assert seen == {
        "a red car left of a car": {"a blue car left of a car", "a red car right of a car"},
        "a car of a": {"a car of a"},
        "red red": {"blue red", "red blue"},
    }


def test_exchange_rejects_invalid_kinds():
    words = Vocabulary(["left", "red", "right"])
    with pytest.raises(
        ValueError, match="the captions contain 1 of the words red, blue; they should contain at least 2"
    ):
        Exchange([("red", "blue")], words)
    with pytest.raises(ValueError, match="the word 'left' is in two kinds; it should be in one"):
        Exchange([("left", "right"), ("left", "red")], words)


def test_padding_has_no_influence():
    network = DualEncoderNetwork(DualEncoderShape(width=4, dim=8, text_width=32), vocabulary=10).eval()
    short = torch.tensor([[3, 4, 5]])
    padded = torch.tensor([[3, 4, 5, PADDING, PADDING]])
    torch.testing.assert_close(network.text(short), network.text(padded))
    assert not torch.allclose(network.text(short), network.text(torch.tensor([[4, 3, 5]])))  # but the order has


def test_image_of_network_size_is_not_resized():
    images = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(to_network_size(images, 32), images / 127.5 - 1)
    assert to_network_size(images, 64).shape == (2, 3, 64, 64)


@pytest.mark.parametrize("images", [torch.zeros(2, 3, 8, 8), torch.zeros(3, 8, 8, dtype=torch.uint8)])
def test_non_pixel_images_are_rejected(images):
    with pytest.raises(ValueError, match="should be uint8 pixels"):
        to_network_size(images, 16)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: DualEncoderShape(text_width=48), "text_width is 48; it should be a multiple of 32"),
        (lambda: DualEncoderShape(words=0), "words is 0"),
        (lambda: ImageNetwork(image_size=40, width=8, dim=8), "image_size is 40; it should be a multiple of 16"),
        (lambda: ImageNetwork(image_size=64, width=0, dim=8), "width is 0"),
    ],
)
def test_invalid_shapes_are_rejected(build, said):
    with pytest.raises(ValueError, match=said):
        build()


# Damaged folders


@pytest.fixture
def copy(tmp_path) -> Path:
    return Path(shutil.copytree(SCENES_DUAL_ENCODER, tmp_path / "copy"))


def test_copied_folder_loads(copy, encoder):
    captions = ["a red car"]
    assert torch.equal(load_dual_encoder_folder(copy).encode_captions(captions), encoder.encode_captions(captions))


def test_missing_config_is_rejected(copy):
    (copy / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"copy is not a complete trained evaluator: config\.json is missing"):
        load_dual_encoder_folder(copy)


def test_missing_weights_are_named(copy):
    (copy / WEIGHTS_FILE).unlink()
    with pytest.raises(FileNotFoundError, match=r"weights\.safetensors is missing"):
        load_dual_encoder_folder(copy)


def test_changed_weights_are_rejected(copy):
    content = bytearray((copy / WEIGHTS_FILE).read_bytes())
    content[-1] ^= 1
    (copy / WEIGHTS_FILE).write_bytes(content)
    with pytest.raises(ValueError, match=r"has SHA-256 \w+; config\.json expects"):
        load_dual_encoder_folder(copy)


def test_weights_of_another_shape_are_rejected(copy):
    config = json.loads((copy / "config.json").read_text())
    config["shape"]["width"] *= 2
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="does not fit the network that its configuration describes"):
        load_dual_encoder_folder(copy)


def test_other_kind_is_rejected():
    with pytest.raises(ValueError, match="kind 'presence'; it should be 'dual-encoder'"):
        load_dual_encoder_folder(SCENES_PRESENCE)


def test_invalid_json_is_rejected(copy):
    (copy / "config.json").write_text('{"kind": ')
    with pytest.raises(ValueError, match=r"config\.json is not JSON"):
        load_dual_encoder_folder(copy)


def test_folders_of_the_first_format_load_and_of_later_ones_do_not(copy):
    config = json.loads((copy / "config.json").read_text())
    assert "format" not in config
    assert "image_network" not in config["shape"]
    for number in (2, 3):
        (copy / "config.json").write_text(json.dumps(config | {"format": number}))
        if number == 2:
            assert load_dual_encoder_folder(copy).frozen is None
    with pytest.raises(ValueError, match="has format 3; this version of xmcgan reads 1 to 2"):
        load_dual_encoder_folder(copy)


def test_network_is_frozen_and_in_evaluation_mode(encoder):
    assert module.TrainedDualEncoder is type(encoder)
    assert not encoder.network.training
    assert not any(parameter.requires_grad for parameter in encoder.network.parameters())
