"""A training step, up to its losses, on fake CUDA tensors: no CPU tensor takes part, no shape depends on values.

Needs no GPU: fake tensors have a device and no memory. A step that fails here would make the host wait for the device,
or could not be captured as a CUDA graph.
"""

from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim import Adam

from xmcgan.config import AugmentationConfig, Config
from xmcgan.encoders.efficientnet import EfficientNetLite0
from xmcgan.losses.contrastive import region_word_scores
from xmcgan.losses.objective import Objective, Terms
from xmcgan.model.build import build_discriminator, build_generator
from xmcgan.training.augmentation import NUMBERS
from xmcgan.training.forward import forward_both, forward_discriminator
from xmcgan.training.state import TrainingState
from xmcgan.types import Batch, TextEmbedding

TEXT_DIM, ROWS = 12, 8


class NoAverage:
    """Stands in for EMA, which copies its network."""

    def update(self, network) -> None: ...


def fake_state(config: Config) -> TrainingState:
    encoder = None
    if config.discriminator.kind == "frozen-features":
        encoder = EfficientNetLite0().eval().requires_grad_(False)
    generator, discriminator = build_generator(config, TEXT_DIM), build_discriminator(config, TEXT_DIM, encoder)
    return TrainingState(
        generator=generator,
        discriminator=discriminator,
        ema=NoAverage(),
        generator_optimizer=Adam(generator.parameters()),
        discriminator_optimizer=Adam(discriminator.parameters()),
        objective=Objective.from_config(config.losses),
        augmentation=config.augmentation,
    )


def fake_batch(config: Config, *, augmented: bool) -> Batch:
    size = config.image_size
    text = TextEmbedding(
        torch.randn(ROWS, 9, TEXT_DIM), torch.ones(ROWS, 9, dtype=torch.bool), torch.randn(ROWS, TEXT_DIM)
    )
    uniform = torch.rand(ROWS, 2 * NUMBERS) if augmented else None
    return Batch(torch.rand(ROWS, 3, size, size), text, torch.randn(ROWS, config.generator.noise_dim), None, uniform)


def forward_and_losses(state: TrainingState, batch: Batch) -> list[Terms]:
    """Both phases of a step up to their losses; autograd's engine needs a real device."""
    alone, _ = forward_discriminator(state, batch)
    both, _ = forward_both(state, batch)
    return [
        state.objective.discriminator(alone.real, alone.fake, batch.text, batch.traces_BTR),
        state.objective.generator(both.real, both.fake, batch.text, both.encoded, both.distances_B),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("plus", [False, True])
def test_every_operation_of_a_step_is_on_the_device(config, plus):
    if plus:
        config = replace(
            config,
            generator=replace(config.generator, modulation_upsampling="bilinear"),
            discriminator=replace(config.discriminator, kind="frozen-features", channels=4),
            augmentation=AugmentationConfig(translation=0.1, cutout=0.5, colour=0.5),
            losses=replace(config.losses, mismatched=0.5, diversity=1.0),
        )
    with FakeTensorMode(), torch.device("cuda"):
        terms = forward_and_losses(fake_state(config), fake_batch(config, augmented=plus))
    assert {str(each.total.device) for each in terms} == {"cuda:0"}


def test_a_tensor_on_the_cpu_is_detected(config):
    with FakeTensorMode(), torch.device("cuda"):
        state, batch = fake_state(config), fake_batch(config, augmented=False)
        with pytest.raises(RuntimeError, match="device"):
            forward_and_losses(state, batch._replace(noise_BZ=batch.noise_BZ.cpu()))


def test_the_form_of_fixed_shape_gives_the_same_scores_and_gradients():
    torch.manual_seed(0)
    regions = torch.randn(3, 16, 6, dtype=torch.float64, requires_grad=True)
    mask = torch.arange(5) < torch.tensor([[2], [5], [1]])
    words = torch.randn(3, 5, 6, dtype=torch.float64) * mask[..., None]
    found = [region_word_scores(regions, words, mask, fixed_shape=fixed) for fixed in (False, True)]
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad(scores.square().sum(), regions)[0] for scores in found]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-10, atol=1e-12)
