"""The command line: one subcommand a verb."""

import sys
from collections.abc import Callable

from xmcgan import __version__
from xmcgan.cli.bench import bench_command
from xmcgan.cli.choice import chosen
from xmcgan.cli.compare import compare_command
from xmcgan.cli.data import data_command
from xmcgan.cli.demo import demo_command
from xmcgan.cli.evaluate import evaluate_command
from xmcgan.cli.export import export_command
from xmcgan.cli.generate import generate_command
from xmcgan.cli.project import project_command
from xmcgan.cli.scenes import scenes_command
from xmcgan.cli.train import train_command
from xmcgan.cli.train_evaluators import train_dual_encoder_command, train_evaluators_command

COMMANDS: dict[str, tuple[Callable[[list[str]], int], str]] = {
    "train": (train_command, "train a recipe, or go on with it"),
    "generate": (generate_command, "draw pictures of captions"),
    "evaluate": (evaluate_command, "evaluate a model's, another system's or real images by the paper's metrics"),
    "compare": (compare_command, "results beside the paper's own, one protocol a column"),
    "train-dual-encoder": (
        train_dual_encoder_command,
        "train your own dual encoder of images and captions, for R-precision",
    ),
    "train-evaluators": (train_evaluators_command, "train the packaged evaluation networks of Scenes again"),
    "export": (export_command, "write a generator and its text encoder as graphs: ONNX or torch.export"),
    "bench": (bench_command, "time training, drawing, text and loading on this machine"),
    "project": (project_command, "hours and memory of a training on 1 to 64 GPUs, by assumed or measured rates"),
    "data": (data_command, "prepare, count, look at and export data sets"),
    "scenes": (scenes_command, "write the embedded data set"),
    "demo": (demo_command, "all of it in a few minutes: data, training, pictures, one page"),
}


def main(arguments: list[str] | None = None) -> int:
    """Runs a subcommand; a mistake of the user's is one line on standard error, and exit status 2."""
    from jsonargparse import ArgumentError

    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"xmcgan {__version__}: images from captions, by XMC-GAN\n\nusage: xmcgan COMMAND ...\n")
        print("\n".join(f"  {name:<18} {about}" for name, (_, about) in COMMANDS.items()))
        print("\n`xmcgan COMMAND --help` says more.")
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(__version__)
        return 0
    try:
        command, _ = COMMANDS[chosen(arguments, COMMANDS, "command", "xmcgan COMMAND ...")]
        return command(arguments[1:])
    except (ValueError, TypeError, OSError, ArgumentError) as error:
        print(f"xmcgan: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("xmcgan: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
