"""Algorithm 1: one training step."""

from functools import partial

import torch._functorch.config
from torch import Tensor
from torch.func import functional_call
from torch.optim import Adam

from xmcgan.runtime.distributed import average_gradients, sum_over_ranks, world_size
from xmcgan.runtime.precision import float32_or_wider
from xmcgan.training.gradient_cache import Features, observe, parts_of
from xmcgan.training.state import Training
from xmcgan.types import Batch


def train_step(training: Training, batches: list[Batch]) -> dict[str, Tensor]:
    """One iteration of Algorithm 1: a discriminator step a batch, and with the last one the generator's.

    The last discriminator step and the generator step share a forward pass: both gradients are taken at the same
    parameters, then both updates are made (as the release does).

    Args:
        batches: one for each discriminator step; where several ranks share the work, this rank's parts of them.

    Returns:
        every loss and statistic, of the whole batch, detached.
    """
    generator, discriminator, objective = training.generator, training.discriminator, training.objective
    generator_weights = list(generator.parameters())
    discriminator_weights = list(discriminator.parameters())

    for batch in batches[:-1]:
        normalised, parts = discriminator.normalised_weights(), parts_of(batch, training.micro_batch)
        with torch.no_grad():
            drawn = [draw(training, part) for part in parts]
        looks = [partial(judge, training, normalised, *each) for each in zip(parts, drawn, strict=True)]
        seen, go_back = observe(looks)
        terms = objective.discriminator(seen.real, seen.fake, batch.text, batch.traces_BTR)
        go_back((terms, discriminator_weights))
        update(training.discriminator_optimizer)

    batch = batches[-1]
    normalised, parts = discriminator.normalised_weights(), parts_of(batch, training.micro_batch)
    with torch.no_grad():
        encoded = [encode_images(training, part.images_B3HW) for part in parts]
    looks = [partial(draw_and_judge, training, normalised, *each) for each in zip(parts, encoded, strict=True)]
    seen, go_back = observe(looks)
    discriminator_terms = objective.discriminator(seen.real, seen.fake, batch.text, batch.traces_BTR)
    generator_terms = objective.generator(seen.real, seen.fake, batch.text, seen.encoded)
    go_back((discriminator_terms, discriminator_weights), (generator_terms, generator_weights))
    update(training.discriminator_optimizer)
    update(training.generator_optimizer)
    training.ema.update(generator)

    report = {"d_loss": discriminator_terms.total, "g_loss": generator_terms.total}
    for terms in (discriminator_terms, generator_terms):
        report |= terms.losses | terms.statistics
    return mean_over_ranks(report)


def judge(training: Training, normalised: dict[str, Tensor], batch: Batch, fake_B3HW: Tensor) -> Features:
    """What the discriminator, by its normalised weights, sees in real images and in ones that are drawn already."""
    with training.layers_in_precision():
        return Features(*training.discriminator.judge_pair(batch.images_B3HW, fake_B3HW, batch.text, normalised))


def draw_and_judge(training: Training, normalised: dict[str, Tensor], batch: Batch, real_BF: Tensor | None) -> Features:
    """``judge`` of images drawn for it, and of both what the frozen encoder sees; of the real ones it is known."""
    fake_B3HW = draw(training, batch)
    fake_BF = encode_images(training, fake_B3HW)
    encoded = None if real_BF is None or fake_BF is None else (real_BF, fake_BF)
    return judge(training, normalised, batch, fake_B3HW)._replace(encoded=encoded)


def draw(training: Training, batch: Batch) -> Tensor:
    """Images in training mode. Only where they get a graph, once a step, do they move the running statistics."""
    generator = training.generator
    with training.layers_in_precision():
        if torch.is_grad_enabled():
            return generator(batch.noise_BZ, batch.text).images_B3HW
        statistics = {name: buffer.clone() for name, buffer in generator.named_buffers()}
        return functional_call(generator, statistics, (batch.noise_BZ, batch.text)).images_B3HW


def encode_images(training: Training, images_B3HW: Tensor) -> Tensor | None:
    """What the frozen encoder sees in images, if there is one."""
    if training.image_encoder is None:
        return None
    with training.layers_in_precision():
        # Generated images may come in half precision, in which a CPU cannot resize with antialiasing.
        return float32_or_wider(training.image_encoder(float32_or_wider(images_B3HW)))


def update(optimizer: Adam) -> None:
    """One step along the mean of all ranks' gradients, which are then gone."""
    average_gradients(weight for group in optimizer.param_groups for weight in group["params"])
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def mean_over_ranks(report: dict[str, Tensor]) -> dict[str, Tensor]:
    """What ranks say of equal parts of a batch, as it is of the whole."""
    values = sum_over_ranks(torch.stack([value.detach() for value in report.values()])) / world_size()
    return dict(zip(report, values, strict=True))
