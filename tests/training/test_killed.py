"""A training with evaluation, killed at random moments. ``benchmarks/kills.py`` kills the command line 20 times."""

import multiprocessing
import os
import random
import signal
import time

import pytest

from interrupted import same_run, train_with_evaluation
from steps import having

KILLS = 2


def child(config, output):
    """Trains in a forked process, in silence."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    train_with_evaluation(config, output)
    os._exit(0)


@pytest.mark.filterwarnings("ignore:This process")  # is multi-threaded, says Python of torch's idle threads
def test_a_killed_training_becomes_the_uninterrupted_one(config, tmp_path):
    config = having(
        config, training__steps=6, training__checkpoint_every=2, training__log_every=2, evaluation__every=1,
        training__keep_checkpoints=2,
    )  # fmt: skip
    began = time.monotonic()
    train_with_evaluation(config, tmp_path / "whole")
    seconds, chance, kills = time.monotonic() - began, random.Random(0), 0
    fork = multiprocessing.get_context("fork")
    while True:
        process = fork.Process(target=child, args=(config, tmp_path / "run"))
        process.start()
        process.join(chance.uniform(0.2, 0.9) * seconds if kills < KILLS else 300)
        if process.exitcode is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        kills += 1
    assert process.exitcode == 0
    assert kills
    assert same_run(tmp_path / "whole", tmp_path / "run") == []
