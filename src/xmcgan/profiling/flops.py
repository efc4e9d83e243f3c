"""Counts floating-point operations of a call, and of a training step without running it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.optim import Adam
from torch.utils.flop_counter import FlopCounterMode

from xmcgan.config import Config
from xmcgan.encoders.image import untrained_image_encoder, untrained_map_encoder
from xmcgan.losses.contrastive import ContrastiveLoss
from xmcgan.losses.objective import Objective
from xmcgan.model.build import build_discriminator, build_generator
from xmcgan.model.discriminator import Discriminator
from xmcgan.ops.memory import to_memory_format
from xmcgan.ops.word_scores import RegionContextCosine
from xmcgan.runtime.precision import float32_or_wider
from xmcgan.training.ema import EMA
from xmcgan.training.state import TrainingState
from xmcgan.training.step import train_step
from xmcgan.types import REGION_GRID, Batch, DiscriminatorOutput, TextEmbedding


def count_gflop(call: Callable[[], object]) -> float:
    """Operations of one call, in units of 10^9. torch cannot count compiled code, so count before compiling."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 1e9


class NoUpdate(Adam):
    """An optimizer that changes nothing: torch does not count an update's operations anyway."""

    def step(self, closure: Any = None) -> None:  # ty: ignore[incompatible-method-override]
        """Does nothing."""


@dataclass(frozen=True)
class CountedObjective(Objective):
    """The objective on the meta device, where masks have no values: the number of real words is given instead."""

    words: int = 0

    def text_losses(
        self, prefix: str, output: DiscriminatorOutput, text: TextEmbedding
    ) -> dict[str, tuple[float, ContrastiveLoss]]:
        others = replace(self, weights=replace(self.weights, word=0.0))
        contrasts = Objective.text_losses(others, prefix, output, text)
        if self.weights.word:
            words_ND = torch.randn(self.words, text.words_BTD.shape[2])
            losses = [
                RegionContextCosine.apply(words_ND, float32_or_wider(each.regions_BRD), self.rho_1, self.words).sum()
                for each in output.features
            ]
            loss = torch.stack(losses).mean()
            contrasts[f"{prefix}_word"] = (self.weights.word, ContrastiveLoss(loss, loss.detach(), loss.detach()))
        return contrasts


def count_step(config: Config, text_dim: int, words: int) -> float:
    """GFLOP of a training step as configured, counted on the meta device, whose tensors have no memory.

    ``without_recomputation`` removes the settings that repeat operations. Compilation, device and precision do not
    affect the count.

    Args:
        words: real words in a batch, over all captions; the region-word loss uses only these.
    """
    settings, losses = config.training, config.losses
    meta = torch.device("meta")
    with meta, FlopCounterMode(display=False) as counter:
        # Not with initial_state, which moves networks to a device.
        generator = build_generator(config, text_dim)
        discriminator = build_discriminator(config, text_dim, untrained_map_encoder(config.discriminator))
        generator.checkpoint_activations = settings.checkpoint_activations
        if isinstance(discriminator, Discriminator):
            discriminator.network.checkpoint_activations = settings.checkpoint_activations
        average: EMA[Any] = EMA(nn.Module())
        average.network = build_generator(config, text_dim).requires_grad_(False)
        encoder = None
        if losses.image_encoder > 0:
            encoder = untrained_image_encoder(losses.encoder)
        training = TrainingState(
            generator=generator,
            discriminator=discriminator,
            ema=average,
            generator_optimizer=NoUpdate(generator.parameters()),
            discriminator_optimizer=NoUpdate(discriminator.parameters()),
            objective=CountedObjective(**vars(Objective.from_config(losses)), words=words),
            image_encoder=encoder and encoder.eval().requires_grad_(False),
            micro_batch=settings.micro_batch,
            augmentation=config.augmentation,
        )
        train_step(training, [random_batch(config, text_dim, meta) for _ in range(settings.discriminator_steps)])
    return counter.get_total_flops() / 1e9


def without_recomputation(config: Config) -> Config:
    """The configuration without micro-batches and activation checkpointing, which repeat operations."""
    return replace(config, training=replace(config.training, micro_batch=None, checkpoint_activations=False))


def random_text(rows: int, length: int, text_dim: int, device: torch.device) -> TextEmbedding:
    """Standard-normal word embeddings; caption lengths are evenly spaced from ``length`` / 3 to ``length``."""
    # On the device by name: transformers can leave torch.linspace deaf to a device that is set as the default.
    lengths = torch.linspace(max(1, length // 3), length, rows, device=device).round()
    mask_BT = torch.arange(length, device=device) < lengths[:, None]
    words_BTD = torch.randn(rows, length, text_dim, device=device) * mask_BT[..., None]
    return TextEmbedding(words_BTD, mask_BT, words_BTD.sum(1) / lengths[:, None])


def random_batch(config: Config, text_dim: int, device: torch.device) -> Batch:
    """A training batch of random numbers, without data and text encoder."""
    rows, size = config.training.batch_size, config.image_size
    images = torch.rand(rows, 3, size, size, device=device) * 2 - 1
    images = to_memory_format(images, channels_last=config.training.channels_last)
    text = random_text(rows, config.text.max_length, text_dim, device)
    noise_BZ = torch.randn(rows, config.generator.noise_dim, device=device)
    if config.losses.trace == 0:
        return Batch(images, text, noise_BZ)
    traces_BTR = torch.rand(rows, config.text.max_length, REGION_GRID**2, device=device) * text.mask_BT[..., None]
    return Batch(images, text, noise_BZ, traces_BTR / traces_BTR.sum(-1, keepdim=True).clamp_min(1e-6))
