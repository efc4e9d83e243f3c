"""``xmcgan demo``."""

import sys
from pathlib import Path


def demo(*, output: Path = Path("runs/demo"), steps: int | None = None) -> int:
    """Show samples of the packaged model, then train scenes-64 from scratch for a few minutes.

    Args:
        output: folder of the run.
        steps: training steps; by default as many as fit into ten minutes.
    """
    from xmcgan.cli import demo_run
    from xmcgan.training.state import TrainingDiverged

    try:
        demo_run.demo(output, steps=steps)
    except TrainingDiverged as error:
        print(f"xmcgan: training stopped at {error}", file=sys.stderr)
        return 3
    return 0
