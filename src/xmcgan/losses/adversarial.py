"""The hinge losses of discriminator and generator, and what a recipe can add to them."""

from torch import Tensor
from torch.nn import functional as F


def hinge_discriminator(real_logits_B: Tensor, fake_logits_B: Tensor) -> Tensor:
    """L_D = E relu(1 - D(x, s)) + E relu(1 + D(G(z, s), s))."""
    return F.relu(1 - real_logits_B).mean() + F.relu(1 + fake_logits_B).mean()


def matching_aware_hinge_discriminator(
    real_logits_B: Tensor, fake_logits_B: Tensor, mismatched_logits_B: Tensor, share: float
) -> Tensor:
    """L_D with real images of other captions among the negatives: matching-aware (Reed et al. 2016, arXiv:1605.05396).

    E relu(1 - D(x, s)) + (1 - share) E relu(1 + D(G(z, s), s)) + share E relu(1 + D(x, s')).
    """
    negatives = (1 - share) * F.relu(1 + fake_logits_B).mean() + share * F.relu(1 + mismatched_logits_B).mean()
    return F.relu(1 - real_logits_B).mean() + negatives


def hinge_generator(fake_logits_B: Tensor) -> Tensor:
    """L_G = -E D(G(z, s), s)."""
    return -fake_logits_B.mean()


def diversity_hinge(distances_B: Tensor, enough: float) -> Tensor:
    """E relu(1 - d / enough), d the distance between two images of a caption; like mode seeking (arXiv:1903.05628)."""
    return F.relu(1 - distances_B / enough).mean()


def pooled_distance(a_B3HW: Tensor, b_B3HW: Tensor) -> Tensor:
    """Mean absolute difference between two images, each averaged over blocks of 4 x 4 pixels: (B,)."""
    return (F.avg_pool2d(a_B3HW, 4) - F.avg_pool2d(b_B3HW, 4)).abs().mean((1, 2, 3))
