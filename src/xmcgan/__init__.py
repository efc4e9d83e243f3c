"""XMC-GAN: text-to-image generation with cross-modal contrastive losses (Zhang et al., CVPR 2021)."""

import os
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# OpenMP's threads wait by spinning, which beside one other busy process makes a training step take 3.6 times as long
# (docs/log.md). OpenMP reads this when torch loads it; a setting of the user's stays.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if TYPE_CHECKING:
    from xmcgan.config import Config
    from xmcgan.encoders.text import TextEncoder
    from xmcgan.inference.pipeline import Pipeline, attention_overlay
    from xmcgan.model.discriminator import Discriminator
    from xmcgan.model.generator import Generator
    from xmcgan.recipes import RECIPES

HOMES = {
    "RECIPES": "xmcgan.recipes",
    "Config": "xmcgan.config",
    "Discriminator": "xmcgan.model.discriminator",
    "Generator": "xmcgan.model.generator",
    "Pipeline": "xmcgan.inference.pipeline",
    "TextEncoder": "xmcgan.encoders.text",
    "attention_overlay": "xmcgan.inference.pipeline",
}

__all__ = ["RECIPES", "Config", "Discriminator", "Generator", "Pipeline", "TextEncoder", "attention_overlay"]


def __getattr__(name: str):
    """The public names, each imported when it is first asked for: torch takes seconds, and `--help` needs none."""
    if name not in HOMES:
        raise AttributeError(f"module 'xmcgan' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(HOMES[name]), name)
