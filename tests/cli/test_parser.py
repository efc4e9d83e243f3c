"""The parser of every verb."""

from typing import Literal

import pytest

from xmcgan.cli.main import COMMANDS, main
from xmcgan.cli.parser import ArgumentParser


@pytest.fixture
def parser() -> ArgumentParser:
    parser = ArgumentParser(prog="verb")
    parser.add_argument("--batch-size", type=int, default=4, help="images at a time")
    parser.add_argument("--fit", type=Literal["squash", "crop"], default="squash", help="how")
    return parser


@pytest.mark.parametrize("flag", ["--batch-size", "--batch_size"])
def test_dashes_and_underscores_are_one_flag(parser, flag):
    assert parser.parse_args([flag, "7"]).batch_size == 7
    assert parser.parse_args([f"{flag}=8"]).batch_size == 8


def test_an_unknown_flag_suggests_the_nearest(parser):
    with pytest.raises(ValueError, match="unknown option --batch-sise; did you mean --batch-size"):
        parser.parse_args(["--batch-sise", "7"])


def test_help_shows_choices_and_defaults_and_no_types(parser):
    text = parser.format_help()
    assert "default: 4" in text
    assert "squash, crop, default: squash" in " ".join(text.split())
    assert "type:" not in text


@pytest.mark.parametrize("verb", sorted(COMMANDS))
def test_no_python_type_in_any_help(verb, capsys):
    arguments = {"train": ["train", "scenes-64"], "data": ["data", "prepare"]}.get(verb, [verb])
    with pytest.raises(SystemExit):
        main([*arguments, "--help"])
    text = capsys.readouterr().out
    assert "<class" not in text
    assert "type:" not in text
