"""``xmcgan serve``: what is refused before anything listens."""

import socket
import sys

import pytest

from xmcgan.cli.main import main


def refused(arguments: list[str], capsys) -> str:
    assert main(["serve", *arguments]) == 2
    return capsys.readouterr().err


def test_a_port_that_is_taken(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"cannot listen on 127.0.0.1:{port}" in refused(["--port", str(port)], capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "no-such-model"], "no-such-model"),
        (["--models", "scenes-64"], "two models are called scenes-64"),
        (["--queue", "4"], "queue is 4; it should be at least max_images, 16"),
        (["--timeout", "0"], "timeout is 0"),
        (["--token", ""], "token is empty"),
        (["--rate", "-1"], "rate is -1"),
    ],
)
def test_mistakes_are_named(arguments, message, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert message in refused([*arguments, "--port", "0"], capsys)


def test_a_missing_extra_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    for name in [name for name in sys.modules if name.startswith("xmcgan.serving")]:
        monkeypatch.delitem(sys.modules, name)
    assert refused([], capsys) == "xmcgan: fastapi is not installed; serving needs pip install 'xmcgan[serve]'\n"
