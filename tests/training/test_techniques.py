"""Penalties, relativistic pairing, adaptive augmentation, noise on the sentence, L2 features: in a step and resumed."""

import shutil
from dataclasses import replace

import pytest
import torch
from torch import nn

from steps import batches_of, having, started
from tiny import contents, different, logged, run, tiny_config
from xmcgan.config import AugmentationConfig, Config, PenaltyConfig
from xmcgan.training import state as state_module
from xmcgan.training.adaptive import UPDATE_EVERY, AdaptiveStrength
from xmcgan.training.augmentation import NUMBERS, augment, image_shifts, translate_traces
from xmcgan.training.checkpoint import load_strength
from xmcgan.training.penalties import penalty_columns
from xmcgan.training.sentence_noise import perturb, text_for_generator
from xmcgan.training.step import train_step

pytestmark = pytest.mark.usefixtures("untrained_frozen_network")


@pytest.fixture
def config(scenes, encoder_folder) -> Config:
    return tiny_config(scenes, encoder_folder, steps=4, discriminator_steps=1)


ALL_HINGE = {
    "penalties": PenaltyConfig(r1=1.0, r2=0.5, matching_aware=2.0, every=2),
    "augmentation": AugmentationConfig(
        translation=0.125, cutout=0.5, adaptive_target=-0.99, adaptive_images=40, sentence_noise=0.1
    ),
    "losses__image_encoder": 1.0,
    "losses__encoder": "efficientnet-lite0",
    "losses__image_encoder_loss": "l2",
}
R3GAN = {
    "losses__adversarial": "relativistic",
    "losses__mismatched": 0.5,
    "penalties": PenaltyConfig(r1=1.0, r2=1.0),
    "training__steps": 2,
    "training__checkpoint_every": 1,
}


COMBINED = {
    "discriminator__kind": "combined",
    "discriminator__channels": 4,
    "losses__mismatched": 0.5,
    "losses__diversity": 1.0,
    "training__steps": 2,
    "training__checkpoint_every": 1,
}

CONTRASTIVE_IN_BOTH = COMBINED | {
    "discriminator__frozen_contrastive": True,
    "losses__diversity": 0.0,
    "training__micro_batch": 2,
}


@pytest.mark.parametrize(
    "changes",
    [ALL_HINGE, R3GAN, COMBINED, CONTRASTIVE_IN_BOTH],
    ids=["hinge", "relativistic", "combined", "contrastive in both"],
)
def test_a_resumed_run_is_the_uninterrupted_one(config, changes, tmp_path, monkeypatch):
    """Resumed between two changes of the strength, and between two steps with penalties."""
    pooled = nn.Sequential(nn.AvgPool2d(16), nn.Flatten())  # a frozen encoder that is quick
    monkeypatch.setattr(state_module, "frozen_image_encoder", lambda *_: pooled)
    config, whole, resumed = having(config, **changes), tmp_path / "whole", tmp_path / "resumed"
    run(config, whole)
    shutil.copytree(whole, resumed)
    last = f"checkpoints/step-{config.training.steps:08d}"
    shutil.rmtree(resumed / last)
    run(config, resumed)
    assert different(contents(whole / last), contents(resumed / last)) == []
    assert logged(whole) == logged(resumed)
    if config.augmentation.adaptive_target is not None:
        # Penalties in every second step, twice as heavy; the strength was changed once, after four steps of 4 images.
        assert ["d_r1" in line for line in logged(whole)] == [True, False] * 2
        assert all(line["image_encoder_l2"] > 0 for line in logged(whole))
        assert load_strength(whole / last)["strength"] == UPDATE_EVERY * 4 / 40
        assert load_strength(whole / "checkpoints/step-00000002")["steps"] == 2


@pytest.mark.parametrize("changes", [COMBINED, CONTRASTIVE_IN_BOTH], ids=["in one", "in both"])
def test_a_step_updates_every_weight_of_both_discriminators(config, changes):
    state = started(having(config, **changes))
    train_step(state, batches_of(config, 1))
    updated = state.discriminator_optimizer.state
    assert [name for name, weight in state.discriminator.named_parameters() if weight not in updated] == []
    assert not any("stages" in name for name in state.discriminator.state_dict())  # the frozen network is not saved


def test_micro_batches_carry_the_features_of_both_networks(config):
    reports = []
    for micro_batch in (None, 2):
        state = started(having(config, **CONTRASTIVE_IN_BOTH | {"training__micro_batch": micro_batch}))
        state.generator.eval()  # batch norm would see micro-batches
        reports.append(train_step(state, batches_of(config, 1)))
    for name in ("real_sentence", "real_word", "fake_sentence", "fake_word", "image_discriminator", "d_hinge"):
        torch.testing.assert_close(reports[0][name], reports[1][name], rtol=1e-4, atol=1e-6)


