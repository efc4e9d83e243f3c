"""The hinge losses of discriminator and generator."""

from torch import Tensor
from torch.nn import functional as F


def hinge_discriminator(real_logits_B: Tensor, fake_logits_B: Tensor) -> Tensor:
    """L_D = E relu(1 - D(x, s)) + E relu(1 + D(G(z, s), s))."""
    return F.relu(1 - real_logits_B).mean() + F.relu(1 + fake_logits_B).mean()


def hinge_generator(fake_logits_B: Tensor) -> Tensor:
    """L_G = -E D(G(z, s), s)."""
    return -fake_logits_B.mean()
