"""Which networks a training has seen."""

import dataclasses

import pytest

from xmcgan.config import Config
from xmcgan.evaluation.seen import family_of, is_seen, join_families, trained_with


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("inception-v3-tf-antialiased", "inception-v3"),
        ("google-bert/bert-base-uncased", "bert"),
        ("fasterrcnn_resnet50_fpn_v2", "resnet50"),
        ("detr", "resnet50"),
        ("minilm", "minilm"),
        ("scenes-dual-encoder", "scenes-dual-encoder"),
    ],
)
def test_families(name, family):
    assert family_of(name) == family


def test_the_paper_was_trained_with_bert_and_vgg():
    assert trained_with(Config()) == "bert, vgg19"
    assert not is_seen("clip", "bert, vgg19")


@pytest.mark.parametrize("kind", ["frozen-features", "combined"])
def test_losses_and_discriminators_on_frozen_networks_count(kind):
    config = Config()
    losses = dataclasses.replace(config.losses, encoder="resnet50")
    discriminator = dataclasses.replace(config.discriminator, kind=kind)
    trained = trained_with(dataclasses.replace(config, losses=losses, discriminator=discriminator))
    assert trained == "bert, efficientnet-lite0, resnet50"
    assert is_seen("maskrcnn_resnet50_fpn_v2", trained)


def test_names_that_a_user_gives_are_sorted_families():
    assert join_families(["VGG-19", " openai/clip-vit-base-patch32 ", ""]) == "clip, vgg19"


def test_larger_efficientnets_are_not_seen_by_a_training_with_the_smallest():
    discriminator = dataclasses.replace(Config().discriminator, kind="frozen-features")
    trained = trained_with(dataclasses.replace(Config(), discriminator=discriminator))
    assert is_seen("efficientnet-lite0", trained)
    assert not is_seen("efficientnet-lite1", trained)
    assert not is_seen("efficientnet-lite2", trained)


def test_a_network_inside_another_counts():
    assert is_seen("my-encoder", "efficientnet-lite0, minilm", ["efficientnet-lite0"])
    assert not is_seen("my-encoder", "efficientnet-lite0, minilm", ["efficientnet-lite2"])
