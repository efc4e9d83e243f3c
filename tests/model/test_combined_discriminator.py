"""Both discriminators in one: what each gives, and what they weigh."""

import pytest
import torch

from xmcgan.encoders.efficientnet import EfficientNetLite0
from xmcgan.losses.objective import LossWeights, Objective
from xmcgan.model.combined_discriminator import CombinedDiscriminator
from xmcgan.model.discriminator import Discriminator
from xmcgan.model.frozen_discriminator import FrozenFeatureDiscriminator
from xmcgan.types import TextEmbedding


@pytest.fixture
def discriminator() -> CombinedDiscriminator:
    return combined(feature_dim=None)


def combined(*, feature_dim: int | None) -> CombinedDiscriminator:
    torch.manual_seed(0)
    encoder = EfficientNetLite0().eval().requires_grad_(False)
    return CombinedDiscriminator(
        Discriminator(image_size=64, width=2, text_dim=6),
        FrozenFeatureDiscriminator(encoder, text_dim=6, channels=8, feature_dim=feature_dim),
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
    (found,), (papers,) = discriminator(images, text).features, discriminator.contrastive(images, text).features
    for one, other in zip(found, papers, strict=True):
        assert torch.equal(one, other)


def test_with_two_contrastive_heads_the_losses_are_the_mean_over_both_networks(images, text):
    discriminator = combined(feature_dim=5)
    real, fake = discriminator(images, text), discriminator(images.flip(3), text)
    assert [each.images_BF.shape[1] for each in real.features] == [32, 5]
    objective = Objective(LossWeights(trace=1.0))
    traces_BTR = torch.full((2, 3, 256), 1 / 256)

    def losses(kept: slice) -> dict[str, torch.Tensor]:
        pair = [output._replace(features=output.features[kept]) for output in (real, fake)]
        of_discriminator = objective.discriminator(*pair, text, traces_BTR)
        of_generator = objective.generator(*pair, text)
        return of_discriminator.losses | of_discriminator.statistics | of_generator.losses | of_generator.statistics

    both, paper, frozen = (losses(kept) for kept in (slice(None), slice(0, 1), slice(1, 2)))
    contrastive = {"real_sentence", "real_word", "real_trace", "fake_sentence", "fake_word", "image_discriminator"}
    assert contrastive <= set(both)
    for name in both:
        torch.testing.assert_close(both[name], (paper[name] + frozen[name]) / 2, msg=name)
    for name in contrastive:
        assert (paper[name] - frozen[name]).abs() > 1e-6, name


def test_mismatched_logits_are_those_with_the_other_caption(discriminator, images, text):
    weights, other = discriminator.normalised_weights(), text.sentence_BD.flip(0)
    found = discriminator.discriminate(images, text, weights, other)
    expected = discriminator.discriminate(images, text._replace(sentence_BD=other), weights).logits_B
    torch.testing.assert_close(found.mismatched_logits_B, expected)
    assert discriminator.discriminate(images, text, weights).mismatched_logits_B is None
