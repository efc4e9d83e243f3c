"""``xmcgan train-evaluators``."""

from pathlib import Path


def train_evaluators(*, output: Path) -> int:
    """Train the packaged evaluation networks of Scenes again.

    Writes the third split of Scenes and trains the dual encoder and the presence network on it (docs/evaluators.md).
    The same command again resumes.

    Args:
        output: folder to write, new or of an interrupted training.
    """
    from xmcgan.training.evaluators.scenes import train_scenes_evaluators

    for world, measured in train_scenes_evaluators(output).items():
        presence = measured["presence"]
        print(
            f"{world}: retrieval {measured['retrieval_top1']:.1%} top 1 of 100; presence of the worst category "
            f"{presence['accuracy_least']:.1%}, balanced {presence['balanced_least']:.1%}, all {presence['exact']:.1%}"
        )
    print(f"scenes-dual-encoder and scenes-presence are in {output}")
    return 0
