"""Gradient penalties on a discriminator's logit: R1, R2 and the matching-aware one. Each is a value per example.

R1 and R2: Mescheder et al. 2018 (arXiv:1801.04406), equations 9 and 10. Matching-aware: Tao et al. 2022
(arXiv:2008.05865, DF-GAN), equation 1.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Logit = Callable[[Tensor, Tensor], Tensor]
"""(images_B3HW, sentence_BD) -> logits_B, or (B, P) for P positions, whose mean is penalised."""

MATCHING_AWARE_POWER = 6


def gradient_penalty(logit: Logit, images_B3HW: Tensor, sentence_BD: Tensor) -> Tensor:
    """|dD/dx|^2 / 2 of every example: R1 on real images, R2 on generated ones. Weighted by gamma: gamma/2 |.|^2.

    Returns:
        (B,), differentiable with respect to the discriminator's weights if gradients are enabled.
    """
    (to_images,) = logit_gradients(logit, images_B3HW, sentence_BD, of_sentence=False)
    return to_images.flatten(1).square().sum(1) / 2


def matching_aware_penalty(logit: Logit, images_B3HW: Tensor, sentence_BD: Tensor) -> Tensor:
    """(|dD/dx| + |dD/ds|)^6 of every example, for real images with their own captions.

    It makes the discriminator smooth at the data it should prefer: real images with matching captions.

    Returns:
        (B,), as from ``gradient_penalty``.
    """
    to_images, to_sentence = logit_gradients(logit, images_B3HW, sentence_BD, of_sentence=True)
    # vector_norm, and not the root of a sum: its gradient at a zero vector is zero.
    lengths = [torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in (to_images, to_sentence)]
    return (lengths[0] + lengths[1]) ** MATCHING_AWARE_POWER


def logit_gradients(logit: Logit, images_B3HW: Tensor, sentence_BD: Tensor, *, of_sentence: bool) -> tuple[Tensor, ...]:
    """The gradients of each example's logit with respect to its image, and to its sentence.

    With gradients disabled (the first pass of gradient caching) the values are the same, without a graph.
    """
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        images_B3HW, sentence_BD = images_B3HW.detach().requires_grad_(), sentence_BD.detach()
        inputs = (images_B3HW, sentence_BD.requires_grad_()) if of_sentence else (images_B3HW,)
        logits = logit(images_B3HW, sentence_BD)
        # Examples do not influence each other's logits, so the gradient of the sum is each one's own.
        total = logits.flatten(1).mean(1).sum() if logits.dim() > 1 else logits.sum()
        return torch.autograd.grad(total, inputs, create_graph=create_graph)
