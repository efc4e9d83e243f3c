"""Gradient caching gives the gradients of the whole batch; activation checkpointing changes no bit."""

import functools
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import ranks as ranks_module
import xmcgan.training.forward as forward_module
from ranks import as_ranks, batch_of, step_of, training_of
from steps import TEXT_DIM, random_batch
from tiny import contents, different, logged, run
from xmcgan.config import Config
from xmcgan.inference.model_files import newest_checkpoint
from xmcgan.runtime import distributed
from xmcgan.training.forward import generate
from xmcgan.training.gradient_cache import split_batch
from xmcgan.training.state import TrainingState, check_batch_size, initial_state
from xmcgan.training.step import train_step
from xmcgan.types import Batch

FLOAT32, FLOAT64, CPU = torch.float32, torch.float64, torch.device("cpu")
ALLOWED = {FLOAT64: 1e-10, FLOAT32: 1e-6}
BATCH = 4


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(ranks_module, "BATCH", BATCH)


@functools.cache
def step(
    dtype: torch.dtype,
    discriminator_steps: int = 1,
    *,
    micro_batch: int | None = None,
    checkpointed: bool = False,
    precision: torch.dtype | None = None,
    generator_trains: bool = True,
    without: tuple[str, ...] = (),
) -> dict:
    """Report, gradients and state of one step, with every loss there is, from the same weights and batches.

    Computed once: many tests compare with the same plain step, and none may write into it.
    """
    torch.manual_seed(0)
    training = training_of(dtype)
    training.micro_batch, training.precision = micro_batch, precision or training.precision
    training.generator.checkpoint_activations = checkpointed
    training.discriminator.network.checkpoint_activations = checkpointed
    training.generator.train(generator_trains)
    weights = replace(training.objective.weights, **dict.fromkeys(without, 0.0))
    training.objective = replace(training.objective, weights=weights)
    return step_of(training, dtype, discriminator_steps)


def norm(gradients: dict[str, Tensor]) -> float:
    return float(torch.cat([gradient.flatten() for gradient in gradients.values()]).norm())


def off(ours: dict, theirs: dict) -> float:
    """The largest difference of a parameter's gradient, in units of its network's whole gradient."""
    assert ours["gradients"].keys() == theirs["gradients"].keys()
    return max(
        float((ours["gradients"][phase][name] - gradient).norm()) / norm(gradients)
        for phase, gradients in theirs["gradients"].items()
        for name, gradient in gradients.items()
    )


def in_parts(rows: int) -> Callable[[TrainingState, Batch], Tensor]:
    """``generate`` of a whole batch, but each part normalised by itself: a generator as micro-batches see it."""
    return lambda training, batch: torch.cat([generate(training, part) for part in split_batch(batch, rows)])


# ------------------------------------------------------------------------------------------------- micro-batches


@pytest.mark.parametrize(("dtype", "rows"), [(FLOAT64, 1), (FLOAT64, 2), (FLOAT32, 2)])
def test_gradients_equal_those_of_the_whole_batch(dtype, rows):
    """Of both networks, with every loss, where batch norm has fixed statistics; and so is every loss."""
    plain = step(dtype, generator_trains=False)
    ours = step(dtype, generator_trains=False, micro_batch=rows)
    assert off(ours, plain) <= ALLOWED[dtype]
    assert {"image_encoder", "real_trace", "fake_word"} <= plain["report"].keys()
    torch.testing.assert_close(ours["report"], plain["report"], rtol=ALLOWED[dtype], atol=ALLOWED[dtype])


def test_only_batch_norm_differs(monkeypatch):
    """Where the plain step's images are normalised in parts too: all gradients and what is left of two phases."""
    ours = step(FLOAT64, 2, micro_batch=1)
    without = step(FLOAT64, 2)
    monkeypatch.setattr(forward_module, "generate", in_parts(1))
    plain = step.__wrapped__(FLOAT64, 2)
    assert off(ours, plain) <= 1e-10
    torch.testing.assert_close(ours["left"], plain["left"], rtol=1e-10, atol=1e-12)
    assert off(ours, without) > 1e-2


@pytest.mark.parametrize(("rows", "calls"), [(None, 2 * BATCH), (2, 3 * BATCH)])
def test_frozen_encoder_encodes_real_images_once(rows, calls):
    """At a generated one twice in micro-batches: first without a graph."""
    training = training_of(FLOAT32)
    training.micro_batch = rows
    seen: list[int] = []
    assert training.image_encoder is not None
    training.image_encoder.register_forward_pre_hook(lambda _encoder, images: seen.append(len(images[0])))
    train_step(training, [batch_of(number, FLOAT32) for number in range(2)])
    assert sum(seen) == calls


def repeated(batch: Batch, rows: int) -> Batch:
    """The first rows of a batch, again and again."""
    numbers = torch.arange(BATCH) % rows
    return Batch(
        batch.images_B3HW[numbers], batch.text.rows(numbers), batch.noise_BZ[numbers], batch.traces_BTR[numbers]
    )


