"""How a function becomes a verb: its signature and docstring as the parser and the help."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from xmcgan.cli.main import COMMANDS, load, main
from xmcgan.cli.parser import FieldsOf, OneOf, options_of, parse
from xmcgan.cli.values import show, split_list


@dataclass(frozen=True)
class Inner:
    """The inner part.

    Args:
        batch_size: images at a time.
        flip: mirror them.
    """

    batch_size: int = 4
    flip: bool = False


@dataclass(frozen=True)
class Outer:
    """All of it.

    Args:
        size: side in pixels.
    """

    size: Literal[64, 128] = 64
    inner: Inner = field(default_factory=Inner)


def verb(
    names: list[str],
    *,
    output: Path,
    fit: Literal["squash", "crop"] = "squash",
    count: int | None = None,
    share: float = 0.5,
    kinds: list[str] | None = None,
    groups: list[list[str]] | None = None,
    max_bad: bool = True,
    inner: Inner,
) -> int:
    """Does a thing.

    And says so in a second paragraph, with ``code``.

    Args:
        names: what it is
            called.
        output: where to, and 100% of it.
        fit: how.
        count: how many.
        share: of it.
        kinds: which.
        groups: of words.
        max_bad: whether.

    Examples:
        xmcgan verb a --output b
    """
    return 0


RECIPES = {"small": Outer(), "large": Outer(size=128, inner=Inner(batch_size=9, flip=True))}


def trained(
    recipe: Annotated[str, OneOf(RECIPES, "recipe")],
    *,
    output: Path,
    settings: Annotated[dict[str, Any], FieldsOf(RECIPES)],
) -> int:
    """Trains.

    Args:
        recipe: which.
        output: where to.
        settings: what differs.
    """
    return 0


def parsed(*words: str) -> dict[str, Any]:
    return parse(verb, ["a", "--output", "x", *words], "xmcgan verb")


def help_of(function, *arguments: str, capsys) -> str:
    with pytest.raises(SystemExit) as left:
        parse(function, [*arguments, "--help"], "xmcgan verb")
    assert left.value.code == 0
    return capsys.readouterr().out


# --------------------------------------------------------------------------------------------------------- values


def test_the_values_are_those_of_the_signature():
    values = parse(verb, ["a", "b c", "--output", "x", "--count", "-3", "--share=1e-2"], "xmcgan verb")
    assert values == {"names": ["a", "b c"], "output": Path("x"), "count": -3, "share": 0.01, "inner": Inner()}


def test_values_that_are_not_given_are_left_to_the_function():
    assert parse(verb, ["a", "--output", "x"], "") == {"names": ["a"], "output": Path("x"), "inner": Inner()}


@pytest.mark.parametrize("flag", ["--batch-size", "--batch_size"])
def test_dashes_and_underscores_are_one_flag(flag):
    assert parsed(flag, "7")["inner"] == Inner(7)
    assert parsed(f"{flag}=8")["inner"] == Inner(8)


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--max-bad"], True),
        (["--max-bad", "false"], False),
        (["--max-bad=true"], True),
        (["--max-bad", "FALSE"], False),
    ],
)
def test_a_switch_needs_no_value(words, value):
    assert parsed(*words)["max_bad"] is value


def test_a_switch_does_not_take_the_argument_after_it():
    values = parse(verb, ["--output", "x", "--flip", "a caption"], "xmcgan verb")
    assert values["names"] == ["a caption"]
    assert values["inner"] == Inner(flip=True)


@pytest.mark.parametrize(
    ("text", "value"),
    [("car,stop sign", ["car", "stop sign"]), ("[car, stop sign]", ["car", "stop sign"]), ("car", ["car"]), ("[]", []),
     ("['car', 'bus']", ["car", "bus"]), ("none", None)],
)  # fmt: skip
def test_lists(text, value):
    assert parsed("--kinds", text)["kinds"] == value


@pytest.mark.parametrize(
    ("text", "items"),
    [("[a, b], [c]", ["[a, b]", "[c]"]), ("[[a, b]", ["[[a, b]"]), ("{a,b},c", ["{a,b}", "c"]), (" ", [])],
)
def test_a_list_is_split_outside_of_brackets(text, items):
    assert split_list(text) == items


@pytest.mark.parametrize(
    ("value", "shown"),
    [((1, 2), "1,2"), (["a", True], "a,true"), ([["a", "b"]], "a,b"), (False, "false"), (0.5, "0.5")],
)
def test_a_default_is_shown_as_it_would_be_typed(value, shown):
    assert show(value) == shown


@pytest.mark.parametrize("text", ["[left,right],[red,green]", "[[left, right], [red, green]]"])
def test_lists_of_lists(text):
    assert parsed("--groups", text)["groups"] == [["left", "right"], ["red", "green"]]


def placed(folder: str, *, systems: list[str], count: int = 0, flip: bool = False) -> int:
    """Does a thing.

    Args:
        folder: where.
        systems: which.
        count: how many.
        flip: whether.
    """
    return 0


@pytest.mark.parametrize(
    "words",
    ["out --systems a=x b=y", "out --systems a=x,b=y", "--systems a=x b=y out", "out --systems a=x b=y --count 3",
     "--systems a=x b=y --count 3 out", "--systems a=x b=y --flip out", "out --systems=a=x b=y"],
)  # fmt: skip
def test_items_of_a_list_may_be_words_of_their_own(words):
    values = parse(placed, words.split(), "xmcgan placed")
    assert values["systems"] == ["a=x", "b=y"]
    assert values["folder"] == "out"


def test_a_list_leaves_words_to_arguments():
    """An argument that takes any number of words gets all but a list's first."""
    values = parse(verb, ["--output", "x", "--kinds", "a", "b", "c"], "xmcgan verb")
    assert (values["kinds"], values["names"]) == (["a"], ["b", "c"])
    with pytest.raises(ValueError, match="required: FOLDER"):
        parse(placed, ["--systems", "a=x"], "xmcgan placed")


