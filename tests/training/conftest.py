import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from xmcgan.config import AugmentationConfig, Config


@pytest.fixture
def output(trained, tmp_path) -> Path:
    """A copy of the finished run of 6 steps."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def untrained_frozen_network(monkeypatch):
    """Random weights, the same each time: the package with the real ones need not be installed."""
    from xmcgan.encoders.efficientnet import EfficientNetLite0

    def pretrained(_file=None):
        with torch.random.fork_rng():
            torch.manual_seed(5)
            return EfficientNetLite0().eval().requires_grad_(False)

    monkeypatch.setattr(EfficientNetLite0, "pretrained", pretrained)


@pytest.fixture
def plus(scenes, encoder_folder, untrained_frozen_network) -> Config:
    """The tiny configuration with the techniques of the plus recipes."""
    from tiny import tiny_config

    config = tiny_config(scenes, encoder_folder, discriminator_steps=1, ema_half_life=20, batch_norm_batches=2)
    return replace(
        config,
        generator=replace(config.generator, modulation_upsampling="bilinear"),
        discriminator=replace(config.discriminator, kind="frozen-features", channels=4),
        augmentation=AugmentationConfig(translation=0.125),
        losses=replace(config.losses, mismatched=0.5, diversity=1.0),
        training=replace(config.training, lr_decay_from=0.5),
    )
