"""How a typed function becomes a verb of the command line.

To add a verb:

1. Write one typed function of the verb's name in ``cli/<verb>.py``, or ``cli/<group>/<verb>.py``. Parameters before
   ``*`` are arguments, the others options; a parameter whose type is a dataclass gives an option for every field.
2. Its docstring is the help: summary and text, ``Args:`` with every parameter, and perhaps ``Examples:``.
3. Return the exit status. A ``ValueError`` or ``OSError`` becomes one line on standard error, and status 2.
4. At the top of the file, import only what loads fast (no torch); import the rest inside the function.
5. Add its line to ``COMMANDS`` in ``cli/main.py``. Tests call ``main.run(["verb", ...])``, which raises errors.
"""

import argparse
import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Annotated, Any, NoReturn, get_args, get_origin, get_type_hints

from xmcgan.cli.docstring import Docstring, read_docstring
from xmcgan.cli.values import convert, placeholder, show, without_none
from xmcgan.config import suggestion

Function = Callable[..., int]


@dataclass(frozen=True)
class OneOf:
    """Annotates a ``str`` that must be one of a few names: ``Annotated[str, OneOf(RECIPES, "recipe")]``.

    Args:
        names: the names, with the values that they stand for.
        what: what one of them is called in errors, such as "recipe".
        about: a few words about what a name stands for, for the help.
    """

    names: Mapping[str, Any]
    what: str
    about: Callable[[Any], str] | None = None


@dataclass(frozen=True)
class FieldsOf:
    """Annotates a ``dict`` of changed settings: ``Annotated[dict[str, Any], FieldsOf(RECIPES)]``.

    Every field of the dataclass that the function's first argument names, nested ones too, becomes an option under its
    dotted name, ``--training.batch-size``. The dict holds the options that were given.

    Args:
        named: the dataclass instances by name; the first argument of the function is one of these names.
    """

    named: Mapping[str, Any]


@dataclass(frozen=True)
class Option:
    """One option or argument of a verb.

    Args:
        parameter: the function's parameter that it belongs to.
        name: dotted; the parameter's name, or the name of a field of its dataclass.
        kind: type of the value.
        default: ``MISSING`` if a value is required.
        positional: whether it is an argument, which has no flag.
        help: its description, from the docstring.
        group: title of its group in the help, empty for the verb's own options.
    """

    parameter: str
    name: str
    kind: Any
    default: Any
    positional: bool
    help: str
    group: str

    @property
    def flag(self) -> str:
        """The flag, as it is typed and named in errors: ``--batch-size``, or ``captions`` for an argument."""
        return self.name if self.positional else f"--{self.name.replace('_', '-')}"

    @property
    def one_of(self) -> OneOf | None:
        """The annotation ``OneOf``, if there is one."""
        return next((each for each in get_args(self.kind) if isinstance(each, OneOf)), None)


def options_of(function: Function, chosen: str | None = None) -> list[Option]:
    """The options of a verb, in the order of its signature.

    Args:
        chosen: the function's first argument, which decides the defaults of ``FieldsOf``.
    """
    described = read_docstring(function.__doc__).arguments
    hints = get_type_hints(function, include_extras=True)
    found: list[Option] = []
    for name, parameter in inspect.signature(function).parameters.items():
        kind, positional = hints[name], parameter.kind is not inspect.Parameter.KEYWORD_ONLY
        if is_dataclass(kind):
            found += fields_of(name, kind, None)
        elif get_origin(kind) is Annotated and isinstance(settings := get_args(kind)[1], FieldsOf):
            defaults = settings.named[chosen or next(iter(settings.named))]
            found += fields_of(name, type(defaults), defaults)
        else:
            default = MISSING if parameter.default is inspect.Parameter.empty else parameter.default
            found.append(Option(name, name, kind, default, positional, described[name], ""))
    return found


def fields_of(parameter: str, kind: Any, values: Any, prefix: str = "") -> Iterator[Option]:
    """An option for every field of a dataclass, nested ones included."""
    about, hints = read_docstring(kind.__doc__), get_type_hints(kind)
    for field in fields(kind):
        default = field.default if values is None else getattr(values, field.name)
        if is_dataclass(hints[field.name]):
            yield from fields_of(parameter, hints[field.name], default, f"{prefix}{field.name}.")
        else:
            name, text = f"{prefix}{field.name}", about.arguments[field.name]
            yield Option(parameter, name, hints[field.name], default, False, text, about.summary.rstrip("."))