def test_micro_batches_with_equal_statistics_match_the_plain_step(config, monkeypatch):
    """Batch norm in training, each micro-batch a copy of the other; the running statistics end at the same place."""
    results = []
    for rows in (None, 2):
        training = training_of(FLOAT64)
        training.micro_batch = rows
        if rows is not None:  # as ``start`` does it
            momentum = {name: each.momentum for name, each in norms(started(config, micro_batch=2, batch_size=4))}
            for name, module in norms(training):
                module.momentum = momentum[name]
        train_step(training, [repeated(batch_of(number, FLOAT64), 2) for number in range(2)])
        kept = {"generator": training.generator_optimizer.kept, "discriminator": training.discriminator_optimizer.kept}
        gradients = {f"{name} {number}": each for name, all_ in kept.items() for number, each in enumerate(all_)}
        results.append({"gradients": gradients, "left": training.generator.state_dict()})
    assert off(results[1], results[0]) <= 1e-10
    torch.testing.assert_close(results[1]["left"], results[0]["left"], rtol=1e-9, atol=1e-12)


def norms(training: TrainingState) -> list[tuple[str, torch.nn.Module]]:
    found = [(name, module) for name, module in training.generator.named_modules() if hasattr(module, "momentum")]
    assert len(found) == 9
    return found


