"""Reuses results of identical runs of another ablation, such as the whole recipe, which is in Tables 4 and 6."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xmcgan.ablation.outcome import Outcome, read_outcome
from xmcgan.ablation.plan import Plan, Run, config_of, read_plan
from xmcgan.config import flatten, to_dict
from xmcgan.runtime.files import atomic_file, make_folder

CHANGES_NO_RESULT = ("data", "training.device", "training.checkpoint_every")


def reused_outcome(plan: Plan, run: Run, steps: int, folders: Sequence[Path]) -> Outcome | None:
    """The outcome of an equal run in one of these ablations, after copying its samples; None if there is none.

    Runs are equal if they have the same configuration, seed, steps and evaluation. Only the settings in
    CHANGES_NO_RESULT may differ. One of them is the path of the data folder, because folders move: the caller promises
    that the data are the same.

    Raises:
        FileNotFoundError, ValueError: if a folder holds no ablation, or a file is damaged.
    """
    wanted = settings_of(plan, run, steps)
    for folder in folders:
        other = read_plan(folder)
        for candidate in other.runs():
            path = other.outcome_file(candidate)
            if candidate.seed != run.seed or not path.is_file():
                continue
            outcome = read_outcome(path)
            if outcome.status == "done" and settings_of(other, candidate, outcome.steps) == wanted:
                copy_samples(other.samples_file(candidate), plan.samples_file(run))
                return replace(outcome, row=run.row.name, reused=f"{other.study.name}, {candidate.row.name}")
    return None


def settings_of(plan: Plan, run: Run, steps: int) -> dict[str, Any]:
    """The settings that determine the outcome of a run."""
    settings = flatten(to_dict(config_of(plan, run, steps, "")))
    kept = {name: value for name, value in settings.items() if name not in CHANGES_NO_RESULT}
    return kept | {"points": plan.points, "pairs": plan.pairs}


def copy_samples(source: Path, target: Path) -> None:
    """Copies a sample grid, whole or not at all."""
    make_folder(target.parent)
    with atomic_file(target) as partial:
        shutil.copyfile(source, partial)
