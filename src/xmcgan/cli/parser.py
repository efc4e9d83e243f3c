"""The parser of every verb: dashes in flags, plain help, one line for a mistake."""

import difflib
import re
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin

import jsonargparse


class HelpFormatter(jsonargparse.DefaultHelpFormatter):
    """Shows choices and defaults, and no Python types."""

    def _get_help_string(self, action) -> str:
        text = super()._get_help_string(action)
        hint = getattr(action, "_typehint", None)
        parts = [hint, *get_args(hint)]
        choices = next((get_args(part) for part in parts if get_origin(part) is Literal), ())
        words = f"one of {', '.join(str(choice) for choice in choices)}" if choices else ""
        text = re.sub(r"type: %\(type\)s(, )?", lambda found: words + (found[1] or "" if words else ""), text)
        return text.replace(" ()", "").replace(", )", ")")


class ArgumentParser(jsonargparse.ArgumentParser):
    """Accepts dashes and underscores alike in a flag, and suggests the nearest for an unknown one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", HelpFormatter)
        kwargs.setdefault("exit_on_error", False)
        super().__init__(*args, **kwargs)

    def parse_args(self, args: Sequence[str] | None = None, *others: Any, **kwargs: Any):
        """Parses the arguments after giving every flag its own spelling."""
        return super().parse_args(None if args is None else self.spelled(args), *others, **kwargs)

    def format_help(self, *args: Any, **kwargs: Any) -> str:
        """The help, with a settings class under its bare name."""
        return re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", super().format_help(*args, **kwargs))

    def spelled(self, arguments: Sequence[str]) -> list[str]:
        """The arguments with each flag spelt as it was declared.

        Raises:
            ValueError: for an unknown flag, with the nearest.
        """
        known = {plain(flag): flag for flag in self._option_string_actions if flag.startswith("--")}
        found: list[str] = []
        for number, argument in enumerate(arguments):
            if argument == "--":
                return [*found, *arguments[number:]]
            if re.match(r"--[A-Za-z]", argument):
                name, equals, value = argument.partition("=")
                if plain(name) not in known:
                    close = difflib.get_close_matches(name[2:], [flag[2:] for flag in known.values()], n=1)
                    hint = f"did you mean --{close[0]}?" if close else "--help lists them"
                    raise ValueError(f"unknown option {name}; {hint}")
                argument = known[plain(name)] + equals + value
            found.append(argument)
        return found


def plain(flag: str) -> str:
    """A flag with dashes and underscores alike."""
    return flag.replace("_", "-")
