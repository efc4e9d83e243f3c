"""The state of a training: networks, average, optimizers, objective."""

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch._functorch.config
from torch import Tensor, nn
from torch.optim import Adam

from xmcgan.config import CONTRASTIVE_LOSSES, AugmentationConfig, Config, PenaltyConfig, TrainingConfig
from xmcgan.encoders.efficientnet import EfficientNetLite0
from xmcgan.encoders.image import frozen_image_encoder
from xmcgan.inference.model_files import checkpoints
from xmcgan.losses.objective import Objective
from xmcgan.model.build import AnyDiscriminator, build_discriminator, build_generator
from xmcgan.model.discriminator import Discriminator
from xmcgan.model.generator import Generator
from xmcgan.ops.batch_norm import BATCH_NORM_MOMENTUM, BatchNorm2d
from xmcgan.runtime.device import resolve_precision
from xmcgan.runtime.distributed import gather, world_size
from xmcgan.runtime.precision import layers_in
from xmcgan.training.adaptive import AdaptiveStrength
from xmcgan.training.checkpoint import keep_newest, load_checkpoint, load_strength, save_checkpoint
from xmcgan.training.ema import EMA


@dataclass
class TrainingState:
    """The parts of a run that change with every step, and the objective and settings of its training."""

    generator: Generator
    discriminator: AnyDiscriminator
    ema: EMA[Generator]
    generator_optimizer: Adam
    discriminator_optimizer: Adam
    objective: Objective
    image_encoder: nn.Module | None = None
    precision: torch.dtype = torch.float32
    micro_batch: int | None = None  # rows that go through the networks at a time; None takes all
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    adaptive: AdaptiveStrength | None = None
    penalties: PenaltyConfig = field(default_factory=PenaltyConfig)

    @property
    def strength(self) -> float:
        """The factor on every augmentation's probability: 1 unless it adapts."""
        return 1.0 if self.adaptive is None else self.adaptive.strength

    def layers_in_precision(self) -> AbstractContextManager[object]:
        """The context in which the networks run: parameters stay float32, layers compute in ``precision``."""
        return layers_in(self.precision, next(self.generator.parameters()).device)


class TrainingDiverged(RuntimeError):
    """A loss or a weight is no longer a number; the newest checkpoint was saved before that."""


def check_batch_size(config: Config, ranks: int) -> None:
    """Refuses a batch size that ranks cannot share equally, or a rank's part that micro-batches cannot.

    Raises:
        ValueError: naming the field, and values that would be right.
    """
    batch_size, micro_batch = config.training.batch_size, config.training.micro_batch
    if batch_size % ranks:
        raise ValueError(
            f"training.batch_size is {batch_size}, of all ranks together, which {ranks} ranks cannot share equally; it "
            f"should be a multiple of {ranks}"
        )
    share = batch_size // ranks
    if micro_batch is not None and share % micro_batch:
        whose = f"of training.batch_size {batch_size}" if ranks == 1 else f"that each of {ranks} ranks has"
        raise ValueError(
            f"training.micro_batch is {micro_batch}, which does not divide the {share} examples {whose}; it should"
        )
    rows = micro_batch or share
    if config.losses.mismatched and rows % 2:
        raise ValueError(
            f"losses.mismatched exchanges the captions of neighbours, but {rows} examples go through the networks at a "
            "time; training.batch_size, over the ranks, and training.micro_batch should be even"
        )
    if config.losses.diversity and rows % 4:
        raise ValueError(
            f"losses.diversity generates every fourth example twice, but {rows} examples go through the networks at a "
            "time; training.batch_size, over the ranks, and training.micro_batch should be multiples of 4"
        )
    alone = config.losses.negatives == "local" and batch_size == ranks > 1
    if alone and any(getattr(config.losses, name) for name in CONTRASTIVE_LOSSES):
        raise ValueError(
            f"training.batch_size is {batch_size}, one example for each of {ranks} ranks, and losses.negatives local: "
            f"a contrastive loss has nothing to tell it from; it should be at least {2 * ranks}, or negatives global"
        )


