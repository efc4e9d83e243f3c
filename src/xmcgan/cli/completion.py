"""``xmcgan completion``."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from xmcgan.cli.parser import Option, declare, options_of
from xmcgan.cli.values import choices_of, without_none


def completion(shell: Literal["bash", "zsh", "fish"]) -> int:
    """Print a script that completes commands, flags and their values in a shell.

    Args:
        shell: bash, zsh or fish.

    Examples:
        xmcgan completion bash >> ~/.bashrc
        xmcgan completion zsh > ~/.zfunc/_xmcgan
        xmcgan completion fish > ~/.config/fish/completions/xmcgan.fish
    """
    import shtab

    from xmcgan.cli.main import COMMANDS

    parser = argparse.ArgumentParser(prog="xmcgan")
    add_commands(parser, COMMANDS)
    print(shtab.complete(parser, shell))
    return 0


def add_commands(parser: argparse.ArgumentParser, commands: Mapping[str, str | dict[str, str]]) -> None:
    """Adds every command, with its options, to a parser that only describes them."""
    from xmcgan.cli.main import load, summary

    verbs = parser.add_subparsers()
    for name, found in commands.items():
        verb = verbs.add_parser(name, help=summary(found), description=summary(found))
        if isinstance(found, str):
            options = options_of(load(found))
            declare(verb, options)
            for action in verb._actions:
                complete(action, options)
        else:
            add_commands(verb, found)


def complete(action: argparse.Action, options: list[Option]) -> None:
    """Tells the shell what the value of an option can be: one of a few words, or a file."""
    import shtab

    option = next((each for each in options if each.name == action.dest), None)
    if option is None:
        return
    choices = [*option.one_of.names] if option.one_of else choices_of(option.kind)
    if choices:
        action.choices = choices
    elif without_none(option.kind)[0] is Path or option.name in ("source", "data", "model"):
        vars(action)["complete"] = shtab.FILE
