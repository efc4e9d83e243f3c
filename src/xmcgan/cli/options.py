"""Options and checks that several verbs share."""

from pathlib import Path
from typing import Annotated

from xmcgan.cli.parser import OneOf
from xmcgan.recipes import RECIPES

Recipe = Annotated[str, OneOf(RECIPES, "recipe")]


def check_at_least(least: float, **values: float | None) -> None:
    """Checks numbers, under their options' names; None is an option that was not given.

    Raises:
        ValueError: naming the option.
    """
    for name, value in values.items():
        if value is not None and not value >= least:
            raise ValueError(f"--{name.replace('_', '-')} is {value}; it should be at least {least:g}")


def refuse_existing(path: Path | None) -> None:
    """Checks, before long work, that the file to be written after it does not exist.

    Raises:
        FileExistsError: if there is such a file.
    """
    if path is not None and path.exists():
        raise FileExistsError(f"{path} is there already; choose another --output")