class Parser(argparse.ArgumentParser):
    """Splits a command line; a mistake is a ValueError."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=HelpFormatter, **settings)

    def error(self, message: str) -> NoReturn:
        """Raises an error, instead of printing the usage and exiting."""
        raise ValueError(message.removeprefix("argument "))


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Wraps at 100 columns at most, and shows an option's placeholder once."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26)
        self._width = min(self._width, 100)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Wraps paragraphs, and leaves indented lines as they are."""
        paragraphs = text.split("\n\n")
        wrap = super()._split_lines
        return "\n\n".join(
            each if each.startswith(" ") or "\n  " in each else "\n".join(wrap(each, width)) for each in paragraphs
        )


def declare(parser: argparse.ArgumentParser, options: Iterable[Option]) -> None:
    """Adds the options to a parser, which returns their words; ``read`` turns them into values."""
    groups: dict[str, Any] = {"": parser}  # without a title: beside --help
    for option in options:
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group)
        group = groups[option.group]
        settings: dict[str, Any] = {"help": help_of(option), "default": argparse.SUPPRESS}
        is_list = get_origin(without_none(option.kind)[0]) is list
        if option.positional:
            settings |= {"metavar": option.name.upper().replace("_", "-")}
            settings |= {"nargs": "+" if is_list else "?" if option.default is not MISSING else None}
        else:
            settings |= {"metavar": placeholder(option.kind), "dest": option.name}
            settings |= {"required": option.default is MISSING}
        group.add_argument(option.flag, **settings)


def help_of(option: Option) -> str:
    """The help of an option, with its names and its default."""
    notes = []
    if option.one_of is not None and not option.one_of.about:
        notes.append(f"one of {', '.join(option.one_of.names)}")
    if option.default is MISSING and not option.positional:
        notes.append("required")
    elif option.default not in (MISSING, None, "", ()):
        notes.append(f"default: {show(option.default)}")
    text = re.sub(r"(?<!\.)\.$", "", option.help)
    return (f"{text} ({'; '.join(notes)})" if notes else text).replace("%", "%%")


def build(function: Function, prog: str, options: Sequence[Option]) -> Parser:
    """The parser of a verb."""
    about = read_docstring(function.__doc__)
    parser = Parser(
        prog=prog,
        usage=usage(prog, options),
        description="\n\n".join(about.text),
        epilog=epilog(about),
    )
    declare(parser, options)
    return parser


def usage(prog: str, options: Sequence[Option]) -> str:
    """The arguments and what is required, in one line."""
    words = [prog.replace("%", "%%")]
    for option in options:
        name = option.name.upper().replace("_", "-")
        if option.positional:
            many = get_origin(without_none(option.kind)[0]) is list
            words.append(f"[{name}]" if option.default is not MISSING else f"{name} ..." if many else name)
    words += [f"{each.flag} {placeholder(each.kind)}" for each in options
              if not each.positional and each.default is MISSING]  # fmt: skip
    return " ".join([*words, "[options]"])


def epilog(about: Docstring) -> str:
    """The examples, and how flags may be written."""
    note = "In flags, dashes and underscores are alike."
    return f"examples:\n{about.examples}\n\n{note}" if about.examples else note


def parse(function: Function, arguments: Sequence[str], prog: str) -> dict[str, Any]:
    """The values of a verb's parameters, from the command line.

    Raises:
        ValueError: for a wrong command line.
        SystemExit: after the help.
    """
    chosen = first_argument(function, arguments, prog)
    options = options_of(function, chosen)
    parser, spelt = build(function, prog, options), spell(arguments, options)
    # Captions may also follow a flag; but with "--" before the captions, intermixed parsing would read them as flags.
    words = vars(parser.parse_args(spelt) if "--" in spelt else parser.parse_intermixed_args(spelt))
    values: dict[str, Any] = {}
    collected: dict[str, dict[str, Any]] = {each.parameter: {} for each in options if each.group}
    for option in options:
        if option.name in words:
            target = collected[option.parameter] if option.group else values
            target[option.name] = read(option, words[option.name])
    hints = get_type_hints(function)
    return values | {
        name: hints[name](**found) if is_dataclass(hints[name]) else found for name, found in collected.items()
    }


def read(option: Option, words: str | list[str]) -> Any:
    """An option's value, from its words."""
    if isinstance(words, list):
        (item,) = get_args(without_none(option.kind)[0])
        return [convert(item, word, option.flag) for word in words]
    if (one_of := option.one_of) and words not in one_of.names:
        raise ValueError(f"unknown {one_of.what} {words!r}{suggestion(words, one_of.names)}")
    return convert(option.kind, words, option.flag)


