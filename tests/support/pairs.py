"""Real and generated images, discriminated with the same weights as a training step does."""

from torch import Tensor

from xmcgan.model.build import AnyDiscriminator
from xmcgan.types import DiscriminatorOutput, TextEmbedding


def discriminate_pair(
    discriminator: AnyDiscriminator, real_B3HW: Tensor, fake_B3HW: Tensor, text: TextEmbedding
) -> tuple[DiscriminatorOutput, DiscriminatorOutput]:
    """The outputs for real and generated images of the same captions, with one power iteration."""
    weights = discriminator.normalised_weights()
    return discriminator.discriminate(real_B3HW, text, weights), discriminator.discriminate(fake_B3HW, text, weights)
