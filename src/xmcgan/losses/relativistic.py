"""The relativistic adversarial loss: each generated image is compared with the real one of the same caption.

The relativistic pairing GAN (Jolicoeur-Martineau 2018, arXiv:1807.00734) as R3GAN uses it (Huang et al. 2024,
arXiv:2501.05441, equation 2), with f(t) = -log(1 + exp(-t)): only differences of logits matter. R3GAN trains it with R1
and R2 (``penalties.r1``, ``penalties.r2``); without them it need not converge.
"""

from torch import Tensor
from torch.nn import functional as F


def relativistic_discriminator(
    real_logits_B: Tensor, fake_logits_B: Tensor, mismatched_logits_B: Tensor | None = None, share: float = 0.0
) -> Tensor:
    """L_D = E softplus(D(G(z, s), s) - D(x, s)): in each pair, the real image should have the higher logit.

    Args:
        mismatched_logits_B: logits of the real images with other captions, which are then negatives too.
        share: their weight among the negatives; generated images have the rest.
    """
    loss = F.softplus(fake_logits_B - real_logits_B).mean()
    if mismatched_logits_B is None:
        return loss
    return (1 - share) * loss + share * F.softplus(mismatched_logits_B - real_logits_B).mean()


def relativistic_generator(real_logits_B: Tensor, fake_logits_B: Tensor) -> Tensor:
    """L_G = E softplus(D(x, s) - D(G(z, s), s))."""
    return F.softplus(real_logits_B - fake_logits_B).mean()
