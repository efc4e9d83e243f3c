"""The L2 perceptual loss: what the paper compares its contrastive image-encoder loss with (Table 6)."""

from torch import Tensor


def perceptual_l2(real_BF: Tensor, fake_BF: Tensor) -> Tensor:
    """E |f(x) - f(G(z, s))|^2 / F, f the frozen encoder's features (Johnson et al. 2016, arXiv:1603.08155, equation 2).

    Each generated image is compared with the real image of its caption alone; there are no negatives.
    """
    return (fake_BF - real_BF).square().mean()