# ---------------------------------------------------------------------------------------------- gradient penalties


@pytest.mark.parametrize("checkpointed", [False, True])
def test_penalties_in_micro_batches_are_those_of_the_whole_batch(config, checkpointed):
    """Values, and what they give the discriminator's weights; also where blocks are computed twice."""
    penalties = PenaltyConfig(r1=10.0, r2=10.0, matching_aware=1.0)
    config = having(config, penalties=penalties, training__checkpoint_activations=checkpointed)
    batches, reports, weights = batches_of(config, 1), [], []
    for micro_batch in (None, 2):
        state = started(having(config, training__micro_batch=micro_batch))
        state.generator.eval()  # batch norm would see micro-batches
        reports.append(train_step(state, batches))
        weights.append({name: each.detach().clone() for name, each in state.discriminator.named_parameters()})
    for name in ("d_r1", "d_r2", "d_matching_aware", "d_hinge"):
        torch.testing.assert_close(reports[0][name], reports[1][name], rtol=1e-4, atol=1e-6)
        assert reports[0][name] > 0
    moments = [state_of(weights[number]) for number in (0, 1)]
    # Adam's first step is the gradient's sign: equal signs but where a gradient is nearly zero.
    assert (moments[0] - moments[1]).abs().gt(1e-5).float().mean() < 0.01


def state_of(weights: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([weight.flatten() for weight in weights.values()])


def test_on_frozen_features_each_example_has_the_penalty_that_it_has_alone(config):
    penalties = PenaltyConfig(r1=1.0, matching_aware=1.0)
    config = having(config, penalties=penalties, discriminator__kind="frozen-features", discriminator__channels=4)
    state, batch = started(config), batches_of(config, 1)[0]
    weights = state.discriminator.normalised_weights()
    with torch.no_grad():
        both, *alone = (
            penalty_columns(state, weights, batch.images_B3HW[rows], batch.images_B3HW[rows], batch.text.rows(rows))
            for rows in (slice(0, 2), slice(0, 1), slice(1, 2))
        )
    assert (both > 0).all()
    torch.testing.assert_close(both, torch.cat(alone), rtol=1e-3, atol=1e-7)


def test_a_penalty_changes_the_discriminator_and_not_the_generators_gradient(config):
    batches = batches_of(config, 1)
    plain, penalised = started(config), started(having(config, penalties=PenaltyConfig(r1=100.0)))
    for state in (plain, penalised):
        train_step(state, batches)
    assert torch.equal(state_of(dict(plain.generator.named_parameters())),
                       state_of(dict(penalised.generator.named_parameters())))  # fmt: skip
    assert not torch.equal(state_of(dict(plain.discriminator.named_parameters())),
                           state_of(dict(penalised.discriminator.named_parameters())))  # fmt: skip


def test_penalties_are_float32_whatever_the_layers_are(config):
    config = having(config, penalties=PenaltyConfig(r1=1.0), training__precision="bfloat16")
    reports = [train_step(started(having(config, training__precision=precision)), batches_of(config, 1))
               for precision in ("bfloat16", "float32")]  # fmt: skip
    assert float(reports[0]["d_r1"]) == float(reports[1]["d_r1"])  # of the same images and weights: the same bits
    assert float(reports[0]["d_hinge"]) != float(reports[1]["d_hinge"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"penalties": PenaltyConfig(r2=1.0), "training__compile": True},
            r"penalties\.r2 needs the gradient of a grad",
        ),
        (
            {
                "augmentation": AugmentationConfig(cutout=0.5, adaptive_target=0.6),
                "losses__adversarial": "relativistic",
            },
            r"augmentation\.adaptive_target needs the sign of a logit",
        ),
        ({"losses__image_encoder_loss": "l2"}, r"losses\.image_encoder_loss is l2, but losses\.image_encoder is 0"),
    ],
)
def test_what_does_not_go_together_is_refused(config, changes, message):
    *others, last = changes.items()
    config = having(config, **dict(others))
    with pytest.raises(ValueError, match=message):
        having(config, **dict([last]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PenaltyConfig(r1=-1.0), r"penalties\.r1 is -1"),
        (lambda: PenaltyConfig(every=4), r"penalties\.every is 4, but no penalty has a weight"),
        (lambda: AugmentationConfig(adaptive_target=0.6), "there is nothing to adapt"),
        (lambda: AugmentationConfig(cutout=1.0, adaptive_target=1.5), r"adaptive_target is 1\.5"),
        (lambda: AugmentationConfig(sentence_noise=-0.1), r"sentence_noise is -0\.1"),
    ],
)
def test_values_out_of_range_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ------------------------------------------------------------------------------------------- adaptive augmentation


