"""Algorithm 1 step by step, and the run around it: interrupted, resumed, diverged, or asked for another thing."""

import copy
import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from PIL import Image

import xmcgan.training.loop as loop_module
import xmcgan.training.signals as signals_module
from tiny import contents, different, files, flags, logged, run, tiny_config
from xmcgan.cli.main import main
from xmcgan.config import Config, EvaluationConfig
from xmcgan.data.layouts import read_records
from xmcgan.encoders.text import TextEncoder
from xmcgan.inference.model_files import checkpoints, load_generator, newest_checkpoint
from xmcgan.training.batches import embedded_batches
from xmcgan.training.ema import EMA
from xmcgan.training.log import Log
from xmcgan.training.loop import train
from xmcgan.training.run_folder import MAY_CHANGE, claim_run_folder
from xmcgan.training.signals import stop_signals
from xmcgan.training.state import TrainingDiverged, TrainingState, initial_state
from xmcgan.training.step import train_step
from xmcgan.training.validation import Evaluation
from xmcgan.types import Batch

CPU = torch.device("cpu")
ROUNDS_OTHERWISE = ("compile", "fused", "tf32", "channels_last")  # of training; test_switches.py


def having(config: Config, **changes) -> Config:
    """The configuration with some fields, by dotted name with __ for the dot, set to other values."""
    for name, value in changes.items():
        section, _, field = name.rpartition("__")
        part = {section: replace(getattr(config, section), **{field: value})} if section else {field: value}
        config = replace(config, **part)
    return config


def batches_of(config: Config, count: int) -> list[Batch]:
    """The first batches of a run."""
    records = read_records(Path(config.data), "coco", "train2014")
    encoder = TextEncoder(config.text.encoder, max_length=config.text.max_length, layers=config.text.layers)
    return list(islice(embedded_batches(config, records, encoder, CPU, start=0), count))


def started(config: Config) -> TrainingState:
    return initial_state(config, 32, CPU)


def last_of(output: Path) -> dict[str, object]:
    return contents(newest_checkpoint(output / "checkpoints"))


# ----------------------------------------------------------------------------------------------------- one step


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


@pytest.mark.parametrize("count", [1, 2, 3])
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
    training = started(config)
    for _ in range(2):
        report = train_step(training, batches_of(config, 2))
        assert all(value.isfinite() for value in report.values())
    weights = [*training.generator.parameters(), *training.discriminator.parameters()]
    assert {weight.dtype for weight in weights} == {torch.float32}
    assert all(weight.isfinite().all() for weight in weights)
    plain = train_step(started(having(config, training__precision="float32")), batches_of(config, 2))
    assert plain["d_loss"] != train_step(started(config), batches_of(config, 2))["d_loss"]  # it is in use


def test_the_discriminator_learns_a_fixed_batch(config):
    config = having(config, training__discriminator_lr=1e-3, training__generator_lr=1e-9)
    training, batches = started(config), batches_of(config, 1)
    reports = [train_step(training, batches) for _ in range(31)]
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
    config = having(config, training__discriminator_lr=1e-9, training__generator_lr=2e-3, **weights)
    training, batches = started(config), batches_of(config, 1)
    for _ in range(50):  # the spectral norms' estimates change at first, and with them what it judges
        training.discriminator.normalised_weights()
    reports = [train_step(training, batches) for _ in range(31)]
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
    training = started(config)
    report = train_step(training, batches_of(config, 2))
    assert all(value.isfinite() for value in report.values())
    size = config.image_size
    text = batches_of(config, 1)[0].text
    images = training.ema.network(torch.zeros(len(text.mask_BT), 8), text).images_B3HW
    assert images.shape == (config.training.batch_size, 3, size, size)


def test_without_contrastive_losses_only_the_hinges_are_left(config):
    config = having(config, losses__sentence=0.0, losses__word=0.0, losses__image_discriminator=0.0)
    report = train_step(started(config), batches_of(config, 1))
    assert set(report) == {"d_loss", "g_loss", "d_hinge", "g_hinge"}
    assert report["d_loss"] == report["d_hinge"]


