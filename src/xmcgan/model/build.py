"""The networks of a configuration, with fresh weights."""

from functools import partial

from xmcgan.config import Config
from xmcgan.model.combined_discriminator import CombinedDiscriminator
from xmcgan.model.discriminator import Discriminator
from xmcgan.model.frozen_discriminator import FrozenFeatureDiscriminator, MapEncoder
from xmcgan.model.generator import Generator

AnyDiscriminator = Discriminator | FrozenFeatureDiscriminator | CombinedDiscriminator


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
        encoder: the frozen network that every ``discriminator.kind`` but ``contrastive`` needs (``EfficientNetLite0``).
    """
    settings = config.discriminator
    if settings.kind == "contrastive":
        return contrastive_discriminator(config, text_dim)
    if encoder is None:
        raise ValueError(f"discriminator.kind is {settings.kind}, which needs the frozen encoder; none was given")
    make_frozen = partial(
        FrozenFeatureDiscriminator,
        encoder,
        text_dim=text_dim,
        channels=settings.channels,
        upsampling=settings.upsampling,
    )
    if settings.kind == "frozen-features":
        return make_frozen()
    contrastive = contrastive_discriminator(config, text_dim)
    if settings.frozen_contrastive:
        return CombinedDiscriminator(contrastive, make_frozen())
    return CombinedDiscriminator(contrastive, make_frozen(feature_dim=None))


def contrastive_discriminator(config: Config, text_dim: int) -> Discriminator:
    """The paper's discriminator."""
    return Discriminator(
        image_size=config.image_size,
        width=config.discriminator.width,
        text_dim=text_dim,
        head_layers=config.discriminator.head_layers,
    )
