"""The first argument where it is one of a few names."""

from collections.abc import Iterable

from xmcgan.config import suggestion


def chosen(arguments: list[str], accepted: Iterable[str], what: str, usage: str) -> str:
    """The first argument, which must be one of a few names."""
    if not arguments or arguments[0] in ("-h", "--help"):
        first = next(iter(accepted))
        print(f"usage: {usage}\n\n{what}s: {', '.join(accepted)}\n\n`{usage.split(what.upper())[0]}{first} --help` "
              "lists every field.")  # fmt: skip
        raise SystemExit(0 if arguments else 2)
    if arguments[0] not in accepted:
        raise ValueError(f"unknown {what} {arguments[0]!r}{suggestion(arguments[0], accepted)}")
    return arguments[0]
