"""The hinge loss against the official implementation; mismatched captions and diversity by hand."""

import pytest
import torch

from recorded_losses import DTYPES, leaf, same
from xmcgan.losses.adversarial import (
    diversity_hinge,
    hinge_discriminator,
    hinge_generator,
    matching_aware_hinge_discriminator,
    pooled_distance,
)


@pytest.mark.parametrize("dtype", DTYPES)
def test_hinge_matches_the_recording(dtype):
    real, fake = leaf("hinge/real", dtype), leaf("hinge/fake", dtype)
    loss = hinge_discriminator(real, fake)
    to_real, to_fake = torch.autograd.grad(loss, [real, fake])
    same(loss, "hinge/d_loss")
    same(hinge_generator(fake), "hinge/g_loss")
    same(to_real, "hinge/d_grad_real")
    same(to_fake, "hinge/d_grad_fake")


def test_matching_aware_hinge():
    real, fake, wrong = torch.tensor([0.5, 2.0]), torch.tensor([-2.0, 0.0]), torch.tensor([1.0, -0.5])
    found = matching_aware_hinge_discriminator(real, fake, wrong, share=0.25)
    torch.testing.assert_close(found, torch.tensor(0.25 + 0.75 * 0.5 + 0.25 * 1.25))
    torch.testing.assert_close(
        matching_aware_hinge_discriminator(real, fake, wrong, 0.0), hinge_discriminator(real, fake)
    )


def test_diversity_stops_pushing_where_images_differ_enough():
    distances = torch.tensor([0.0, 0.04, 0.08, 0.5], requires_grad=True)
    loss = diversity_hinge(distances, 0.08)
    torch.testing.assert_close(loss, torch.tensor(1.5 / 4))
    (gradient,) = torch.autograd.grad(loss, distances)
    torch.testing.assert_close(gradient, torch.tensor([-1 / 0.32, -1 / 0.32, 0.0, 0.0]))
    a, b = torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 8)
    b[1, :, :4, :4] = 1.0  # a quarter of the blocks
    torch.testing.assert_close(pooled_distance(a, b), torch.tensor([0.0, 0.25]))
