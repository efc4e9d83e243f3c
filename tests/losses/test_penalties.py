"""Gradient penalties: closed forms, finite differences, second derivatives, and what leaves them unchanged."""

import pytest
import torch
from torch import Tensor

from xmcgan.losses.penalties import gradient_penalty, matching_aware_penalty


def bilinear(weight_PD: Tensor):
    """D(x, s) = x' W s: its gradients are W s and W' x."""
    return lambda x, s: torch.einsum("bp,pd,bd->b", x.flatten(1), weight_PD, s)


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    weight = torch.randn(12, 5, dtype=torch.float64, requires_grad=True)
    return torch.randn(3, 3, 2, 2, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64), weight


def test_of_a_bilinear_logit_they_are_known(inputs):
    images, sentences, weight = inputs
    to_images, to_sentences = sentences @ weight.T, images.flatten(1) @ weight
    torch.testing.assert_close(gradient_penalty(bilinear(weight), images, sentences), to_images.square().sum(1) / 2)
    torch.testing.assert_close(
        matching_aware_penalty(bilinear(weight), images, sentences),
        (to_images.norm(dim=1) + to_sentences.norm(dim=1)) ** 6,
    )


def test_the_gradient_with_respect_to_weights_is_the_finite_difference(inputs):
    images, sentences, weight = inputs

    def of_weight(weight: Tensor) -> Tensor:
        def logit(x: Tensor, s: Tensor) -> Tensor:
            return torch.tanh(bilinear(weight)(x, s)) * x.flatten(1).square().sum(1)

        return gradient_penalty(logit, images, sentences) + 1e-3 * matching_aware_penalty(logit, images, sentences)

    small = (0.1 * weight).detach().requires_grad_()
    assert torch.autograd.gradcheck(of_weight, (small,))


def test_logits_at_places_are_averaged(inputs):
    images, sentences, weight = inputs
    plain = gradient_penalty(bilinear(weight), images, sentences)

    def at_places(x, s):
        logits = bilinear(weight)(x, s)
        return torch.stack([0.5 * logits, 1.5 * logits, logits + 3], 1)

    torch.testing.assert_close(gradient_penalty(at_places, images, sentences), plain)


def test_a_constant_added_to_the_logit_changes_nothing_and_a_factor_does(inputs):
    images, sentences, weight = inputs
    logit = bilinear(weight)
    for penalty, power in ((gradient_penalty, 2), (matching_aware_penalty, 6)):
        plain = penalty(logit, images, sentences)
        torch.testing.assert_close(penalty(lambda x, s: logit(x, s) + 7, images, sentences), plain)
        torch.testing.assert_close(penalty(lambda x, s: 2 * logit(x, s), images, sentences), 2**power * plain)


def test_where_the_logit_is_flat_gradients_are_zero_and_not_nan(inputs):
    images, sentences, weight = inputs

    def flat(x: Tensor, s: Tensor) -> Tensor:
        return torch.relu(bilinear(weight)(x, s) - 1e6)

    for penalty in (gradient_penalty, matching_aware_penalty):
        (gradient,) = torch.autograd.grad(penalty(flat, images, sentences).sum(), weight)
        assert not gradient.any()


def test_without_gradients_the_values_are_the_same(inputs):
    """The first pass of gradient caching."""
    images, sentences, weight = inputs
    with torch.no_grad():
        values = gradient_penalty(bilinear(weight), images, sentences)
    assert not values.requires_grad
    torch.testing.assert_close(values, gradient_penalty(bilinear(weight), images, sentences).detach())
