"""A training with evaluation, killed at random moments. ``benchmarks/kills.py`` kills the command line 20 times."""

import multiprocessing
import os
import random
import signal
import time

import pytest

from interrupted import same_run, train_with_evaluation
from steps import having

KILLED_AFTER = (1, 3)
"""Processes are killed after these evaluations: by what is done, as a clock means nothing on a busy machine."""


def evaluated_steps(output):
    """Lines of a run's evaluations."""
    file = output / "evaluations.jsonl"
    return len(file.read_bytes().splitlines()) if file.exists() else 0


def wait_for(reached, seconds=240):
    """Until something is so."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.005)


def child(config, output):
    """Trains in a forked process, in silence."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    train_with_evaluation(config, output)
    os._exit(0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process")  # is multi-threaded, says Python of torch's idle threads
def test_a_killed_training_becomes_the_uninterrupted_one(config, tmp_path):
    config = having(
        config, training__steps=6, training__checkpoint_every=2, training__log_every=2, evaluation__every=1,
        training__keep_checkpoints=2,
    )  # fmt: skip
    train_with_evaluation(config, tmp_path / "whole")
    chance, fork = random.Random(0), multiprocessing.get_context("fork")
    for step in KILLED_AFTER:
        process = fork.Process(target=child, args=(config, tmp_path / "run"))
        process.start()
        wait_for(lambda step=step: evaluated_steps(tmp_path / "run") > step)
        time.sleep(chance.uniform(0, 0.1))  # anywhere in what comes next: a step, a checkpoint, an evaluation
        assert process.exitcode is None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    process = fork.Process(target=child, args=(config, tmp_path / "run"))
    process.start()
    process.join(300)
    assert process.exitcode == 0
    assert same_run(tmp_path / "whole", tmp_path / "run") == []
