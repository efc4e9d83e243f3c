"""Both discriminators in one: what each gives, and what they weigh."""

import pytest
import torch

from xmcgan.encoders.efficientnet import EfficientNetLite0
from xmcgan.model.combined_discriminator import CombinedDiscriminator
from xmcgan.model.discriminator import Discriminator
from xmcgan.model.frozen_discriminator import FrozenFeatureDiscriminator
from xmcgan.types import TextEmbedding


@pytest.fixture
def discriminator() -> CombinedDiscriminator:
    torch.manual_seed(0)
    encoder = EfficientNetLite0().eval().requires_grad_(False)
    return CombinedDiscriminator(
        Discriminator(image_size=64, width=2, text_dim=6),
        FrozenFeatureDiscriminator(encoder, text_dim=6, channels=8, feature_dim=None),
    ).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 64, 64) * 2 - 1


@pytest.fixture
def text() -> TextEmbedding:
    return TextEmbedding(torch.randn(2, 3, 6), torch.ones(2, 3, dtype=torch.bool), torch.randn(2, 6))


def test_its_logit_is_the_mean_of_both(discriminator, images, text):
    found = discriminator(images, text).logits_B
    one, other = discriminator.contrastive(images, text).logits_B, discriminator.frozen(images, text).logits_B
    assert found.shape == (2, 2 * 4 * 16 * 16)
    torch.testing.assert_close(found.mean(1), (one + other.mean(1)) / 2)


def test_the_contrastive_losses_see_the_papers_features_alone(discriminator, images, text):
    found, papers = discriminator(images, text), discriminator.contrastive(images, text)
    assert torch.equal(found.image_features_BF, papers.image_features_BF)
    assert torch.equal(found.sentence_features_BF, papers.sentence_features_BF)
    assert torch.equal(found.region_features_BRD, papers.region_features_BRD)


def test_mismatched_logits_are_those_with_the_other_caption(discriminator, images, text):
    weights, other = discriminator.normalised_weights(), text.sentence_BD.flip(0)
    found = discriminator.discriminate(images, text, weights, other)
    expected = discriminator.discriminate(images, text._replace(sentence_BD=other), weights).logits_B
    torch.testing.assert_close(found.mismatched_logits_B, expected)
    assert discriminator.discriminate(images, text, weights).mismatched_logits_B is None
