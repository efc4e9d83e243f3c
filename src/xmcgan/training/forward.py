"""The forward passes of a training step: both networks' features of a batch, whole or in micro-batches."""

from functools import partial

import torch
from torch import Tensor
from torch.func import functional_call

from xmcgan.losses.adversarial import pooled_distance
from xmcgan.runtime.precision import float32_or_wider
from xmcgan.training.augmentation import NUMBERS, augment, translate_traces
from xmcgan.training.gradient_cache import Backward, Features, forward_micro_batches, split_batch
from xmcgan.training.penalties import penalty_columns
from xmcgan.training.sentence_noise import text_for_generator
from xmcgan.training.state import TrainingState
from xmcgan.types import Batch, TextEmbedding

PAIR_EVERY = 4
"""The diversity term generates every fourth example of a batch twice."""


def forward_discriminator(state: TrainingState, batch: Batch) -> tuple[Features, Backward]:
    """Features of real and generated images, with gradients for the discriminator alone."""
    weights, parts = state.discriminator.normalised_weights(), split_batch(batch, state.micro_batch)
    with torch.no_grad():
        fakes = [generate(state, part) for part in parts]
    return forward_micro_batches(
        [partial(discriminate, state, weights, part, fake) for part, fake in zip(parts, fakes, strict=True)]
    )


def forward_both(state: TrainingState, batch: Batch) -> tuple[Features, Backward]:
    """Features of real and generated images, with gradients for both networks."""
    weights, parts = state.discriminator.normalised_weights(), split_batch(batch, state.micro_batch)
    with torch.no_grad():
        encoded = [encode_images(state, part.images_B3HW) for part in parts]
    return forward_micro_batches(
        [
            partial(generate_and_discriminate, state, weights, part, real)
            for part, real in zip(parts, encoded, strict=True)
        ]
    )


def discriminate(state: TrainingState, weights: dict[str, Tensor], batch: Batch, fake_B3HW: Tensor) -> Features:
    """The discriminator's features of real and generated images, augmented, computed with its normalised weights."""
    real_B3HW = batch.images_B3HW
    if batch.augmentation_BU is not None:
        for_real, for_fake = batch.augmentation_BU.chunk(2, dim=1)
        real_B3HW = augment(real_B3HW, for_real, state.augmentation, state.strength)
        fake_B3HW = augment(fake_B3HW, for_fake, state.augmentation, state.strength)
    mismatched_BD = swap_neighbours(batch.text.sentence_BD) if state.objective.weights.mismatched else None
    # One pass over the concatenated batch equals two, because the discriminator has no batch norm; and a gradient of
    # the generated images goes through their half alone.
    with state.layers_in_precision():
        real = state.discriminator.discriminate(real_B3HW, batch.text, weights, mismatched_BD)
        fake = state.discriminator.discriminate(fake_B3HW, batch.text, weights)
    return Features(real, fake, penalties_BK=penalty_columns(state, weights, real_B3HW, fake_B3HW, batch.text))


def generate_and_discriminate(
    state: TrainingState, weights: dict[str, Tensor], batch: Batch, real_BF: Tensor | None
) -> Features:
    """``discriminate`` of new images, with the frozen encoder's features; the real images' features are given."""
    fake_B3HW, distances_B = generate_pairs(state, batch)
    fake_BF = encode_images(state, fake_B3HW)
    encoded = None if real_BF is None or fake_BF is None else (real_BF, fake_BF)
    return discriminate(state, weights, batch, fake_B3HW)._replace(encoded=encoded, distances_B=distances_B)


def generate(state: TrainingState, batch: Batch) -> Tensor:
    """Images in training mode. Running statistics are updated only in passes with a graph, once per step."""
    generator, text = state.generator, text_for_generator(batch, state.augmentation.sentence_noise)
    with state.layers_in_precision():
        if torch.is_grad_enabled():
            return generator(batch.noise_BZ, text).images_B3HW
        statistics = {name: buffer.clone() for name, buffer in generator.named_buffers()}
        return functional_call(generator, statistics, (batch.noise_BZ, text)).images_B3HW


def generate_pairs(state: TrainingState, batch: Batch) -> tuple[Tensor, Tensor | None]:
    """Images, and for the diversity term the distance of every fourth to one with the same caption and other noise.

    All of them go through the generator in one batch, and so through its batch norm.
    """
    if not state.objective.weights.diversity:
        return generate(state, batch), None
    rows, again = len(batch.noise_BZ), slice(None, None, PAIR_EVERY)
    text = text_for_generator(batch, state.augmentation.sentence_noise)
    more = TextEmbedding(*(torch.cat([each, each[again]]) for each in text))
    noise_BZ = torch.cat([batch.noise_BZ, swap_neighbours(batch.noise_BZ)[again]])
    images_B3HW = generate(state, batch._replace(text=more, noise_BZ=noise_BZ, sentence_noise_BD=None))
    fake_B3HW, other_B3HW = images_B3HW.split([rows, len(images_B3HW) - rows])
    return fake_B3HW, pooled_distance(float32_or_wider(fake_B3HW[again]), float32_or_wider(other_B3HW))


def swap_neighbours(rows: Tensor) -> Tensor:
    """Rows 1, 0, 3, 2, ...: swaps each example with its neighbour, which is the same on any number of ranks."""
    return rows.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)


def augmented_traces(state: TrainingState, batch: Batch) -> Tensor | None:
    """The batch's traces, moved as the real images are."""
    if batch.traces_BTR is None or batch.augmentation_BU is None:
        return batch.traces_BTR
    side = batch.images_B3HW.shape[-1]
    numbers = batch.augmentation_BU[:, :NUMBERS]
    return translate_traces(batch.traces_BTR, numbers, state.augmentation, side, state.strength)


def encode_images(state: TrainingState, images_B3HW: Tensor) -> Tensor | None:
    """The frozen encoder's features of images, if there is an encoder."""
    if state.image_encoder is None:
        return None
    with state.layers_in_precision():
        # Generated images may be in half precision, which a CPU cannot resize with antialiasing.
        return float32_or_wider(state.image_encoder(float32_or_wider(images_B3HW)))
