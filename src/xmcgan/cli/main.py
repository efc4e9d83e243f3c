"""The command line: every verb and the function that it calls."""

import importlib
import sys
from collections.abc import Mapping, Sequence

from xmcgan import __version__
from xmcgan.cli.docstring import read_docstring
from xmcgan.cli.parser import Function, parse
from xmcgan.config import suggestion
from xmcgan.runtime.progress import say, silence

COMMANDS: dict[str, str | dict[str, str]] = {
    "train": "xmcgan.cli.train",
    "generate": "xmcgan.cli.generate",
    "evaluate": "xmcgan.cli.evaluate",
    "compare": "xmcgan.cli.compare",
    "ablate": "xmcgan.cli.ablate",
    "report": "xmcgan.cli.report",
    "train-dual-encoder": "xmcgan.cli.train_dual_encoder",
    "train-evaluators": "xmcgan.cli.train_evaluators",
    "export": "xmcgan.cli.export",
    "bench": "xmcgan.cli.bench",
    "project": "xmcgan.cli.project",
    "data": {
        "prepare": "xmcgan.cli.data.prepare",
        "stats": "xmcgan.cli.data.stats",
        "browse": "xmcgan.cli.data.browse",
        "export": "xmcgan.cli.data.export",
        "verify": "xmcgan.cli.data.verify",
    },
    "study": {
        "create": "xmcgan.cli.study.create",
        "serve": "xmcgan.cli.study.serve",
        "results": "xmcgan.cli.study.results",
    },
    "scenes": "xmcgan.cli.scenes",
    "serve": "xmcgan.cli.serve",
    "demo": "xmcgan.cli.demo",
    "completion": "xmcgan.cli.completion",
}
"""The module of each verb, whose function has the module's name; and the verbs of each group, which is a package."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; a user's mistake is one line on standard error, and exit status 2."""
    try:
        return run(sys.argv[1:] if arguments is None else arguments)
    except BrokenPipeError:  # the reader of the output, such as `head`, has closed it
        silence(sys.stdout)
        return 141
    except (ValueError, TypeError, OSError) as error:
        say(f"xmcgan: {' '.join(message_of(error).split())}", sys.stderr)
        return 2
    except KeyboardInterrupt:
        say("xmcgan: interrupted", sys.stderr)
        return 130


def message_of(error: Exception) -> str:
    """An error's message; for the operating system's errors it starts with the file, without the error number."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror and str(error).startswith("[Errno"):
        return f"{error.filename}: {error.strerror}"
    return str(error)


def run(arguments: Sequence[str]) -> int:
    """Runs a command; errors are raised."""
    if list(arguments) == ["--version"]:
        print(__version__)
        return 0
    prog, commands = "xmcgan", COMMANDS
    while True:
        if not arguments or arguments[0] in ("-h", "--help"):
            print(overview(prog, commands))
            return 0 if arguments else 2
        name, *arguments = arguments
        if name not in commands:
            what = "command" if commands is COMMANDS else f"command of {prog}"
            raise ValueError(f"unknown {what} {name!r}{suggestion(name, commands)}")
        prog, found = f"{prog} {name}", commands[name]
        if isinstance(found, str):
            function = load(found)
            return function(**parse(function, arguments, prog))
        commands = found


def load(module: str) -> Function:
    """The function of a verb."""
    return getattr(importlib.import_module(module), module.rpartition(".")[2])


def overview(prog: str, commands: Mapping[str, str | dict[str, str]]) -> str:
    """Every command with its summary."""
    lines = [f"usage: {prog} COMMAND ...", ""]
    if commands is COMMANDS:
        lines = [f"xmcgan {__version__}: images from captions, by XMC-GAN", "", *lines]
    for name, found in commands.items():
        lines.append(f"  {name:<18} {summary(found)}")
    lines += ["", f"`{prog} COMMAND --help` has details. In flags, dashes and underscores are alike."]
    if commands is COMMANDS:
        lines[-1] += " `xmcgan --version` prints the version."
    return "\n".join(lines)


def summary(found: str | dict[str, str]) -> str:
    """A command's summary, from the docstring of its function or package."""
    if isinstance(found, str):
        documented = load(found)
    else:
        documented = importlib.import_module(next(iter(found.values())).rpartition(".")[0])
    return read_docstring(documented.__doc__).summary.rstrip(".")


if __name__ == "__main__":
    sys.exit(main())
