"""The techniques of the plus recipes: their terms by hand, micro-batches, resuming, schedules."""

import math
import shutil
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from tiny import contents, different, logged, run, tiny_config
from xmcgan.config import AugmentationConfig, Config
from xmcgan.encoders.efficientnet import EfficientNetLite0
from xmcgan.losses.adversarial import (
    diversity_hinge,
    hinge_discriminator,
    matching_aware_hinge_discriminator,
    pooled_distance,
)
from xmcgan.model.generator import Generator
from xmcgan.training import state as state_module
from xmcgan.training.augmentation import NUMBERS
from xmcgan.training.ema import EMA, estimate_batch_norm
from xmcgan.training.forward import swap_neighbours
from xmcgan.training.state import check_batch_size, initial_state, set_learning_rates
from xmcgan.training.step import train_step
from xmcgan.types import Batch, TextEmbedding

CPU, TEXT_DIM = torch.device("cpu"), 6


@pytest.fixture(autouse=True)
def untrained_frozen_network(monkeypatch):
    """Random weights, the same each time: the package with the real ones need not be installed."""

    def pretrained(_file=None):
        with torch.random.fork_rng():
            torch.manual_seed(5)
            return EfficientNetLite0().eval().requires_grad_(False)

    monkeypatch.setattr(state_module.EfficientNetLite0, "pretrained", pretrained)


@pytest.fixture
def plus(scenes, encoder_folder) -> Config:
    config = tiny_config(scenes, encoder_folder, discriminator_steps=1, ema_half_life=20, batch_norm_batches=2)
    return replace(
        config,
        generator=replace(config.generator, modulation_upsampling="bilinear"),
        discriminator=replace(config.discriminator, kind="frozen-features", channels=4),
        augmentation=AugmentationConfig(translation=0.125),
        losses=replace(config.losses, mismatched=0.5, diversity=1.0),
        training=replace(config.training, lr_decay_from=0.5),
    )


def random_batch(rows: int, noise_dim: int) -> Batch:
    torch.manual_seed(3)
    text = TextEmbedding(
        torch.randn(rows, 5, TEXT_DIM), torch.ones(rows, 5, dtype=torch.bool), torch.randn(rows, TEXT_DIM)
    )
    images, noise = torch.rand(rows, 3, 64, 64) * 2 - 1, torch.randn(rows, noise_dim)
    return Batch(images, text, noise, None, torch.rand(rows, 2 * NUMBERS))


def test_matching_aware_hinge():
    real, fake, wrong = torch.tensor([0.5, 2.0]), torch.tensor([-2.0, 0.0]), torch.tensor([1.0, -0.5])
    found = matching_aware_hinge_discriminator(real, fake, wrong, share=0.25)
    torch.testing.assert_close(found, torch.tensor(0.25 + 0.75 * 0.5 + 0.25 * 1.25))
    torch.testing.assert_close(
        matching_aware_hinge_discriminator(real, fake, wrong, 0.0), hinge_discriminator(real, fake)
    )


def test_diversity_stops_pushing_where_images_differ_enough():
    distances = torch.tensor([0.0, 0.04, 0.08, 0.5], requires_grad=True)
    loss = diversity_hinge(distances, 0.08)
    torch.testing.assert_close(loss, torch.tensor(1.5 / 4))
    (gradient,) = torch.autograd.grad(loss, distances)
    torch.testing.assert_close(gradient, torch.tensor([-1 / 0.32, -1 / 0.32, 0.0, 0.0]))
    a, b = torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 8)
    b[1, :, :4, :4] = 1.0  # a quarter of the blocks
    torch.testing.assert_close(pooled_distance(a, b), torch.tensor([0.0, 0.25]))


def test_neighbours_are_exchanged():
    assert swap_neighbours(torch.arange(6)).tolist() == [1, 0, 3, 2, 5, 4]


def test_a_step_reports_its_terms_and_moves_both_networks(plus):
    state = initial_state(plus, TEXT_DIM, CPU)
    weights = dict(state.generator.named_parameters()) | dict(state.discriminator.named_parameters())
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    report = train_step(state, [random_batch(4, plus.generator.noise_dim)])
    assert {"d_hinge", "real_word", "fake_sentence", "diversity", "distance"} <= report.keys()
    # As long as no logit is beyond the hinge, its gradients of a head's bias cancel: 1 of real, 1/2 + 1/2 of others.
    still = [name for name, weight in weights.items() if torch.equal(weight, before[name])]
    assert all(name.endswith("unconditional.bias") for name in still)
    assert not any(weight.requires_grad for weight in state.discriminator.frozen[0].parameters())


