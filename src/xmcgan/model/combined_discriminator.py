"""Both discriminators: the paper's, which sees pixels, and a second one on frozen features.

With frozen ImageNet features a generator draws sharp objects early in training. But its images can match their captions
in these features alone, and not to the eye. So the contrastive losses use the paper's network, which learns places and
colours early and objects late. Frozen features tell objects early: the second network can have contrastive heads, too.
The adversarial loss is the mean over both networks, and so is each contrastive loss.
"""

import torch
from torch import Tensor, nn

from xmcgan.model.discriminator import Discriminator
from xmcgan.model.frozen_discriminator import FrozenFeatureDiscriminator
from xmcgan.types import DiscriminatorOutput, TextEmbedding


class CombinedDiscriminator(nn.Module):
    """(images_B3HW in [-1, 1], text) -> logits of both, (B, 2P), and the features for the contrastive losses.

    Args:
        contrastive: the paper's discriminator.
        frozen: the discriminator on frozen features, with contrastive heads or without (``feature_dim=None``). Its P
            logits weigh as much as the single one of the other.
    """

    def __init__(self, contrastive: Discriminator, frozen: FrozenFeatureDiscriminator):
        super().__init__()
        self.contrastive, self.frozen = contrastive, frozen

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The layers of both, without spectral normalisation."""
        return *self.contrastive.networks, *self.frozen.networks

    def normalised_weights(self) -> dict[str, Tensor]:
        """Both discriminators' weights over their spectral norms, by the discriminator's name and the weight's."""
        return {
            f"{name}.{key}": weight
            for name, discriminator in (("contrastive", self.contrastive), ("frozen", self.frozen))
            for key, weight in discriminator.normalised_weights().items()
        }

    def forward(self, images_B3HW: Tensor, text: TextEmbedding) -> DiscriminatorOutput:
        return self.discriminate(images_B3HW, text, self.normalised_weights())

    def discriminate(
        self,
        images_B3HW: Tensor,
        text: TextEmbedding,
        weights: dict[str, Tensor],
        mismatched_BD: Tensor | None = None,
    ) -> DiscriminatorOutput:
        """The output for images.

        Args:
            weights: from ``normalised_weights``; real and generated images of a step share one power iteration.
            mismatched_BD: sentences of other captions, for ``mismatched_logits_B``.
        """
        one = self.contrastive.discriminate(images_B3HW, text, weights_of("contrastive", weights), mismatched_BD)
        other = self.frozen.discriminate(images_B3HW, text, weights_of("frozen", weights), mismatched_BD)
        mismatched = None
        if one.mismatched_logits_B is not None and other.mismatched_logits_B is not None:
            mismatched = both_logits(one.mismatched_logits_B, other.mismatched_logits_B)
        logits_BP = both_logits(one.logits_B, other.logits_B)
        return DiscriminatorOutput(logits_BP, one.features + other.features, mismatched)


def weights_of(name: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """One discriminator's weights, by their own names."""
    return {key.removeprefix(f"{name}."): weight for key, weight in weights.items() if key.startswith(f"{name}.")}


def both_logits(single_B: Tensor, several_BP: Tensor) -> Tensor:
    """(B, 2P): the single logit of each image repeated P times, so that it weighs as much as the P others together."""
    return torch.cat([single_B[:, None].expand_as(several_BP), several_BP], 1)