def test_none_stands_for_an_optional_value_alone():
    assert parsed("--count", "none")["count"] is None
    with pytest.raises(ValueError, match="--share is 'none'; it should be a number"):
        parsed("--share", "none")


def test_a_switch_names_a_wrong_value_where_no_argument_can_follow():
    with pytest.raises(ValueError, match=r"--inner\.flip is 'maybe'; it should be true or false"):
        parse(trained, ["small", "--output", "x", "--inner.flip", "maybe"], "xmcgan train")


def test_after_two_dashes_everything_is_an_argument():
    assert parse(verb, ["--output", "x", "--", "--odd", "b"], "xmcgan verb")["names"] == ["--odd", "b"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch-sise", "7"], "unknown option --batch-sise; did you mean --batch-size?"),
        (["--zzz"], "unknown option --zzz; --help lists them"),
        (["--count", "many"], "--count is 'many'; it should be a whole number"),
        (["--share", "x"], "--share is 'x'; it should be a number"),
        (["--fit", "crob"], "--fit is 'crob'; it should be one of squash, crop; did you mean 'crop'?"),
        (["--max-bad=maybe"], "--max-bad is 'maybe'; it should be true or false"),
        (["--count"], "--count needs a value: --count N"),
        (["--count", "--share", "1"], "--count needs a value: --count N"),
    ],
)
def test_mistakes(words, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        parsed(*words)


def test_required_options():
    with pytest.raises(ValueError, match="required: --output"):
        parse(verb, ["a"], "xmcgan verb")
    with pytest.raises(ValueError, match="required: NAMES"):
        parse(verb, ["--output", "x"], "xmcgan verb")


# ------------------------------------------------------------------------------------------------------- settings


def test_settings_are_those_on_the_command_line():
    values = parse(trained, ["large", "--output", "x", "--inner.batch-size", "9", "--size=64"], "xmcgan train")
    assert values == {"recipe": "large", "output": Path("x"), "settings": {"inner.batch_size": 9, "size": 64}}


def test_the_help_has_the_recipes_values(capsys):
    text = help_of(trained, "large", capsys=capsys)
    assert "--inner.batch-size N" in text
    assert "images at a time (default: 9)" in text
    assert "mirror them (default: true)" in text
    assert "The inner part:" in text
    assert "--inner " not in text  # a section takes no value


def test_the_recipe_comes_first(capsys):
    with pytest.raises(ValueError, match="the recipe comes first: xmcgan train RECIPE --output"):
        parse(trained, ["--output", "x", "small"], "xmcgan train")
    with pytest.raises(ValueError, match="unknown recipe 'smal'; did you mean 'small'"):
        parse(trained, ["smal"], "xmcgan train")
    with pytest.raises(SystemExit) as left:
        parse(trained, [], "xmcgan train")
    assert left.value.code == 2
    assert "recipes:\n  small" in capsys.readouterr().out


# ----------------------------------------------------------------------------------------------------------- help


def test_the_help_is_the_docstring(capsys):
    text = " ".join(help_of(verb, capsys=capsys).split())
    for part in (
        "usage: xmcgan verb NAMES ... --output PATH [options]",
        "Does a thing. And says so in a second paragraph, with code.",
        "NAMES what it is called",
        "--output PATH where to, and 100% of it (required)",
        "--fit {squash,crop} how (default: squash)",
        "--count N how many --share NUMBER of it (default: 0.5)",
        "--kinds TEXT,... which",
        "--max-bad [true|false] whether (default: true)",
        "The inner part: --batch-size N images at a time (default: 4)",
        "examples: xmcgan verb a --output b",
        "In flags, dashes and underscores are alike.",
    ):
        assert part in text


def commands(group: dict[str, Any] = COMMANDS, *names: str) -> Iterator[tuple[list[str], str]]:
    for name, found in group.items():
        if isinstance(found, str):
            yield [*names, name], found
        else:
            yield from commands(found, *names, name)


ALL = list(commands())


@pytest.mark.parametrize(("words", "module"), ALL, ids=[" ".join(words) for words, _ in ALL])
def test_every_verb_describes_its_options_and_shows_no_python_type(words, module, capsys):
    recipe = ["scenes-64"] if [*words] in (["train"], ["ablate"]) else []
    with pytest.raises(SystemExit):
        main([*words, *recipe, "--help"])
    text = capsys.readouterr().out
    for option in options_of(load(module)):
        assert option.help, option.name
        assert (option.name.upper().replace("_", "-") if option.positional else option.flag) in text
    assert not [word for word in ("<class", "typing.", "NoneType", "pathlib", "``") if word in text]
    assert importlib.import_module(module).__doc__.startswith(f"``xmcgan {' '.join(words)}``")
