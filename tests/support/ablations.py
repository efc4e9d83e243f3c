"""Ablations whose runs have ended, without training: outcomes with chosen values."""

import random
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from xmcgan.ablation.outcome import Outcome, write_outcome
from xmcgan.ablation.plan import Budget, Plan, Run, write_plan
from xmcgan.ablation.studies import Study
from xmcgan.runtime.files import make_folder


def plan_of(output: Path, study: Study, **settings) -> Plan:
    """A plan with few seeds and images, written to its folder."""
    plan = Plan(output, study, **{"recipe": "scenes-64", "budget": Budget(images=800), "seeds": 3, "points": 2,
                                  "pairs": 8} | settings)  # fmt: skip
    write_plan(plan)
    return plan


def outcome_of(run: Run, values: dict[str, float], **changes) -> Outcome:
    """A run that was trained, with its curve and losses."""
    curve = [{"step": step, "images": 16 * step, **{name: value * (3 - step / 25) for name, value in values.items()}}
             for step in (0, 25, 50)]  # fmt: skip
    losses = [{"step": step, "images": 16 * step, "fake_sentence_accuracy": step / 50} for step in (10, 30, 50)]
    known = {
        "row": run.row.name, "seed": run.seed, "status": "done", "error": "", "values": values, "curve": curve,
        "losses": losses, "steps": 50, "images": 800, "seconds": 61.5, "device": "cpu, 1 threads", "version": "0",
        "captions": ["a red car on a street", "<b>two</b> boats & a bus"],
        "protocol": {"count": 128, "reference": 400, "split": "val2014", "data": "scenes", "extractor": "default",
                     "encoder": "default", "detector": "default"},
    }  # fmt: skip
    return Outcome(**known | changes)


def end_runs(plan: Plan, means: dict[str, dict[str, float]], *, spread: float = 0.1, seeds: Sequence[int] = (0, 1, 2)):
    """Writes outcomes and samples for rows, their values scattered around means by metric."""
    rng = random.Random(0)
    for run in plan.runs():
        if run.row.name in means and run.seed in seeds:
            values = {name: mean * (1 + spread * rng.uniform(-1, 1)) for name, mean in means[run.row.name].items()}
            write_outcome(plan.outcome_file(run), outcome_of(run, values))
            make_folder(plan.samples_file(run).parent)
            shade = (40 * run.seed, 90, 60 + 20 * len(run.row.name) % 190)
            Image.new("RGB", (128, 128), shade).save(plan.samples_file(run))