def test_the_strength_rises_while_the_discriminator_is_sure_and_falls_while_it_is_not():
    ada = AdaptiveStrength(target=0.6, images=1000)
    seen = []
    for sign in [0.9] * 8 + [0.2] * 4 + [0.9, 0.9, 0.3, 0.3]:
        ada.update(sign, 25)
        seen.append(round(ada.strength, 10))
    assert seen == [0, 0, 0, 0.1, 0.1, 0.1, 0.1, 0.2, 0.2, 0.2, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1]  # a mean of 0.6 stays
    for _ in range(4000):
        ada.update(1.0, 25)
    assert ada.strength == 1.0
    for _ in range(4000):
        ada.update(-1.0, 25)
    assert ada.strength == 0.0


def test_a_damaged_strength_is_refused():
    ada = AdaptiveStrength(target=0.6, images=1000)
    with pytest.raises(ValueError, match="seen is 'many'"):
        ada.load(ada.state() | {"seen": "many"})


def test_a_strength_of_one_is_the_augmentation_itself_and_of_zero_none():
    torch.manual_seed(0)
    x, numbers = torch.rand(8, 3, 16, 16), torch.rand(8, NUMBERS)
    config = AugmentationConfig(translation=0.25, cutout=0.5, colour=0.5)
    assert torch.equal(augment(x, numbers, config, 1.0), augment(x, numbers, config))
    assert augment(x, numbers, config, 0.0) is x


def test_a_share_of_the_images_is_shifted_and_their_shifts_are_still_uniform():
    numbers = torch.zeros(6800, NUMBERS)
    numbers[:, 0] = (torch.arange(6800) + 0.5) / 6800
    dy, dx = image_shifts(numbers, 64, AugmentationConfig(translation=0.125), 0.25)
    assert (dx == 0).float().mean() == 0.75  # dx of the others is the largest to the left
    assert dy[:1700].unique(return_counts=True)[1].tolist() == [100] * 17
    assert not dy[1700:].any()


def test_traces_move_only_with_images_that_do():
    traces = torch.zeros(2, 1, 256)
    traces[:, 0, 8 * 16 + 8] = 1.0
    numbers = torch.zeros(2, NUMBERS)
    numbers[1, 0] = 0.5
    moved = translate_traces(traces, numbers, AugmentationConfig(translation=0.125), 64, strength=0.5)
    assert moved[0, 0].nonzero().item() == 6 * 16 + 6
    assert torch.equal(moved[1], traces[1])


# ------------------------------------------------------------------------------------------- noise on the sentence


def test_each_sentence_moves_by_a_share_of_its_length():
    torch.manual_seed(0)
    sentences, noise = torch.randn(5, 7, dtype=torch.float64), torch.randn(5, 7, dtype=torch.float64)
    moved = perturb(sentences, noise, 0.3)
    torch.testing.assert_close((moved - sentences).norm(dim=1), 0.3 * sentences.norm(dim=1))
    torch.testing.assert_close(perturb(2 * sentences, noise, 0.3), 2 * moved)  # whatever the encoder's scale
    torch.testing.assert_close(perturb(sentences, 5 * noise, 0.3), moved)
    assert torch.equal(perturb(sentences, noise, 0.0), sentences)


def test_the_generator_alone_sees_the_noise_and_every_example_has_its_own(config):
    config = having(config, augmentation=AugmentationConfig(sentence_noise=0.5))
    batch, again = batches_of(config, 1)[0], batches_of(config, 1)[0]
    assert torch.equal(batch.sentence_noise_BD, again.sentence_noise_BD)
    assert batch.augmentation_BU is None
    assert batch.sentence_noise_BD.shape == batch.text.sentence_BD.shape
    assert len(batch.sentence_noise_BD.unique(dim=0)) == len(batch.noise_BZ)
    assert not torch.equal(batch.sentence_noise_BD[:, :8], batch.noise_BZ)
    state, seen = started(config), []
    state.generator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1].sentence_BD))
    state.discriminator.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1].sentence_BD))
    train_step(state, [batch])
    noisy = text_for_generator(batch, 0.5).sentence_BD
    assert torch.equal(seen[0], noisy)
    assert len(seen) == 3
    assert all(torch.equal(each, batch.text.sentence_BD) for each in seen[1:])


def test_without_augmentation_batches_are_unchanged(config):
    assert batches_of(config, 1)[0].sentence_noise_BD is None
    with_noise = batches_of(having(config, augmentation=replace(config.augmentation, sentence_noise=0.1)), 1)[0]
    assert torch.equal(with_noise.noise_BZ, batches_of(config, 1)[0].noise_BZ)