def test_the_parts_are_a_function_of_the_seed(config):
    torch.manual_seed(5)
    one = started(config)
    torch.manual_seed(6)
    two, other = started(config), started(having(config, training__seed=1))
    for left, right in zip(one.generator.parameters(), two.generator.parameters(), strict=True):
        assert torch.equal(left, right)
    assert not torch.equal(one.generator.stem.weight, other.generator.stem.weight)
    critics = [each.discriminator.network.unconditional.weight for each in (one, other)]
    assert not torch.equal(*critics)


# ---------------------------------------------------------------------------------------------------- the average


class Weights(torch.nn.Module):
    def __init__(self, value: float):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((2,), value))
        self.register_buffer("running_mean", torch.full((2,), value))


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_the_average_is_exponential_and_copies_buffers(decay):
    network = Weights(0.0)
    ema, expected = EMA(network, decay=decay), 0.0
    for value in (1.0, 4.0, -2.0):
        with torch.no_grad():
            network.weight.fill_(value)
            network.running_mean.fill_(value)
        ema.update(network)
        expected = decay * expected + (1 - decay) * value
        assert ema.network.weight.tolist() == pytest.approx([expected] * 2)
        assert ema.network.running_mean.tolist() == [value] * 2
    assert ema.updates == 3


def test_the_warm_up_holds_the_decay_down_at_first():
    network = Weights(0.0)
    ema, expected = EMA(network, decay=0.5, warmup=True), 0.0
    for number in range(20):
        with torch.no_grad():
            network.weight.fill_(number)
        ema.update(network)
        decay = min(0.5, (1 + number) / (10 + number))  # 0.1, 2/11, ...; 0.5 from the ninth on
        expected = decay * expected + (1 - decay) * number
        assert ema.network.weight.tolist() == pytest.approx([expected] * 2)


def test_the_average_starts_as_a_frozen_copy():
    network = Weights(3.0)
    ema = EMA(network)
    assert ema.network is not network
    assert not ema.network.training
    assert not ema.network.weight.requires_grad
    assert ema.network.weight.tolist() == [3.0, 3.0]
    assert network.training
    assert network.weight.requires_grad


@pytest.mark.parametrize("decay", [1.0, -0.1, math.nan])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(ValueError, match=rf"training\.ema_decay is {decay}"):
        EMA(Weights(0.0), decay=decay)


def test_the_average_is_taken_after_the_update(config):
    config = having(config, training__ema_decay=0.0)
    training = started(config)
    train_step(training, batches_of(config, 1))
    for average, weight in zip(training.ema.network.parameters(), training.generator.parameters(), strict=True):
        assert torch.equal(average, weight)


# -------------------------------------------------------------------------------------------------------- a run


def test_what_a_run_leaves(trained, config):
    assert {path.name for path in trained.iterdir()} == {
        "checkpoints",
        "config.json",
        "log.jsonl",
        "samples",
        "tensorboard",
    }
    assert [folder.name for folder in checkpoints(trained / "checkpoints")] == [
        "step-00000002",
        "step-00000004",
        "step-00000006",
    ]
    assert [line["step"] for line in logged(trained)] == [1, 2, 3, 4, 5, 6]
    (grid,) = (trained / "samples").iterdir()
    assert grid.name == "step-00000006.png"
    with Image.open(grid) as image:
        assert image.size == (2 * 66 + 2, 2 * 66 + 2)  # four captions
    known = json.loads((trained / "config.json").read_text())
    assert known["data"]["records"] == 24
    assert known["config"]["generator"]["width"] == 4


def test_the_log_is_the_mean_since_its_last_line(config, tmp_path, trained):
    run(having(config, training__steps=5, training__log_every=2), tmp_path / "run")
    every, seldom = logged(trained), logged(tmp_path / "run")
    assert [line["step"] for line in seldom] == [2, 4, 5]
    assert seldom[1]["d_loss"] == pytest.approx((every[2]["d_loss"] + every[3]["d_loss"]) / 2, rel=1e-6)
    assert seldom[2]["g_loss"] == every[4]["g_loss"]


