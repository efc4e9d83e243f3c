"""The subcommand ``xmcgan demo``."""

import sys
from pathlib import Path

from xmcgan.cli.parser import ArgumentParser


def demo_command(arguments: list[str]) -> int:
    """From nothing to a page of pictures."""
    parser = ArgumentParser(
        prog="xmcgan demo",
        description="Shows samples of the packaged model, then trains scenes-64 from nothing for a few minutes.",
        exit_on_error=False,
    )
    parser.add_argument("--output", type=Path, default=Path("runs/demo"), help="folder of the run")
    parser.add_argument(
        "--steps", type=int, default=None, help="training steps; unless given, as many as fit into ten minutes"
    )
    options = parser.parse_args(arguments)
    from xmcgan.cli.demo_run import demo
    from xmcgan.training.state import TrainingDiverged

    try:
        demo(options.output, steps=options.steps)
    except TrainingDiverged as error:
        print(f"xmcgan: training stopped at {error}", file=sys.stderr)
        return 3
    return 0
