"""Algorithm 1, one step at a time."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from steps import CPU, TEXT_DIM, batches_of, having, random_batch, started
from xmcgan.training.state import initial_state
from xmcgan.training.step import train_step


def test_a_step_of_the_discriminator_alone_leaves_the_running_statistics(config):
    """After n_D = 2 they are what one forward pass of the last batch makes of them."""
    training, (first, last) = started(config), batches_of(config, 2)
    expected = copy.deepcopy(training.generator)
    with torch.no_grad():
        expected(last.noise_BZ, last.text)
    train_step(training, [first, last])
    for (name, buffer), wanted in zip(training.generator.named_buffers(), expected.buffers(), strict=True):
        assert torch.equal(buffer, wanted), name
    assert any(buffer.any() for name, buffer in training.generator.named_buffers() if "mean" in name)


@pytest.mark.parametrize("count", [1, 3])
def test_adam_counts_n_d_steps_of_the_discriminator_and_one_of_the_generator(config, count):
    training = started(config)
    train_step(training, batches_of(config, count))
    steps = [
        {int(state["step"]) for state in optimizer.state.values()}
        for optimizer in (training.discriminator_optimizer, training.generator_optimizer)
    ]
    assert steps == [{count}, {1}]
    assert training.ema.updates == 1


def test_the_first_discriminator_step_sees_the_first_batch(config):
    """The generator's step after (a, b) is that on b, by a discriminator that has learnt from a."""
    one, other = started(config), started(config)
    first, last, another = batches_of(config, 3)
    train_step(one, [first, last])
    train_step(other, [another, last])
    weights = zip(one.discriminator.parameters(), other.discriminator.parameters(), strict=True)
    assert not all(torch.equal(left, right) for left, right in weights)


