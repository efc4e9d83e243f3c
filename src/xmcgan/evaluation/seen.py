"""Which networks a system was trained with: a network used in training is no independent measure of the system."""

import re
from collections.abc import Iterable

from xmcgan.config import Config

MARKS = ("trained_with", "seen_in_training", "batch_norm")
"""Settings of a result that describe the system rather than the measurement. They mark a number but do not keep it
out of a column."""

NETWORKS_WITHIN = ("image_network",)
"""Settings of an evaluation network's protocol that name another network inside it."""

FAMILIES = {
    "inception-v3": r"inception",
    "clip": r"clip",
    "dinov2": r"dino",
    "resnet50": r"resnet_?-?50|r50vd|^detr$|^rt-detr$",
    "vgg19": r"vgg-?19",
    "efficientnet-lite0": r"efficientnet-lite0",
    "mobilenet-v3": r"mobilenet_v3",
    "minilm": r"minilm",
    "bert": r"\bbert",
}
"""Networks with the same pretrained weights at their core, by a pattern of their names: a detector with a ResNet-50 is
related to a loss that uses one."""


def family_of(name: str) -> str:
    """The family of a network; its own name if it belongs to none."""
    return next((family for family, pattern in FAMILIES.items() if re.search(pattern, name.lower())), name)


def trained_with(config: Config) -> str:
    """The families of the pretrained networks that a run was trained with, with commas between."""
    used = [config.text.encoder]
    if config.losses.image_encoder > 0:
        used.append(config.losses.encoder)
    if config.discriminator.uses_frozen_features:
        used.append("efficientnet-lite0")
    return join_families(used)


def join_families(names: Iterable[str]) -> str:
    """Families of networks by name, sorted, with commas between."""
    return ", ".join(sorted({family_of(name.strip()) for name in names if name.strip()}))


def is_seen(network: str, trained: str, parts: Iterable[str] = ()) -> bool:
    """Whether a network, or one that it is built from, belongs to a family that a system was trained with."""
    return any(family_of(name) in trained.split(", ") for name in (network, *parts))
