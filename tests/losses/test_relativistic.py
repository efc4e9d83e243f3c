"""The relativistic pairing loss and the L2 perceptual loss, by hand; and what they do not depend on."""

import math
from dataclasses import replace

import pytest
import torch

from xmcgan.config import LossConfig
from xmcgan.losses.objective import LossWeights, Objective
from xmcgan.losses.perceptual import perceptual_l2
from xmcgan.losses.relativistic import relativistic_discriminator, relativistic_generator
from xmcgan.types import ContrastiveFeatures, DiscriminatorOutput, TextEmbedding

REAL, FAKE, WRONG = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 1.0]), torch.tensor([2.0, 0.0])


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_each_generated_image_is_compared_with_the_real_one_of_its_caption():
    found = relativistic_discriminator(REAL, FAKE).item()
    assert found == pytest.approx((softplus(-1.5) + softplus(2.0)) / 2)
    assert relativistic_generator(REAL, FAKE).item() == pytest.approx((softplus(1.5) + softplus(-2.0)) / 2)
    with_wrong = relativistic_discriminator(REAL, FAKE, WRONG, 0.25).item()
    assert with_wrong == pytest.approx(0.75 * found + 0.25 * (softplus(0.0) + softplus(1.0)) / 2)


def test_only_differences_of_logits_matter():
    torch.testing.assert_close(relativistic_discriminator(REAL + 5, FAKE + 5), relativistic_discriminator(REAL, FAKE))
    torch.testing.assert_close(relativistic_generator(REAL + 5, FAKE + 5), relativistic_generator(REAL, FAKE))


def test_the_adversarial_losses_have_opposite_gradients():
    real, fake = REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    of_d = torch.autograd.grad(relativistic_discriminator(real, fake), (real, fake))
    assert (of_d[0] < 0).all()
    assert (of_d[1] > 0).all()
    assert (torch.autograd.grad(relativistic_generator(real, fake), fake)[0] < 0).all()


def test_the_perceptual_loss_is_the_mean_squared_distance():
    a, b = torch.tensor([[0.0, 1.0], [2.0, 2.0]]), torch.tensor([[1.0, 1.0], [2.0, 0.0]])
    assert perceptual_l2(a, b).item() == pytest.approx((1 + 4) / 4)
    assert perceptual_l2(a, a) == 0
    torch.testing.assert_close(perceptual_l2(a + 3, b + 3), perceptual_l2(a, b))


def output(logits: torch.Tensor) -> DiscriminatorOutput:
    torch.manual_seed(1)
    features = ContrastiveFeatures(torch.randn(2, 4), torch.randn(2, 4), torch.randn(2, 9, 5))
    return DiscriminatorOutput(logits, (features,))


def test_the_objective_uses_the_losses_that_the_configuration_names():
    text = TextEmbedding(torch.randn(2, 3, 5), torch.ones(2, 3, dtype=torch.bool), torch.randn(2, 5))
    features = torch.tensor([[0.0, 1.0], [2.0, 2.0]]), torch.tensor([[1.0, 1.0], [2.0, 0.0]])
    config = LossConfig(adversarial="relativistic", image_encoder_loss="l2", image_encoder=0.5, encoder="resnet50")
    objective = Objective.from_config(config)
    objective = replace(objective, weights=replace(LossWeights(0, 0, 0), image_encoder=0.5))
    real, fake = output(REAL), output(FAKE)
    assert objective.discriminator(real, fake, text).losses == {
        "d_relativistic": relativistic_discriminator(REAL, FAKE)
    }
    terms = objective.generator(real, fake, text, features)
    assert terms.losses.keys() == {"g_relativistic", "image_encoder_l2"}
    expected = relativistic_generator(REAL, FAKE) + 0.5 * perceptual_l2(*features)
    torch.testing.assert_close(terms.total, expected)
