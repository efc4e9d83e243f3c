"""Progress: lines where there is no terminal, and displays that fail without ending what they show."""

import errno
import io
import multiprocessing
import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from tqdm import tqdm

import xmcgan.runtime.progress as progress_module
from xmcgan.runtime.progress import ProgressBar, say


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until it is set."""

    class Clock:
        now = 0.0

    monkeypatch.setattr(progress_module, "time", SimpleNamespace(monotonic=lambda: Clock.now))
    return Clock


def test_a_stream_that_is_no_terminal_gets_a_line_every_so_often(capsys, clock):
    with ProgressBar(total=1000, unit="step", desc="run") as bar:
        for number in range(1000):
            clock.now = number / 10
            bar.set_postfix_str(f"loss {number}")
            bar.update()
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "run: 301 of 1,000 steps, 10/s, loss 300",
        "run: 601 of 1,000 steps, 10/s, loss 600",
        "run: 901 of 1,000 steps, 10/s, loss 900",
        "run: 1,000 of 1,000 steps, 10/s, loss 999",
    ]


def test_what_was_done_before_does_not_count_as_speed(capsys, clock):
    bar = ProgressBar(total=None, unit="image", initial=500)
    clock.now = 31.0
    bar.update(62)
    assert capsys.readouterr().err == "562 images, 2/s\n"


def test_an_estimate_that_was_too_low_is_dropped(capsys, clock):
    bar = ProgressBar(total=40, unit="image")
    for seconds in (31.0, 62.0):
        clock.now = seconds
        bar.update(31)
    assert capsys.readouterr().err == "31 of 40 images, 1/s\n62 images, 1/s\n"


@pytest.mark.parametrize("settings", [{"disable": True}, {"leave": False}])
def test_a_short_or_disabled_bar_says_nothing(capsys, clock, settings):
    assert list(ProgressBar(total=3, unit="call", **settings).over("abc")) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_one_line_that_is_redrawn(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    with ProgressBar(total=3, unit="step", desc="run") as bar:
        bar.set_postfix_str("loss 2")
        bar.update(3)
    assert sys.stderr.getvalue().count("\n") == 1
    assert "3/3" in sys.stderr.getvalue()
    assert "loss 2]" in sys.stderr.getvalue()


@pytest.mark.parametrize("before", ["update", "close"])
def test_a_terminal_that_fails_does_not_stop_the_run(monkeypatch, before):
    class Terminal(io.StringIO):
        fails = False

        def isatty(self):
            return True

        def write(self, text):
            if self.fails:
                self.fails = False
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(text)

    silenced = []
    monkeypatch.setattr(progress_module, "silence", silenced.append)
    monkeypatch.setattr(sys, "stderr", Terminal())
    bar = ProgressBar(total=3, unit="step")
    bar.bar.mininterval = 0
    for _ in range(3):
        sys.stderr.fails = before == "update" and bar.n == 0
        bar.update()
    assert (bar.bar is None) == (before == "update")  # no longer shown
    sys.stderr.fails = True
    bar.close()
    assert bar.n == 3
    assert silenced == [sys.stderr]
    other = threading.Thread(target=say, args=("a line", io.StringIO()), daemon=True)
    other.start()
    other.join(10)
    assert not other.is_alive()  # the failure left no lock behind


def test_a_closed_output_stream_does_not_stop_the_run(monkeypatch):
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    with ProgressBar(total=3, unit="step") as bar:
        bar.update(3)
    say("a remark", stream)
    assert bar.n == 3


@pytest.mark.parametrize("target", ["/dev/full", "closed pipe"])
def test_a_full_disk_or_a_closed_pipe_does_not_stop_the_run(tmp_path, target):
    """Both streams fail from the first line on; the work is done and the exit status is 0."""
    code = (
        "import xmcgan.runtime.progress as p, os\\n"
        "p.INTERVAL = 0\\n"
        "with p.ProgressBar(total=99, unit='step') as bar:\\n"
        "    for _ in range(99):\\n"
        "        bar.update()\\n"
        "        p.say('a remark' * 1000)\\n"
        "open(os.environ['DONE'], 'w').close()\\n"
    ).replace("\\n", "\n")
    read, write = os.pipe()
    os.close(read)
    stream = os.open(target, os.O_WRONLY) if target.startswith("/") else write
    done = tmp_path / "done"
    try:
        found = subprocess.run(
            [sys.executable, "-c", code],
            stdout=stream,
            stderr=stream,
            env={**os.environ, "DONE": str(done)},
            timeout=60,
        )
        assert found.returncode == 0
        assert done.exists()
    finally:
        done.unlink(missing_ok=True)
        os.close(write)


def test_a_forked_process_speaks_though_another_thread_held_the_lock():
    """tqdm's own thread sometimes does; no one would release it in the child."""
    process = multiprocessing.get_context("fork").Process(target=say, args=("a line",))
    with tqdm.get_lock():
        thread = threading.Thread(target=process.start)
        thread.start()
        thread.join()
        process.join(30)
        ended = process.exitcode
        process.kill()
    assert ended == 0
