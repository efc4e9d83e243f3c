"""``xmcgan train-evaluators``."""

from pathlib import Path
from typing import Any


def train_evaluators(*, output: Path) -> int:
    """Train the packaged evaluation networks of Scenes again.

    Writes the third split of Scenes and trains the dual encoder, the presence network and the detector on it
    (docs/evaluators.md).
    Repeat the command to resume.

    Args:
        output: folder to write: a new one, or one of an interrupted training.
    """
    from xmcgan.training.evaluators.scenes import train_scenes_evaluators

    for world, measured in train_scenes_evaluators(output).items():
        print(f"{world}: {'; '.join(accuracies(measured))}")
    print(f"scenes-dual-encoder, scenes-presence and scenes-detector are in {output}")
    return 0


def accuracies(measured: dict[str, Any]) -> list[str]:
    """The accuracies in one world, as lines; not every network is measured in each world."""
    parts = []
    if "retrieval_top1" in measured:
        parts.append(f"retrieval {measured['retrieval_top1']:.1%} top 1 of 100")
    if "presence" in measured:
        presence = measured["presence"]
        parts.append(
            f"presence of the worst category {presence['accuracy_least']:.1%}, balanced "
            f"{presence['balanced_least']:.1%}, all {presence['exact']:.1%}"
        )
    if "detector" in measured:
        parts.append(f"every object and colour found {measured['detector']['exact']:.1%}")
    return parts
