"""Settings that have no effect, because of another setting."""

from collections.abc import Iterable

from xmcgan.config import Config
from xmcgan.runtime.field_types import check


def unused_settings(config: Config) -> dict[str, str]:
    """Dotted names of the settings that this configuration does not use, each with the reason."""
    kind, losses, augmentation = config.discriminator.kind, config.losses, config.augmentation
    rules: list[tuple[bool, str, str]] = [
        (kind == "contrastive", "discriminator.channels discriminator.upsampling discriminator.encoder_weights",
         "discriminator.kind is contrastive, which has no frozen network"),
        (kind == "frozen-features", "discriminator.width discriminator.head_layers",
         "discriminator.kind is frozen-features, which leaves out the paper's network"),
        (kind != "combined", "discriminator.frozen_contrastive",
         f"discriminator.kind is {kind}, which has one network"),
        (config.generator.modulation == "plain", "generator.modulation_upsampling generator.rho_0",
         "generator.modulation is plain, which has no attention"),
        (losses.diversity == 0, "losses.diversity_distance", "losses.diversity is 0"),
        (augmentation.adaptive_target is None, "augmentation.adaptive_images",
         "augmentation.adaptive_target is not set"),
        (config.training.ema_half_life is not None, "training.ema_decay training.ema_warmup",
         "training.ema_half_life replaces both"),
    ]  # fmt: skip
    return {name: reason for applies, names, reason in rules if applies for name in names.split()}


def refuse_unused(named: Iterable[str], config: Config) -> None:
    """Refuses settings that a user has named although the configuration does not use them.

    Raises:
        ValueError: naming the first one, and why it has no effect.
    """
    unused = unused_settings(config)
    for name in named:
        check(name not in unused, f"--{name.replace('_', '-')} would have no effect: {unused.get(name)}")
