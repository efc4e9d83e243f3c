"""The hinge loss against the official implementation."""

import pytest
import torch

from recorded_losses import DTYPES, leaf, same
from xmcgan.losses.adversarial import hinge_discriminator, hinge_generator


@pytest.mark.parametrize("dtype", DTYPES)
def test_hinge_is_the_recorded(dtype):
    real, fake = leaf("hinge/real", dtype), leaf("hinge/fake", dtype)
    loss = hinge_discriminator(real, fake)
    to_real, to_fake = torch.autograd.grad(loss, [real, fake])
    same(loss, "hinge/d_loss")
    same(hinge_generator(fake), "hinge/g_loss")
    same(to_real, "hinge/d_grad_real")
    same(to_fake, "hinge/d_grad_fake")
