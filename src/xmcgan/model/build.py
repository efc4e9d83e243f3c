"""The networks of a configuration, with fresh weights."""

from xmcgan.config import Config
from xmcgan.model.discriminator import Discriminator
from xmcgan.model.frozen_discriminator import FrozenFeatureDiscriminator, MapEncoder
from xmcgan.model.generator import Generator

AnyDiscriminator = Discriminator | FrozenFeatureDiscriminator


def build_generator(config: Config, text_dim: int) -> Generator:
    """The generator of a configuration, with fresh weights."""
    return Generator(
        image_size=config.image_size,
        width=config.generator.width,
        text_dim=text_dim,
        noise_dim=config.generator.noise_dim,
        stem=config.generator.stem,
        modulation=config.generator.modulation,
        modulation_upsampling=config.generator.modulation_upsampling,
        rho_0=config.generator.rho_0,
    )


def build_discriminator(config: Config, text_dim: int, encoder: MapEncoder | None = None) -> AnyDiscriminator:
    """The discriminator of a configuration, with fresh weights.

    Args:
        encoder: the frozen network that ``discriminator.kind: frozen-features`` needs (``EfficientNetLite0``).
    """
    if config.discriminator.kind == "frozen-features":
        if encoder is None:
            raise ValueError("discriminator.kind is frozen-features, which needs the frozen encoder; none was given")
        return FrozenFeatureDiscriminator(
            encoder,
            text_dim=text_dim,
            channels=config.discriminator.channels,
            upsampling=config.discriminator.upsampling,
        )
    return Discriminator(
        image_size=config.image_size,
        width=config.discriminator.width,
        text_dim=text_dim,
        head_layers=config.discriminator.head_layers,
    )
