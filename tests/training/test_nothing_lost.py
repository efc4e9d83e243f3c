"""What a run must not lose or mix up: locks, optimizer states, logs, scores."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from tiny import flags, logged, run
from xmcgan.cli.main import main
from xmcgan.runtime.locks import LOCK, locked_folder
from xmcgan.training.checkpoint import read_best
from xmcgan.training.log import truncate_log
from xmcgan.training.validation import Evaluation, keep_best


@pytest.fixture
def copy(trained, tmp_path):
    """A copy of the finished run of six steps, without its last checkpoint."""
    shutil.copytree(trained, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints/step-00000006")
    return tmp_path / "run"


def six(config):
    return replace(config, training=replace(config.training, steps=6))


def test_a_second_process_is_refused_with_the_first_ones_number(config, copy):
    with locked_folder(copy, "trained into"):
        number = (copy / LOCK).read_text().strip()
        with pytest.raises(FileExistsError, match=f"run is being trained into by process {number}"):
            run(six(config), copy)
    assert run(six(config), copy) == 6
    assert not (copy / LOCK).exists()


def test_the_command_line_refuses_it_in_one_line(config, copy, capsys):
    with locked_folder(copy, "trained into"):
        assert main(flags(six(config), copy)) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "is being trained into by process" in line


@pytest.mark.parametrize("kept", [0.5, 0.0])
def test_missing_moments_are_detected(config, copy, kept):
    path = copy / "checkpoints/step-00000004/training/generator_optimizer.safetensors"
    saved = load_file(path)
    names = sorted({name.rpartition("/")[0] for name in saved})
    names = names[: int(kept * len(names))]
    save_file({name: value for name, value in saved.items() if name.rpartition("/")[0] in names}, path)
    with pytest.raises(ValueError, match=r"generator_optimizer\.safetensors is damaged: it holds .* tensors, but"):
        run(six(config), copy)


def test_one_missing_moment_is_named(config, copy):
    path = copy / "checkpoints/step-00000004/training/generator_optimizer.safetensors"
    saved = load_file(path)
    del saved["stem.weight/exp_avg"]
    save_file(saved, path)
    with pytest.raises(ValueError, match=r"of stem\.weight it does not hold all of step, exp_avg, exp_avg_sq"):
        run(six(config), copy)


def test_exchanged_optimizers_are_detected(config, copy):
    folder = copy / "checkpoints/step-00000004/training"
    one, other = folder / "generator_optimizer.safetensors", folder / "discriminator_optimizer.safetensors"
    one.rename(folder / "third")
    other.rename(one)
    (folder / "third").rename(other)
    with pytest.raises(ValueError, match="belongs to another network"):
        run(six(config), copy)


def test_a_damaged_checkpoint_names_the_one_before(config, copy):
    (copy / "checkpoints/step-00000004/generator.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"to resume from step-00000002, move .*step-00000004 away"):
        run(six(config), copy)


def test_a_torn_line_loses_no_other_line(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "d_lo\n{"step": 3}\n{"step": 4}\n{"st')
    truncate_log(path, 3)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 3]


def test_logged_means_are_the_same_across_an_interruption(config, tmp_path):
    """A line every three steps, a checkpoint every two: the checkpoint of step 4 holds the sums of step 4."""
    config = replace(config, training=replace(config.training, steps=6, log_every=3))
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    run(config, whole)
    shutil.copytree(whole, resumed)
    shutil.rmtree(resumed / "checkpoints/step-00000006")
    run(config, resumed)
    assert logged(resumed) == logged(whole)
    assert [line["step"] for line in logged(resumed)] == [3, 6]


def test_scores_of_other_evaluation_settings_are_not_compared(config, tmp_path):
    class State:
        class ema:
            network = torch.nn.Linear(1, 1)

    def keep(step, score, **settings):
        evaluation = replace(config.evaluation, **settings)
        keep_best(State, tmp_path, step, replace(config, evaluation=evaluation), 32, Evaluation({"x": score}, score))
        return read_best(tmp_path / "best")["step"]

    assert keep(1, 5.0, metrics="soa-c") == 1
    assert keep(2, 4.0, metrics="soa-c") == 1
    assert keep(3, -0.5, metrics="fid") == 3  # higher or lower says nothing
    assert keep(4, -0.4, metrics="fid", count=500) == 4
    assert keep(5, -0.6, metrics="fid", count=500) == 4