def test_old_checkpoints_go(config, tmp_path):
    run(having(config, training__steps=3, training__checkpoint_every=1, training__keep_checkpoints=2), tmp_path / "run")
    kept = [path.name for path in (tmp_path / "run/checkpoints").iterdir()]
    assert sorted(kept) == ["step-00000002", "step-00000003"]


def test_a_finished_run_stays_as_it_is(trained, config, tmp_path):
    output = Path(shutil.copytree(trained, tmp_path / "run"))
    before = files(output / "checkpoints")
    assert run(having(config, training__steps=6), output) == 6
    assert files(output / "checkpoints") == before
    assert logged(output) == logged(trained)


# ------------------------------------------------------------------------------------------ interrupted, resumed


def test_a_resumed_run_is_the_uninterrupted_one(config, tmp_path, trained):
    """Every tensor of the last checkpoint (weights, statistics, Adam, average) and every loss, to the last bit."""
    assert run(having(config, training__steps=3), tmp_path / "run") == 3
    assert run(having(config, training__steps=6), tmp_path / "run") == 6
    assert different(last_of(trained), last_of(tmp_path / "run")) == []
    assert logged(tmp_path / "run") == logged(trained)
    grids = [(output / "samples/step-00000006.png").read_bytes() for output in (trained, tmp_path / "run")]
    assert grids[0] == grids[1]


def test_it_would_be_noticed_if_something_was_not_resumed(config, tmp_path, trained, monkeypatch):
    """The comparison above can fail: without the state of Adam the run ends elsewhere."""
    run(having(config, training__steps=3), tmp_path / "run")
    monkeypatch.setattr("xmcgan.training.checkpoint.load_adam_state", lambda *_arguments: None)
    run(having(config, training__steps=6), tmp_path / "run")
    assert len(different(last_of(trained), last_of(tmp_path / "run"))) > 50


def test_a_killed_run_forgets_what_is_later_than_its_checkpoint(config, tmp_path, trained):
    """Log lines after the newest checkpoint, and one that was torn, are made anew."""
    output = Path(shutil.copytree(trained, tmp_path / "run"))
    shutil.rmtree(output / "checkpoints/step-00000006")
    with (output / "log.jsonl").open("a") as log:
        log.write('{"step": 7, "d_lo')
    assert run(having(config, training__steps=6), output) == 6
    assert logged(output) == logged(trained)
    assert different(last_of(trained), last_of(output)) == []


def signalling(function, number: int, at: int):
    """The function, at whose at-th call the signal comes."""
    calls = 0

    def wrapped(*arguments, **named):
        nonlocal calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), number)
        return function(*arguments, **named)

    return wrapped


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_after_the_step_and_exits_130(config, tmp_path, trained, monkeypatch, number, capsys):
    command = flags(having(config, training__steps=6), tmp_path / "run")
    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    with monkeypatch.context() as patch:
        patch.setattr(loop_module, "train_step", signalling(train_step, number, at=3))
        assert main(command) == 130
    assert "stopped and saved at step 3 of 6" in capsys.readouterr().out
    assert newest_checkpoint(tmp_path / "run/checkpoints").name == "step-00000003"
    assert {each: signal.getsignal(each) for each in handlers} == handlers
    assert main(command) == 0
    assert different(last_of(trained), last_of(tmp_path / "run")) == []
    assert logged(tmp_path / "run") == logged(trained)


def test_a_signal_between_step_and_saving_is_not_lost(config, tmp_path, monkeypatch):
    """It comes when it is decided already that step 3 needs no checkpoint: what is reported must still be saved."""
    monkeypatch.setattr(Log, "write", signalling(Log.write, signal.SIGTERM, at=3))
    reached = run(having(config, training__steps=6, training__checkpoint_every=1000), tmp_path / "run")
    assert reached < 6
    assert int(newest_checkpoint(tmp_path / "run/checkpoints").name.removeprefix("step-")) == reached


