"""What ends a run in good health is saved first: a vanished image, a broken display, a second signal."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import xmcgan.training.loop as loop_module
import xmcgan.training.state as state_module
from interrupted import evaluations, same_run, train_with_evaluation, weights_score
from steps import having, last_of
from tiny import contents, different, flags, logged, run, tiny_config
from xmcgan.data.layouts import read_records
from xmcgan.inference.model_files import newest_checkpoint
from xmcgan.training.loop import train
from xmcgan.training.rescue import RunProgress, RunStopped, save_last
from xmcgan.training.state import TrainingDiverged


def test_an_image_that_vanishes_costs_no_step(config, tmp_path, trained):
    """Saved at the step before, in one line that names the image; the same command goes on to the same bits."""
    config = having(config, training__steps=2, training__checkpoint_every=1000)
    shown = [record.captions[0] for record in read_records(Path(config.data), "coco", "val2014")[:4]]
    seen = []

    def vanishing(training, batches, **options):
        seen.append(1)
        if len(seen) == 1:
            for record in records:
                shutil.move(record.image, record.image.with_suffix(".away"))
        return train_step(training, batches, **options)

    train_step = loop_module.train_step
    copy = shutil.copytree(config.data, tmp_path / "data")
    config = replace(config, data=str(copy))
    records = read_records(copy, config.dataset.layout, config.dataset.split)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop_module, "train_step", vanishing)
        with pytest.raises(RunStopped, match=r"\.jpg.* The run stopped; the same command resumes from step 1"):
            train(config, tmp_path / "run", records=records, sample_captions=shown)
    for record in records:
        shutil.move(record.image.with_suffix(".away"), record.image)
    assert train(config, tmp_path / "run", records=records, sample_captions=shown) == 2
    assert different(contents(trained / "checkpoints/step-00000002"), last_of(tmp_path / "run")) == []
    assert logged(tmp_path / "run") == logged(trained)[:2]


def test_an_error_within_a_step_saves_nothing(config, tmp_path):
    """The networks may be between two updates; what is saved is from before."""

    def failing(training, batches, **options):
        report = train_step(training, batches, **options)
        if len(list((tmp_path / "run/checkpoints").glob("step-*"))) == 1:
            raise RuntimeError("out of memory")
        return report

    train_step = loop_module.train_step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop_module, "train_step", failing)
        with pytest.raises(RuntimeError, match="out of memory") as caught:
            run(having(config, training__steps=6), tmp_path / "run")
    assert newest_checkpoint(tmp_path / "run/checkpoints").name == "step-00000002"
    assert caught.value.__notes__ == ["The run stopped within a step; the same command resumes from step 2"]


def test_an_evaluation_that_fails_is_done_again(config, tmp_path):
    config = having(config, training__steps=2, evaluation__every=1)
    train_with_evaluation(config, tmp_path / "whole")
    calls = []

    def failing(generator, step):
        calls.append(step)
        if calls == [0, 1]:
            raise ValueError("val.jpg cannot be read as an image")
        return weights_score(generator, step)

    records = read_records(Path(config.data), "coco", "train2014")
    with pytest.raises(RunStopped, match=r"val\.jpg .*resumes from step 1"):
        train(config, tmp_path / "run", records=records, sample_captions=["a red car"], evaluate=failing)
    train(config, tmp_path / "run", records=records, sample_captions=["a red car"], evaluate=failing)
    assert calls == [0, 1, 1, 2]
    assert [line["step"] for line in evaluations(tmp_path / "run")] == [0, 1, 2]
    assert same_run(tmp_path / "whole", tmp_path / "run") == []


def test_a_second_sigterm_lets_the_saving_finish(config, tmp_path, monkeypatch):
    saved = []

    def save(*arguments, **named):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        saved.append(1)
        return save_checkpoint(*arguments, **named)

    save_checkpoint = state_module.save_checkpoint
    monkeypatch.setattr(state_module, "save_checkpoint", save)
    before = signal.getsignal(signal.SIGTERM)
    reached = run(having(config, training__steps=8, training__checkpoint_every=2), tmp_path / "run")
    assert reached == 3  # the first comes while step 2 is saved, the second while step 3 is
    assert len(saved) == 2
    assert newest_checkpoint(tmp_path / "run/checkpoints").name == "step-00000003"
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("error", [OSError("No space left on device"), TrainingDiverged("step 5: d_loss is nan")])
def test_a_last_step_that_cannot_be_saved_is_said(tmp_path, error):
    def save(_step):
        raise error

    said = f"The run stopped, and step 5 could not be saved: {error}; "
    assert save_last(RunProgress(5), tmp_path, save) == f"{said}it has no checkpoint"
    (tmp_path / "step-00000004").mkdir()
    assert save_last(RunProgress(5), tmp_path, save) == f"{said}the same command resumes from step 4"


@pytest.mark.slow
def test_a_closed_pipe_ends_a_command_quietly(scenes, tmp_path):
    """``xmcgan train ... | head -1`` trains to the end, and so it does with both streams on a full disk.

    With the embedded text encoder, which spares the import of transformers.
    """
    config = tiny_config(scenes, Path("minilm"), steps=2, discriminator_steps=1)
    command = [sys.executable, "-m", "xmcgan", *flags(config, tmp_path / "run"), "--text.layers", "1"]
    with Path("/dev/full").open("w") as full:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=full, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=240) == 0
    assert newest_checkpoint(tmp_path / "run/checkpoints").name == "step-00000002"
    assert [line["step"] for line in logged(tmp_path / "run")] == [1, 2]