def test_the_discriminator_alone(config):
    """It moves as in a whole step; the generator, its optimizer and its average do not, but the step counts."""
    alone, whole = started(config), started(config)
    before = copy.deepcopy(alone.generator.state_dict())
    reports = [
        train_step(alone, batches_of(config, 2), discriminator_alone=True),
        train_step(whole, batches_of(config, 2)),
    ]
    assert reports[0] == reports[1]
    pairs = zip(alone.discriminator.parameters(), whole.discriminator.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert all(torch.equal(weight, before[name]) for name, weight in alone.generator.named_parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in alone.ema.network.named_parameters())
    assert not alone.generator_optimizer.state
    assert alone.ema.updates == 1
    assert all(weight.grad is None for weight in [*alone.generator.parameters(), *alone.discriminator.parameters()])


def test_both_networks_move_and_no_gradient_is_left(config):
    training = started(config)
    before = [copy.deepcopy(network.state_dict()) for network in (training.generator, training.discriminator)]
    train_step(training, batches_of(config, 2))
    for network, was in zip((training.generator, training.discriminator), before, strict=True):
        unmoved = [name for name, weight in network.named_parameters() if torch.equal(weight, was[name])]
        assert unmoved == []
        assert all(parameter.grad is None for parameter in network.parameters())


def test_the_report_has_every_term_and_is_detached(config):
    report = train_step(started(config), batches_of(config, 1))
    terms = {"real_sentence", "real_word", "fake_sentence", "fake_word", "image_discriminator"}
    assert set(report) == {"d_loss", "g_loss", "d_hinge", "g_hinge", *terms} | {
        f"{name}_{statistic}" for name in terms for statistic in ("accuracy", "entropy")
    }
    assert not any(value.requires_grad for value in report.values())
    assert all(value.dim() == 0 and value.isfinite() for value in report.values())
    total = report["d_hinge"] + report["real_sentence"] + report["real_word"]
    assert float(report["d_loss"]) == pytest.approx(float(total), rel=1e-5)


def test_bfloat16_on_a_cpu(config):
    config = having(config, training__precision="bfloat16")
    training, batches = started(config), batches_of(config, 1)
    reports = [train_step(training, batches) for _ in range(2)]
    assert all(value.isfinite() for report in reports for value in report.values())
    weights = [*training.generator.parameters(), *training.discriminator.parameters()]
    assert {weight.dtype for weight in weights} == {torch.float32}
    assert all(weight.isfinite().all() for weight in weights)
    plain = train_step(started(having(config, training__precision="float32")), batches)
    assert plain["d_loss"] != reports[0]["d_loss"]  # it is in use


@pytest.mark.slow
def test_the_discriminator_learns_a_fixed_batch(config):
    config = having(config, training__discriminator_lr=2e-3, training__generator_lr=1e-9)
    training, batches = started(config), batches_of(config, 1)
    reports = [train_step(training, batches) for _ in range(20)]
    first, last = reports[0], reports[-1]
    assert last["d_loss"] < 0.5 * first["d_loss"]
    assert last["d_hinge"] < 0.5 * first["d_hinge"]
    # Guessing among 4 pairs costs ln 4 in each direction.
    assert last["real_sentence"] < 0.75 * 2 * math.log(4) < first["real_sentence"]
    assert last["real_word"] < 0.75 * 2 * math.log(4) < first["real_word"]
    assert min(last["real_sentence_accuracy"], last["real_word_accuracy"]) >= 0.5  # by chance 0.25


@pytest.mark.parametrize("contrastive", [1.0, 0.0])
def test_the_generator_learns_against_a_fixed_discriminator(config, contrastive):
    weights = {f"losses__{name}": contrastive for name in ("sentence", "word", "image_discriminator")}
    config = having(config, training__discriminator_lr=1e-9, training__generator_lr=8e-3, **weights)
    training, batches = started(config), batches_of(config, 1)
    for _ in range(50):  # the spectral norms' estimates change at first, and with them what it judges
        training.discriminator.normalised_weights()
    reports = [train_step(training, batches) for _ in range(6)]
    first, last = reports[0], reports[-1]
    assert last["g_loss"] < first["g_loss"] - (1 if contrastive else 0.2)
    # With contrastive losses the hinge may rise for their good; the words are what it learns first.
    if contrastive:
        assert last["fake_word"] < 0.9 * first["fake_word"]


@pytest.mark.parametrize(
    "changes",
    [
        {"image_size": 128, "generator__width": 2, "discriminator__width": 2},
        {"image_size": 256, "generator__width": 2, "discriminator__width": 2},
        {"discriminator__head_layers": 1},
        {"discriminator__head_layers": 2},
        {"generator__stem": "noise"},
        {"generator__modulation": "plain"},
        {"losses__word": 0.0},
        {"losses__sentence": 0.0, "losses__word": 0.0, "losses__image_discriminator": 0.0},
        {"losses__sentence": 0.0, "losses__word": 0.0, "losses__image_discriminator": 0.0, "training__batch_size": 1},
        {"training__ema_warmup": False},
        {"training__beta1": 0.0, "training__ema_decay": 0.0},
    ],
    ids=lambda changes: ",".join(f"{name}={value}" for name, value in changes.items()),
)
def test_every_variant_makes_a_step(config, changes):
    config = having(having(config, training__batch_size=2), **changes)
    training, batches = started(config), batches_of(config, 1)
    report = train_step(training, batches)
    assert all(value.isfinite() for value in report.values())
    size, text = config.image_size, batches[0].text
    images = training.ema.network(torch.zeros(len(text.mask_BT), 8), text).images_B3HW
    assert images.shape == (config.training.batch_size, 3, size, size)


def test_without_contrastive_losses_only_the_hinges_are_left(config):
    config = having(config, losses__sentence=0.0, losses__word=0.0, losses__image_discriminator=0.0)
    report = train_step(started(config), batches_of(config, 1))
    assert set(report) == {"d_loss", "g_loss", "d_hinge", "g_hinge"}
    assert report["d_loss"] == report["d_hinge"]


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


def test_augmentation_is_applied_to_real_and_generated_images(plus, monkeypatch):
    state = initial_state(plus, TEXT_DIM, CPU)
    batch = random_batch(4, plus.generator.noise_dim)
    seen = []
    monkeypatch.setattr(state.discriminator, "discriminate", lambda images, *_: seen.append(images) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train_step(state, [batch])
    real = seen[0]
    dy = ((batch.augmentation_BU[:, 0] * 17).long() - 8).tolist()
    dx = ((batch.augmentation_BU[:, 1] * 17).long() - 8).tolist()
    for image, original, y, x in zip(real, batch.images_B3HW, dy, dx, strict=True):
        moved = F.pad(original, (x, -x, y, -y))  # a negative pad cuts
        torch.testing.assert_close(image, moved, rtol=0, atol=0)