def test_a_second_ctrl_c_interrupts_at_once(config, tmp_path, monkeypatch):
    twice = signalling(signalling(train_step, signal.SIGINT, at=2), signal.SIGINT, at=2)
    monkeypatch.setattr(loop_module, "train_step", twice)
    # A shell starts what runs in the background with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(having(config, training__steps=6), tmp_path / "run")
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("ranks", "outlives"), [(1, False), (2, True)])
def test_after_an_error_a_rank_among_others_outlives_torchruns_sigterm(monkeypatch, ranks, outlives):
    monkeypatch.setattr(signals_module, "world_size", lambda: ranks)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(RuntimeError), stop_signals():
            raise RuntimeError("another rank has ended")
        assert (signal.getsignal(signal.SIGTERM) is not before[signal.SIGTERM]) == outlives
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_terminated_process_is_resumed_to_the_same_bits(config, tmp_path):
    """SIGTERM to a process of its own, in the middle; then the same command again."""
    config = having(config, training__steps=40, training__checkpoint_every=1000)
    command, output = flags(config, tmp_path / "run"), tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "xmcgan", *command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if (output / "log.jsonl").exists() and len((output / "log.jsonl").read_text().splitlines()) >= 2:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    printed = process.communicate(timeout=60)[0]
    assert process.returncode == 130, printed
    stopped = int(newest_checkpoint(output / "checkpoints").name.removeprefix("step-"))
    assert 2 <= stopped < 40
    assert f"stopped and saved at step {stopped} of 40" in printed

    assert main(command) == 0
    run(config, tmp_path / "straight")
    assert different(last_of(tmp_path / "straight"), last_of(output)) == []
    assert logged(output) == logged(tmp_path / "straight")


# ------------------------------------------------------------------------------------------------------- diverged


def poisoned(weight_of, at: int, *, after: bool = False):
    """train_step, with a weight that stops being a number before (or after) its at-th call."""
    calls = 0

    def wrapped(training, batches):
        nonlocal calls
        calls += 1
        report = train_step(training, batches) if after else None
        if calls == at:
            with torch.no_grad():
                weight_of(training).fill_(math.nan)
        return report or train_step(training, batches)

    return wrapped


def test_a_loss_that_is_no_number_stops_the_run_and_spares_the_checkpoint(config, tmp_path, trained, monkeypatch):
    config = having(config, training__steps=6)
    with monkeypatch.context() as patch:
        patch.setattr(loop_module, "train_step", poisoned(lambda each: each.generator.to_rgb.weight, at=4))
        with pytest.raises(TrainingDiverged, match=r"^step 4: .*g_hinge is nan.*training\.discriminator_lr"):
            run(config, tmp_path / "run")
    assert [folder.name for folder in checkpoints(tmp_path / "run/checkpoints")] == ["step-00000002"]
    # It is loadable, and as good as if nothing had happened.
    assert run(config, tmp_path / "run") == 6
    assert different(last_of(trained), last_of(tmp_path / "run")) == []
    assert logged(tmp_path / "run") == logged(trained)


def test_a_weight_that_is_no_number_is_never_saved(config, tmp_path, monkeypatch):
    """The losses of step 4 are finite still, but the weights after it are not."""
    weight = "network.unconditional.weight"
    poison = poisoned(lambda each: each.discriminator.get_parameter(weight), at=4, after=True)
    monkeypatch.setattr(loop_module, "train_step", poison)
    with pytest.raises(TrainingDiverged, match=rf"^step 4: Discriminator's weight {weight} is not finite"):
        run(having(config, training__steps=6), tmp_path / "run")
    assert newest_checkpoint(tmp_path / "run/checkpoints").name == "step-00000002"


def test_the_command_line_says_where_it_diverged(config, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loop_module, "train_step", poisoned(lambda each: each.generator.stem.weight, at=2))
    assert main(flags(config, tmp_path / "run")) == 3
    assert "xmcgan: training stopped at step 2: " in capsys.readouterr().err


# ----------------------------------------------------------------------------------------- the same output again