def test_micro_batches_give_the_discriminators_losses_of_the_whole_batch(plus):
    """Its terms only: batch norm sees micro-batches, so generated images differ."""
    batch = random_batch(8, plus.generator.noise_dim)
    reports = []
    for micro_batch in (None, 4):
        config = replace(plus, training=replace(plus.training, batch_size=8, micro_batch=micro_batch))
        reports.append(train_step(initial_state(config, TEXT_DIM, CPU), [batch]))
    for name in ("real_sentence", "real_word"):
        torch.testing.assert_close(reports[0][name], reports[1][name], rtol=1e-4, atol=1e-5)


def test_augmentation_is_applied_to_real_and_generated_images(plus, monkeypatch):
    state = initial_state(plus, TEXT_DIM, CPU)
    batch = random_batch(4, plus.generator.noise_dim)
    seen = []
    monkeypatch.setattr(state.discriminator, "discriminate_pair", lambda *images, **_: seen.append(images) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train_step(state, [batch])
    real = seen[0][0]
    dy = ((batch.augmentation_BU[:, 0] * 17).long() - 8).tolist()
    dx = ((batch.augmentation_BU[:, 1] * 17).long() - 8).tolist()
    for image, original, y, x in zip(real, batch.images_B3HW, dy, dx, strict=True):
        moved = F.pad(original, (x, -x, y, -y))  # a negative pad cuts
        torch.testing.assert_close(image, moved, rtol=0, atol=0)


def test_a_resumed_run_is_the_uninterrupted_one(plus, tmp_path):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    run(plus, whole)
    shutil.copytree(whole, resumed)
    shutil.rmtree(resumed / "checkpoints/step-00000004")
    run(plus, resumed)
    last = "checkpoints/step-00000004"
    assert different(contents(whole / last), contents(resumed / last)) == []
    assert logged(whole) == logged(resumed)


def test_learning_rates_fall_along_a_cosine(plus):
    state = initial_state(plus, TEXT_DIM, CPU)
    settings = replace(plus.training, steps=100, lr_decay_from=0.5)
    rates = []
    for step in (0, 50, 75, 99):
        set_learning_rates(state, settings, step)
        rates.append(state.generator_optimizer.param_groups[0]["lr"] / settings.generator_lr)
    expected = [1.0, 1.0, 0.5, (1 + math.cos(math.pi * 0.98)) / 2]
    assert rates == pytest.approx(expected)


def test_the_half_life_halves_the_past():
    torch.manual_seed(0)
    network = Generator(image_size=64, width=1, text_dim=TEXT_DIM, noise_dim=4)
    average = EMA(network, half_life=3)
    average.updates = 1000  # far behind the ramp
    with torch.no_grad():
        for weight in average.network.parameters():
            weight.fill_(1.0)
        for weight in network.parameters():
            weight.zero_()
    for _ in range(3):
        average.update(network)
    torch.testing.assert_close(average.network.stem.bias, torch.full_like(network.stem.bias, 0.5))
    assert EMA(network, half_life=1000).next_decay() == pytest.approx(0.5**20)  # early on nearly all is new


def test_estimated_statistics_are_those_of_the_generators_own_maps():
    torch.manual_seed(0)
    generator = Generator(image_size=64, width=1, text_dim=TEXT_DIM, noise_dim=4).eval()
    batches = [random_batch(6, 4) for _ in range(2)]
    stem = []
    for batch in batches:
        condition = torch.cat([generator.sentence_projection(batch.text.sentence_BD), batch.noise_BZ], 1)
        stem.append(generator.stem(condition).unflatten(1, (-1, 4, 4)))
    norm = generator.global_blocks[0].norm1.norm
    momentum = norm.momentum
    estimate_batch_norm(generator, ((batch.noise_BZ, batch.text) for batch in batches))
    mean = torch.stack([x.mean((0, 2, 3)) for x in stem]).mean(0)
    variance = torch.stack([x.var((0, 2, 3), unbiased=False) for x in stem]).mean(0)
    torch.testing.assert_close(norm.running_mean, mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, variance, rtol=1e-4, atol=1e-5)
    assert norm.momentum == momentum
    assert not generator.training


@pytest.mark.parametrize(
    ("rows", "losses", "message"),
    [
        (3, {"mismatched": 0.5}, "losses.mismatched exchanges the captions of neighbours"),
        (6, {"diversity": 1.0}, "losses.diversity generates every fourth example twice"),
    ],
)
def test_batches_that_do_not_fit_are_refused(plus, rows, losses, message):
    config = replace(
        plus,
        losses=replace(plus.losses, **({"mismatched": 0.0, "diversity": 0.0} | losses)),
        training=replace(plus.training, batch_size=rows),
    )
    with pytest.raises(ValueError, match=message):
        check_batch_size(config, 1)


def test_checkpointed_activations_are_refused_on_frozen_features(plus):
    with pytest.raises(ValueError, match="frozen-features, which cannot"):
        replace(plus, training=replace(plus.training, checkpoint_activations=True))