def initial_state(config: Config, text_dim: int, device: torch.device) -> TrainingState:
    """The parts of a run before its first step, a function of the configuration alone."""
    settings, losses, target = config.training, config.losses, config.augmentation.adaptive_target
    torch.manual_seed(settings.seed)
    layout = torch.channels_last if settings.channels_last else torch.contiguous_format
    generator = build_generator(config, text_dim).to(device).to(memory_format=layout)
    frozen = None
    if config.discriminator.uses_frozen_features:
        frozen = EfficientNetLite0.pretrained(config.discriminator.encoder_weights)
    discriminator = build_discriminator(config, text_dim, frozen).to(device).to(memory_format=layout)
    for network in (generator, *discriminator.networks):
        network.channels_last = settings.channels_last  # ty: ignore[invalid-assignment]
    if settings.micro_batch is not None:
        # All micro-batches together move the running statistics as far as the batch would in one piece.
        parts = settings.batch_size // world_size() // settings.micro_batch
        for module in generator.modules():
            if isinstance(module, BatchNorm2d):
                module.momentum = 1 - (1 - BATCH_NORM_MOMENTUM) ** (1 / parts)
    ema = EMA(
        generator,
        decay=settings.ema_decay,
        warmup=settings.ema_warmup,
        half_life=None if settings.ema_half_life is None else settings.ema_half_life / settings.batch_size,
    )
    generator.checkpoint_activations = settings.checkpoint_activations
    if isinstance(discriminator, Discriminator):
        discriminator.network.checkpoint_activations = settings.checkpoint_activations
    if settings.compile:
        # The last discriminator step and the generator's backpropagate through one graph, so its buffers must be kept.
        torch._functorch.config.donated_buffer = False  # ty: ignore[invalid-assignment]
        for network in (generator, *discriminator.networks):
            network.compile()
    betas, fused = (settings.beta1, settings.beta2), settings.fused or None  # None: torch chooses another one
    encoder = None
    if losses.image_encoder > 0:
        weights = Path(losses.encoder_weights) if losses.encoder_weights else None
        encoder = frozen_image_encoder(losses.encoder, weights).to(device)
    return TrainingState(
        generator=generator,
        discriminator=discriminator,
        ema=ema,
        generator_optimizer=Adam(generator.parameters(), settings.generator_lr, betas, fused=fused),
        discriminator_optimizer=Adam(discriminator.parameters(), settings.discriminator_lr, betas, fused=fused),
        objective=Objective.from_config(losses, gather=gather),
        image_encoder=encoder,
        precision=resolve_precision(settings.precision, device),
        micro_batch=settings.micro_batch,
        augmentation=config.augmentation,
        adaptive=None
        if target is None
        else AdaptiveStrength(target=target, images=config.augmentation.adaptive_images),
        penalties=config.penalties,
    )


def set_learning_rates(state: TrainingState, settings: TrainingConfig, step: int) -> None:
    """The learning rates of the step after ``step``: constant, then along a cosine to 0 (``lr_decay_from``)."""
    if settings.lr_decay_from == 1:
        return
    decayed = max(0.0, step / settings.steps - settings.lr_decay_from) / (1 - settings.lr_decay_from)
    factor = (1 + math.cos(math.pi * decayed)) / 2
    for optimizer, lr in (
        (state.generator_optimizer, settings.generator_lr),
        (state.discriminator_optimizer, settings.discriminator_lr),
    ):
        for group in optimizer.param_groups:
            group["lr"] = lr * factor


def check_finite(report: dict[str, Tensor], step: int) -> dict[str, float]:
    """The losses of a step as numbers.

    Raises:
        TrainingDiverged: if one is not finite.
    """
    losses = dict(zip(report, torch.stack([value.float() for value in report.values()]).tolist(), strict=True))
    broken = [name for name, value in losses.items() if not math.isfinite(value)]
    terms = [name for name in broken if name not in ("d_loss", "g_loss")] or broken
    if terms:
        values = ", ".join(f"{name} is {losses[name]}" for name in terms)
        raise TrainingDiverged(
            f"step {step}: {values}. The newest checkpoint is from before; the usual remedies are a lower "
            "training.discriminator_lr or generator_lr, and training.precision float32"
        )
    return losses


def save(
    state: TrainingState, output: Path, step: int, config: Config, text_dim: int, log: dict[str, Any] | None = None
) -> None:
    """Writes a checkpoint, unless a weight is not finite: then the last good one stays the newest.

    Args:
        log: what the log has not written yet (``Log.unwritten``).
    """
    for network in (state.generator, state.discriminator):
        for name, weight in network.named_parameters():
            if not weight.isfinite().all():
                raise TrainingDiverged(f"step {step}: {type(network).__name__}'s weight {name} is not finite")
    save_checkpoint(
        output / "checkpoints",
        step,
        config,
        text_dim,
        generator=state.generator,
        discriminator=state.discriminator,
        ema=state.ema,
        generator_optimizer=state.generator_optimizer,
        discriminator_optimizer=state.discriminator_optimizer,
        log=log,
        strength=None if state.adaptive is None else state.adaptive.state(),
    )
    keep_newest(output / "checkpoints", config.training.keep_checkpoints)


def load_state(state: TrainingState, checkpoint: Path) -> int:
    """Loads a checkpoint into the state; returns its step.

    Raises:
        ValueError: if a file of it is missing or damaged, naming the checkpoint before it, if there is one.
    """
    try:
        if state.adaptive is not None:
            state.adaptive.load(load_strength(checkpoint))
        return load_checkpoint(
            checkpoint,
            generator=state.generator,
            discriminator=state.discriminator,
            ema=state.ema,
            generator_optimizer=state.generator_optimizer,
            discriminator_optimizer=state.discriminator_optimizer,
        )
    except (ValueError, FileNotFoundError) as error:
        older = [folder for folder in checkpoints(checkpoint.parent) if folder.name < checkpoint.name]
        advice = f"to resume from {older[-1].name}, move {checkpoint} away" if older else "there is no older one"
        raise type(error)(f"{error}. The checkpoint cannot be resumed; {advice}") from error