@pytest.fixture
def output(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("training__discriminator_lr", 1e-3, r"training\.discriminator_lr was 0\.0004 and is 0\.001"),
        ("training__seed", 5, r"training\.seed was 0 and is 5"),
        ("training__batch_size", 8, r"training\.batch_size was 4 and is 8"),
        ("generator__width", 6, r"generator\.width was 4 and is 6"),
        ("text__max_length", 20, r"text\.max_length was 17 and is 20"),
        ("losses__word", 0.5, r"losses\.word was 1\.0 and is 0\.5"),
        ("dataset__flip", True, r"dataset\.flip was False and is True"),
        ("training__precision", "bfloat16", r"training\.precision was 'float32' and is 'bfloat16'"),
    ],
)
def test_other_settings_are_refused_and_named(output, config, name, value, said):
    before = files(output)
    with pytest.raises(ValueError, match=rf"holds a run with other settings: {said}\. Choose another --output"):
        run(having(config, **{name: value}), output)
    assert files(output) == before


def test_all_settings_that_differ_are_named(output, config):
    with pytest.raises(ValueError, match=r"generator\.width was 4 and is 6; training\.seed was 0 and is 5"):
        run(having(config, generator__width=6, training__seed=5), output)


def test_settings_that_do_not_change_the_next_step_may_change(config, trained, tmp_path, scenes):
    """All of MAY_CHANGE at once, but for what rounds otherwise (test_switches.py); the run goes on to the same bits."""
    run(having(config, training__steps=2), tmp_path / "run")
    moved = shutil.copytree(scenes, tmp_path / "moved")
    changes = {
        "data": str(moved),
        "dataset.workers": 1,
        "dataset.pin_memory": False,
        "text.cache_mb": 0,
        "training.checkpoint_activations": True,
        "training.device": "auto",
        "training.prefetch": 2,
        "training.steps": 6,
        "training.log_every": 3,
        "training.sample_every": 4,
        "training.checkpoint_every": 6,
        "training.keep_checkpoints": 1,
    }
    changes |= {f"evaluation.{name}": value for name, value in vars(EvaluationConfig(count=7)).items()}
    assert set(changes) | {f"training.{name}" for name in ROUNDS_OTHERWISE} == MAY_CHANGE
    changed = having(config, **{name.replace(".", "__"): value for name, value in changes.items()})
    assert run(changed, tmp_path / "run") == 6
    assert different(last_of(trained), last_of(tmp_path / "run")) == []
    assert json.loads((tmp_path / "run/config.json").read_text())["config"]["training"]["log_every"] == 3


def test_every_other_setting_is_refused(output, config):
    """No field slips through between MAY_CHANGE and those that are compared."""
    from xmcgan.config import flatten, from_dict, to_dict

    for name in set(flatten(to_dict(config))) - MAY_CHANGE:
        values = to_dict(config)
        section, _, field = name.rpartition(".")
        part = values[section] if section else values
        part[field] = f"{part[field]}-x" if isinstance(part[field], str) else 0.25
        if name in ("losses.encoder", "losses.encoder_weights"):
            values["losses"]["image_encoder"] = 1.0  # they go together
        if name == "losses.trace":
            values["dataset"]["layout"] = "localized-narratives"
        try:
            other = from_dict(values)
        except ValueError:
            part[field] = 7
            other = from_dict(values)
        records = read_records(Path(config.data), "coco", "train2014")
        with pytest.raises(ValueError, match=rf"{name.replace('.', '[.]')} was "):
            claim_run_folder(output, other, records)


@pytest.mark.parametrize(
    "change",
    [
        lambda records: records[:-1],
        lambda records: [*records, records[0]],
        lambda records: records[::-1],
        lambda records: [records[0]._replace(id="other"), *records[1:]],
        lambda records: [records[0]._replace(captions=records[0].captions[1:]), *records[1:]],
    ],
    ids=["fewer", "more", "another order", "another id", "fewer captions"],
)
def test_other_data_are_refused(output, config, change):
    records, before = read_records(Path(config.data), "coco", "train2014"), files(output)
    with pytest.raises(ValueError, match=r"holds a run on other data: it had 24 records, there are 2\d now"):
        train(config, output, records=change(records), sample_captions=["a car"])
    assert files(output) == before


