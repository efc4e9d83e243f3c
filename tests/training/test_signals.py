"""Signals: a run that is stopped saves, and resumes to the same bits."""

import multiprocessing
import signal
import sys
import time

import pytest

import xmcgan.training.loop as loop_module
import xmcgan.training.signals as signals_module
from ranks import print_to
from steps import having, last_of, signalling
from tiny import contents, different, flags, logged, run
from xmcgan.cli.main import main
from xmcgan.inference.model_files import newest_checkpoint
from xmcgan.training.log import Log
from xmcgan.training.signals import stop_signals
from xmcgan.training.step import train_step


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_after_the_step_and_exits_130(config, tmp_path, trained, monkeypatch, number, capsys):
    command = flags(having(config, training__steps=2), tmp_path / "run")
    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    with monkeypatch.context() as patch:
        patch.setattr(loop_module, "train_step", signalling(train_step, number, at=1))
        assert main(command) == 130
    assert "stopped and saved at step 1 of 2" in capsys.readouterr().out
    assert newest_checkpoint(tmp_path / "run/checkpoints").name == "step-00000001"
    assert {each: signal.getsignal(each) for each in handlers} == handlers
    assert main(command) == 0
    assert different(contents(trained / "checkpoints/step-00000002"), last_of(tmp_path / "run")) == []
    assert logged(tmp_path / "run") == logged(trained)[:2]


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


def child(command, printed):
    """Runs a command in a forked process, and prints into a file."""
    print_to(printed)
    sys.exit(main(command))


@pytest.mark.filterwarnings("ignore:This process")  # is multi-threaded, says Python of torch's idle threads
def test_a_terminated_process_is_resumed_to_the_same_bits(config, tmp_path, trained):
    """SIGTERM to a process of its own, in the middle; then the same command again."""
    config = having(config, training__steps=6, training__checkpoint_every=1000)
    command, output = flags(config, tmp_path / "run"), tmp_path / "run"
    process = multiprocessing.get_context("fork").Process(target=child, args=(command, tmp_path / "printed.txt"))
    process.start()
    deadline = time.monotonic() + 60
    while process.is_alive() and time.monotonic() < deadline:
        if (output / "log.jsonl").exists() and len((output / "log.jsonl").read_text().splitlines()) >= 2:
            break
        time.sleep(0.01)
    process.terminate()
    process.join(60)
    printed = (tmp_path / "printed.txt").read_text()
    assert process.exitcode == 130, printed
    stopped = int(newest_checkpoint(output / "checkpoints").name.removeprefix("step-"))
    assert 2 <= stopped < 6
    assert f"stopped and saved at step {stopped} of 6" in printed

    assert main(command) == 0
    assert different(last_of(trained), last_of(output)) == []
    assert logged(output) == logged(trained)