def first_argument(function: Function, arguments: Sequence[str], prog: str) -> str | None:
    """The first argument of a verb whose settings depend on it, such as the recipe of ``train``; None for other verbs.

    Raises:
        ValueError: if it is not one of the names.
        SystemExit: after the list of names, if there is none.
    """
    hints = get_type_hints(function, include_extras=True)
    if not any(isinstance(each, FieldsOf) for hint in hints.values() for each in get_args(hint)):
        return None
    first = options_of(function)[0]
    one_of = first.one_of
    assert one_of is not None, "the first parameter of a function with FieldsOf should be a OneOf"
    if not arguments or arguments[0] in ("-h", "--help"):
        print(names_help(function, one_of, prog))
        raise SystemExit(0 if arguments else 2)
    if arguments[0].startswith("-"):
        raise ValueError(f"the {one_of.what} comes first: {prog} {one_of.what.upper()} {arguments[0]} ...")
    read(first, arguments[0])
    return arguments[0]


def names_help(function: Function, one_of: OneOf, prog: str) -> str:
    """The help if the first argument is missing: the names it can be."""
    about = read_docstring(function.__doc__)
    names = "\n".join(
        f"  {name:<22}{one_of.about(value) if one_of.about else ''}".rstrip() for name, value in one_of.names.items()
    )
    first = next(iter(one_of.names))
    return "\n\n".join(
        [
            f"usage: {usage(prog, options_of(function))}",
            *about.text,
            f"{one_of.what}s:\n{names}",
            f"`{prog} {first} --help` lists every setting, with this {one_of.what}'s values.",
            epilog(about),
        ]
    )


def spell(arguments: Sequence[str], options: Sequence[Option]) -> list[str]:
    """The arguments, with each flag as it was declared and its value joined to it; a lone ``--flag`` is true.

    Raises:
        ValueError: for an unknown flag, with the most similar one.
    """
    known = {option.flag: option for option in options if not option.positional}
    lists = any(get_origin(without_none(option.kind)[0]) is list for option in options if option.positional)
    room = len(arguments) if lists else len(options) - len(known)  # room for arguments without a flag
    found: list[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word == "--":
            return [*found, word, *words]
        if not re.match(r"--[A-Za-z]", word) or word == "--help":
            found.append(word)
            room -= word not in ("-h", "--help")
            continue
        name, equals, value = word.partition("=")
        flag = name.replace("_", "-")
        if flag not in known:
            close = difflib.get_close_matches(flag[2:], [each[2:] for each in known], n=1)
            close += [each[2:] for each in known if each.endswith(f".{flag[2:]}")]
            hint = f"did you mean --{close[0]}?" if close else "--help lists them"
            raise ValueError(f"unknown option {name}; {hint}")
        if not equals:
            value = value_of(known[flag], words, room)
        if get_origin(without_none(known[flag].kind)[0]) is list:
            more = further_items(words, known, room)
            value, words = ",".join([value, *words[:more]]), words[more:]
        found.append(f"{flag}={value}")
    return found


def further_items(words: Sequence[str], known: Mapping[str, Option], room: int) -> int:
    """How many of the words after a list's first item are items too, as in ``--systems a=DIR b=DIR``.

    They reach to the next flag, except for words that the verb's arguments still need and cannot get elsewhere.

    Args:
        known: the options, by flag.
        room: how many further arguments without a flag there may be.
    """
    run = next((place for place, word in enumerate(words) if word.startswith("-")), len(words))
    taken = False  # whether a word is the value of the flag before it
    for word in words[run:]:
        if word.startswith("--"):
            option = known.get(word.replace("_", "-"))
            taken = option is not None and without_none(option.kind)[0] is not bool
        else:
            room -= not taken
            taken = False
    return max(0, run - max(0, room))


def value_of(option: Option, words: list[str], room: int) -> str:
    """Takes an option's value from the words after it.

    Args:
        room: how many further arguments without a flag there may be: the word after a lone ``--flag`` may be one.
    """
    follows = bool(words) and (not words[0].startswith("-") or re.match(r"-(\d|\.|$)", words[0]) is not None)
    if without_none(option.kind)[0] is bool:
        is_value = follows and (room <= 0 or words[0].lower() in ("true", "false"))
        return words.pop(0) if is_value else "true"
    if not follows:
        raise ValueError(f"{option.flag} needs a value: {option.flag} {placeholder(option.kind)}")
    return words.pop(0)