@pytest.mark.parametrize(
    "held",
    [
        {"notes.txt": "mine"},
        {"checkpoints/step-00000002/mine": ""},
        {"config.json": "not JSON"},
        {"config.json": "[]"},
        {"config.json": '{"model_type": "bert"}'},
        {"config.json": '{"config": 5}'},
    ],
    ids=lambda held: next(iter(held.items()))[0] + " " + next(iter(held.values())),
)
def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path, config, held):
    for name, text in held.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    before = files(tmp_path)
    with pytest.raises(ValueError, match=rf"{tmp_path.name}.*(choose another --output|is not JSON)"):
        run(config, tmp_path)
    assert files(tmp_path) == before


def test_an_empty_folder_may_be_used(tmp_path, config):
    assert run(having(config, training__steps=1), tmp_path) == 1


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("text__encoder", "nobody/knows-this-encoder", r"text\.encoder is 'nobody"),
        ("text__max_length", 2, r"text\.max_length is 2"),
        ("losses__word", -1.0, r"losses\.word is -1"),
        ("training__device", "nowhere", r"device is 'nowhere'"),
    ],
)
def test_a_setting_that_is_refused_does_not_take_the_folder(tmp_path, config, name, value, said):
    """The corrected command may name the same output."""
    with pytest.raises(ValueError, match=said):
        run(having(config, **{name: value}), tmp_path / "run")
    assert run(having(config, training__steps=1), tmp_path / "run") == 1


def test_the_last_checkpoint_is_named_if_it_is_damaged(output, config):
    path = output / "checkpoints/step-00000006/training/discriminator.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"step-00000006/training/discriminator\.safetensors is damaged"):
        run(having(config, training__steps=8), output)


def test_a_damaged_image_is_named(tmp_path, config, scenes):
    data = Path(shutil.copytree(scenes, tmp_path / "data"))
    for path in (data / "train2014").iterdir():
        path.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"train2014/COCO_train2014_\d+\.jpg cannot be read as an image"):
        run(tiny_config(data, Path(config.text.encoder)), tmp_path / "run")


def test_validation_keeps_the_best_generator(config, tmp_path):
    """Scores rise and fall: the best stays, whichever came last; the log has every value."""
    judged = replace(config, evaluation=EvaluationConfig(every=1))
    records = read_records(Path(config.data), "coco", "train2014")
    seen = []

    def evaluate(generator, step):
        assert not generator.training
        seen.append(step)
        return Evaluation({"fid": float(step)}, score=-abs(step - 3.0))

    train(judged, tmp_path / "run", records=records, sample_captions=["a car"], evaluate=evaluate)
    assert seen == [0, 1, 2, 3, 4]
    assert json.loads((tmp_path / "run/best/evaluation.json").read_text())["step"] == 3
    _, _, step = load_generator(tmp_path / "run/best")
    assert step == 3
    lines = [json.loads(line) for line in (tmp_path / "run/evaluations.jsonl").read_text().splitlines()]
    assert [(line["step"], line["fid"]) for line in lines] == [(step, float(step)) for step in range(5)]
    assert sorted(path.name for path in (tmp_path / "run").iterdir() if path.name.startswith(".")) == []


def test_validation_does_not_change_training(config, tmp_path, trained):
    judged = having(config, evaluation__every=2, training__steps=6)
    records = read_records(Path(config.data), "coco", "train2014")
    captions = [record.captions[0] for record in read_records(Path(config.data), "coco", "val2014")[:4]]

    def evaluate(_generator, step):
        torch.rand(3)  # a judge may draw random numbers
        return Evaluation({"is": 1.0}, score=step)

    train(judged, tmp_path / "run", records=records, sample_captions=captions, evaluate=evaluate)
    assert different(last_of(trained), last_of(tmp_path / "run")) == []


def test_fields_of_a_training_are_known():
    """load_into and save name each part; a new one must be added there, and here."""
    assert [field.name for field in dataclasses.fields(TrainingState)] == [
        "generator",
        "discriminator",
        "ema",
        "generator_optimizer",
        "discriminator_optimizer",
        "objective",
        "image_encoder",
        "precision",
        "micro_batch",
        "augmentation",
    ]
