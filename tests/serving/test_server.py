"""A server in this process: announced when it listens, and ended by a signal after the last answer."""

import os
import re
import signal
import threading
import urllib.request

import pytest

from xmcgan.cli import serve as command
from xmcgan.cli.main import main


def when_announced(monkeypatch, act) -> None:
    """Calls ``act(url)`` in a thread once the command has announced its address, then ends the server by SIGTERM."""

    def use(url: str) -> None:
        try:
            act(url)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    def announce(sources, url):
        announced(sources, url)
        threading.Thread(target=use, args=(url,), daemon=True).start()

    announced = command.announce
    monkeypatch.setattr(command, "announce", announce)


def test_a_server_answers_until_a_signal_and_counts(trained, monkeypatch, capsys):
    answers = []

    def ask(url):
        with urllib.request.urlopen(f"{url}/v1/models", timeout=30) as response:
            answers.append(response.read())

    when_announced(monkeypatch, ask)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    assert main(["serve", "--model", str(trained), "--port", "0"]) == 0
    assert {number: signal.getsignal(number) for number in before} == before
    assert b'"object"' in answers[0]
    first, last = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf"http://127\.0\.0\.1:\d+ serves {trained}; Ctrl-C stops", first)
    assert re.fullmatch(r"stopped: (\d+) of \1 requests answered", last)


def test_the_port_is_free_again_after_a_damaged_model(tmp_path):
    from xmcgan.serving.server import bound, serve
    from xmcgan.serving.settings import ServeSettings

    with bound("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path))):
        serve([str(tmp_path)], ServeSettings(), host="127.0.0.1", port=port)
    with bound("127.0.0.1", port):
        pass
