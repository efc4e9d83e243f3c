"""Saves a run's last step when something outside the run ends it, such as a missing image or a full disk."""

from collections.abc import Callable
from collections.abc import Generator as AbstractGenerator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xmcgan.inference.model_files import newest_checkpoint
from xmcgan.runtime.distributed import RankZeroFailed, is_main
from xmcgan.training.state import TrainingDiverged


class RunStopped(OSError, ValueError):
    """Something outside the run ended it; the message gives the cause and the step that the run resumes from."""


@dataclass
class RunProgress:
    """The progress of a run.

    Args:
        step: the last finished one.
        whole: false while networks and optimizers are between two steps, and cannot be saved.
    """

    step: int
    whole: bool = True

    @contextmanager
    def updating(self) -> AbstractGenerator[None]:
        """Marks a block that changes the networks; after an error in it they are not saved."""
        self.whole = False
        yield
        self.whole = True


@contextmanager
def saving_on_error(progress: RunProgress, output: Path, save: Callable[[int], None]) -> AbstractGenerator[None]:
    """Saves the last step if an error ends the block between two steps; the error gets a note on where the run resumes.

    Args:
        save: writes a checkpoint of the step it is given; called on rank 0, without the others.

    Raises:
        RunStopped: on an error of the system or of the data, in one line. Other errors get a note.
    """
    try:
        yield
    except (TrainingDiverged, RankZeroFailed):
        raise
    except Exception as error:
        if not is_main() or progress.step == 0:
            raise
        note = save_last(progress, output / "checkpoints", save)
        if isinstance(error, OSError | ValueError | TypeError):
            raise RunStopped(f"{str(error).rstrip('.')}. {note}") from error
        error.add_note(note)
        raise


def save_last(progress: RunProgress, runs: Path, save: Callable[[int], None]) -> str:
    """Saves the last step, if it can be saved; returns a sentence about what happened."""
    reason = " within a step"
    if progress.whole:
        try:
            save(progress.step)
            reason = ""
        except (OSError, TrainingDiverged) as error:
            reason = f", and step {progress.step} could not be saved: {error}"
    newest = newest_checkpoint(runs)
    if newest is None:
        return f"The run stopped{reason}; it has no checkpoint"
    return f"The run stopped{reason}; the same command resumes from step {int(newest.name.removeprefix('step-'))}"
