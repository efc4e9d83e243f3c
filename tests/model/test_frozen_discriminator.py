"""The discriminator on frozen features: what is trained, what is mixed, what its logits depend on."""

from dataclasses import replace

import pytest
import torch

from xmcgan.encoders.efficientnet import EfficientNetLite0
from xmcgan.model.build import build_discriminator
from xmcgan.model.frozen_discriminator import FrozenFeatureDiscriminator, RandomMix
from xmcgan.recipes import RECIPES
from xmcgan.types import TextEmbedding


@pytest.fixture
def discriminator() -> FrozenFeatureDiscriminator:
    torch.manual_seed(0)
    encoder = EfficientNetLite0().eval().requires_grad_(False)
    return FrozenFeatureDiscriminator(encoder, text_dim=6, channels=8, feature_dim=5)


def inputs(count: int = 2) -> tuple[torch.Tensor, TextEmbedding]:
    torch.manual_seed(1)
    text = TextEmbedding(torch.randn(count, 3, 6), torch.ones(count, 3, dtype=torch.bool), torch.randn(count, 6))
    return torch.rand(count, 3, 64, 64) * 2 - 1, text


def test_shapes(discriminator):
    images, text = inputs()
    output = discriminator(images, text)
    assert output.logits_B.shape == (2, 4 * 16 * 16)
    (features,) = output.features
    assert features.images_BF.shape == features.sentences_BF.shape == (2, 5)
    assert features.regions_BRD.shape == (2, 256, 6)
    assert output.mismatched_logits_B is None


def test_only_the_heads_are_trained_and_saved(discriminator):
    trained = {name.split(".")[1] for name, weight in discriminator.named_parameters() if weight.requires_grad}
    assert trained == {"heads", "region_projection", "image_projection", "sentence_projection"}
    assert not any("stages" in name for name in discriminator.state_dict())
    assert any("mix" in name for name in discriminator.state_dict())


def test_moving_it_moves_the_frozen_network(discriminator):
    discriminator.double()
    assert discriminator.frozen[0].stem.weight.dtype == torch.float64


def test_all_scales_weigh_the_same(discriminator):
    """A unit added to the bias of one head's logits adds a quarter to the mean of all."""
    images, text = inputs()
    before = discriminator.eval()(images, text).logits_B.mean()
    for head in discriminator.network.heads:
        with torch.no_grad():
            head.unconditional.bias += 1
        after = discriminator(images, text).logits_B.mean()
        torch.testing.assert_close(after - before, torch.tensor(0.25), rtol=1e-4, atol=1e-5)
        before = after


def test_mismatched_logits_are_those_with_the_other_caption(discriminator):
    images, text = inputs()
    weights = discriminator.normalised_weights()
    other = text.sentence_BD.flip(0)
    found = discriminator.discriminate(images, text, weights, other)
    expected = discriminator.discriminate(images, text._replace(sentence_BD=other), weights).logits_B
    torch.testing.assert_close(found.mismatched_logits_B, expected)
    assert (found.logits_B != found.mismatched_logits_B).any()
    assert discriminator.discriminate(images, text, weights).mismatched_logits_B is None


def test_the_finest_mixed_map_depends_on_every_scale():
    mix = RandomMix((2, 3, 4), (5, 6, 7))
    maps = [torch.randn(1, channels, side, side, requires_grad=True) for channels, side in ((2, 8), (3, 4), (4, 2))]
    mixed = mix(maps)
    assert [tuple(each.shape[1:]) for each in mixed] == [(5, 8, 8), (6, 4, 4), (7, 2, 2)]
    gradients = torch.autograd.grad(mixed[0].sum(), maps)
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
    gradients = torch.autograd.grad(mix(maps)[2].sum(), maps, allow_unused=True)
    assert gradients[0] is None
    assert gradients[1] is None


def test_gradients_reach_the_images(discriminator):
    images, text = inputs()
    images.requires_grad_()
    discriminator(images, text).logits_B.mean().backward()
    assert images.grad is not None
    assert images.grad.abs().max() > 0
    assert all(weight.grad is None for weight in discriminator.frozen[0].parameters())


@pytest.mark.parametrize("kind", ["frozen-features", "combined"])
def test_it_is_not_built_without_the_frozen_network(kind):
    recipe = RECIPES["scenes-64"]
    config = replace(recipe, discriminator=replace(recipe.discriminator, kind=kind))
    with pytest.raises(ValueError, match=f"kind is {kind}, which needs the frozen encoder; none was given"):
        build_discriminator(config, 6)