def started(config: Config, **changes) -> TrainingState:
    return initial_state(replace(config, training=replace(config.training, **changes)), 32, CPU)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_a_whole_batch_moves_the_running_statistics_by_a_tenth(config, parts):
    training = started(config, batch_size=8, micro_batch=8 // parts)
    for _, module in norms(training):
        left = (1 - module.momentum) ** parts
        assert math.isclose(left, 0.9, rel_tol=1e-12)
    assert all(module.momentum == 0.1 for _, module in norms(started(config, batch_size=8)))


def test_running_statistics_move_once_a_micro_batch():
    """After n_D = 2 they are what one forward pass of each part of the last batch, in turn, makes of them."""
    training, batches = training_of(FLOAT64), [batch_of(number, FLOAT64) for number in range(2)]
    training.micro_batch = 2
    expected = training_of(FLOAT64).generator
    with torch.no_grad():
        for part in split_batch(batches[1], 2):
            expected(part.noise_BZ, part.text)
    train_step(training, batches)
    for (name, buffer), wanted in zip(training.generator.named_buffers(), expected.buffers(), strict=True):
        assert torch.equal(buffer, wanted), name


@pytest.mark.parametrize("without", [("image_encoder", "trace"), ("word",), ("image_discriminator",)])
def test_without_some_losses(without):
    plain = step(FLOAT64, generator_trains=False, without=without)
    assert off(step(FLOAT64, generator_trains=False, micro_batch=2, without=without), plain) <= 1e-10


def test_the_hinge_alone(config):
    """Weights of features that no loss is made of get no gradient."""
    off = dict.fromkeys(("sentence", "word", "image_discriminator"), 0.0)
    training = initial_state(replace(config, losses=replace(config.losses, **off)), 12, CPU)
    training.micro_batch = 2
    before = training.discriminator.network.region_projection.weight.clone()
    report = train_step(training, [batch_of(0, FLOAT32)])
    assert set(report) == {"d_loss", "g_loss", "d_hinge", "g_hinge"}
    assert torch.equal(training.discriminator.network.region_projection.weight, before)


def test_in_bfloat16_gradients_differ_by_its_rounding():
    """By far less than if a layer's weights, which autocast remembers in bfloat16, had lost their graph."""
    plain = step(FLOAT32, precision=torch.bfloat16, generator_trains=False)
    ours = step(FLOAT32, precision=torch.bfloat16, generator_trains=False, micro_batch=2)
    assert off(ours, plain) < 5e-3
    assert all(gradient.any() for each in ours["gradients"].values() for gradient in each.values())
    torch.testing.assert_close(ours["report"], plain["report"], rtol=1e-2, atol=1e-2)


def test_the_power_iteration_moves_once_a_step():
    plain, ours = step(FLOAT64, generator_trains=False), step(FLOAT64, generator_trains=False, micro_batch=2)
    vectors = [name for name in plain["left"] if name.endswith(".u")]
    assert vectors
    for name in vectors:
        assert torch.equal(ours["left"][name], plain["left"][name]), name


def in_two_ranks(folder: Path) -> None:
    with distributed.process_group(CPU):
        fixed = step.__wrapped__(FLOAT64, 2, micro_batch=1, generator_trains=False)
        trains = step.__wrapped__(FLOAT64, 2, micro_batch=1)
        torch.save((fixed, trains), folder / f"{os.environ['RANK']}.pt")


@pytest.mark.slow
def test_two_ranks_with_micro_batches(tmp_path):
    """Fixed statistics: one process' plain step. Else both ranks hold the same bits."""
    assert as_ranks(2, in_two_ranks, tmp_path) == [0, 0]
    (fixed, trains), (fixed_1, trains_1) = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert off(fixed, step(FLOAT64, 2, generator_trains=False)) <= 1e-10
    for one, other in ((fixed, fixed_1), (trains, trains_1)):
        assert different(one["left"], other["left"]) == []
    assert off(trains, step(FLOAT64, 2)) > 1e-2


def test_uneven_micro_batches_are_rejected(config):
    batch_of_8 = replace(config, training=replace(config.training, batch_size=8, micro_batch=3))
    with pytest.raises(ValueError, match=r"training\.micro_batch is 3, which does not divide the 8 examples of train"):
        check_batch_size(batch_of_8, 1)
    four = replace(batch_of_8, training=replace(batch_of_8.training, micro_batch=4))
    check_batch_size(four, 2)
    with pytest.raises(
        ValueError, match=r"micro_batch is 4, which does not divide the 2 examples that each of 4 ranks"
    ):
        check_batch_size(four, 4)


def test_rejected_micro_batch_does_not_claim_the_folder(config, tmp_path):
    with pytest.raises(ValueError, match=r"training\.micro_batch is 3"):
        run(replace(config, training=replace(config.training, micro_batch=3)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# ------------------------------------------------------------------------------------ activations computed twice


@pytest.mark.parametrize(("micro_batch", "precision"), [(None, FLOAT32), (2, FLOAT32), (2, torch.bfloat16)])
def test_checkpointed_blocks_change_no_bit(micro_batch, precision):
    """Gradients, running statistics, the vectors of the power iterations, weights, average, losses."""
    plain, ours = (
        step(FLOAT32, 2, precision=precision, micro_batch=micro_batch, checkpointed=checkpointed)
        for checkpointed in (False, True)
    )
    for phase, gradients in plain["gradients"].items():
        assert different(gradients, ours["gradients"][phase]) == []
    assert different(plain["left"], ours["left"]) == []
    assert different(plain["report"], ours["report"]) == []


class Kept:
    """A tensor that autograd keeps, counted as long as it does."""

    alive, most = 0, 0

    def __init__(self, tensor: Tensor):
        # Detached: an output that its own node keeps would hold itself.
        self.tensor, self.bytes = tensor.detach(), tensor.numel() * tensor.element_size()
        Kept.alive += self.bytes
        Kept.most = max(Kept.most, Kept.alive)

    def __del__(self):
        Kept.alive -= self.bytes


def most_kept(**how) -> int:
    """The most bytes kept for a backward pass at any time of a step."""
    Kept.alive = Kept.most = 0
    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        step.__wrapped__(FLOAT32, 1, **how)
    assert Kept.alive == 0
    return Kept.most


def test_what_is_kept_for_the_backward_pass():
    plain = most_kept()
    assert most_kept(micro_batch=2) < 0.6 * plain
    assert most_kept(micro_batch=1) < 0.35 * plain
    assert most_kept(checkpointed=True) < 0.5 * plain


# --------------------------------------------------------------------------------------------------- whole runs


@pytest.mark.slow
def test_a_run_with_both_resumes_to_the_same_bits(config, tmp_path):
    both = {"micro_batch": 2, "checkpoint_activations": True}
    small = replace(config, training=replace(config.training, **both, discriminator_steps=1, steps=2))
    run(small, tmp_path / "straight")
    run(replace(small, training=replace(small.training, steps=1)), tmp_path / "resumed")
    run(small, tmp_path / "resumed")
    assert logged(tmp_path / "straight") == logged(tmp_path / "resumed")
    ends = [contents(newest_checkpoint(tmp_path / name / "checkpoints")) for name in ("straight", "resumed")]
    assert different(*ends) == []


def test_a_micro_batch_is_part_of_the_run(config, tmp_path):
    """Other batch-norm statistics are another run; activations computed twice are not."""
    one = replace(config, training=replace(config.training, steps=1, discriminator_steps=1))
    run(one, tmp_path / "run")
    with pytest.raises(ValueError, match=r"training\.micro_batch was None and is 2"):
        run(replace(one, training=replace(one.training, micro_batch=2)), tmp_path / "run")
    twice = replace(one, training=replace(one.training, steps=2, checkpoint_activations=True))
    assert run(twice, tmp_path / "run") == 2


def test_micro_batches_give_the_discriminators_losses_of_the_whole_batch(plus):
    """Its terms only: batch norm sees micro-batches, so generated images differ."""
    batch = random_batch(8, plus.generator.noise_dim)
    reports = []
    for micro_batch in (None, 4):
        config = replace(plus, training=replace(plus.training, batch_size=8, micro_batch=micro_batch))
        reports.append(train_step(initial_state(config, TEXT_DIM, CPU), [batch]))
    for name in ("real_sentence", "real_word"):
        torch.testing.assert_close(reports[0][name], reports[1][name], rtol=1e-4, atol=1e-5)
