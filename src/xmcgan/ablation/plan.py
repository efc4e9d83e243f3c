"""The folder of an ablation: what is compared, the budget, and the runs.

OUTPUT/study.json            the rows with their whole configurations, seeds and budget
OUTPUT/steps.json            steps of each row, if the budget is a time
OUTPUT/runs/ROW/seed-N/      one training run each
OUTPUT/outcomes/ROW-seed-N.json  its result, or its error; a run with an outcome is done
OUTPUT/samples/ROW-seed-N.png    images of the same captions and seeds
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xmcgan.ablation.studies import Claim, Row, Study
from xmcgan.config import Config, check, from_dict, to_dict
from xmcgan.runtime.files import read_object, write_json
from xmcgan.runtime.folders import changed_settings, refuse_changed, refuse_foreign
from xmcgan.runtime.locks import locked_folder

STUDY = "study.json"
FIELDS = ("study", "recipe", "title", "question", "remark", "rows", "claims", "budget", "points", "pairs", "seeds")
MAY_CHANGE = ("seeds", "title", "question", "remark", "claims", "version")


@dataclass(frozen=True)
class Budget:
    """What every run may cost. Without a limit, a run has its recipe's steps.

    Args:
        images: real images that the discriminator sees.
        minutes: minutes of training on this machine; each row is timed for some steps first to fix how many it gets.
    """

    images: int | None = None
    minutes: float | None = None

    def __post_init__(self):
        check(self.images is None or self.minutes is None, "give --images or --minutes, not both")
        check(self.images is None or self.images >= 1, f"images is {self.images}; it should be at least 1")
        check(self.minutes is None or 0 < self.minutes < math.inf, f"minutes is {self.minutes}; it should be positive")


@dataclass(frozen=True)
class Run:
    """One row with one seed."""

    row: Row
    seed: int

    @property
    def name(self) -> str:
        """The name of its files."""
        return f"{slug(self.row.name)}-seed-{self.seed}"

    @property
    def folder(self) -> Path:
        """The folder of its training, under ``runs``."""
        return Path(slug(self.row.name)) / f"seed-{self.seed}"


@dataclass(frozen=True)
class Plan:
    """An ablation.

    Args:
        output: its folder.
        recipe: name of the recipe that the rows are variants of.
        seeds: number of seeds, 0, 1, ...
        points: evaluations of each run after its first step, evenly spaced; the last is the result.
        pairs: number of captions for the diversity, which compares two images of each; 0 leaves it out.
    """

    output: Path
    study: Study
    recipe: str
    budget: Budget
    seeds: int
    points: int
    pairs: int

    def runs(self) -> list[Run]:
        """All runs, seed by seed, so that an unfinished study already compares all rows."""
        return [Run(row, seed) for seed in range(self.seeds) for row in self.study.rows]

    def outcome_file(self, run: Run) -> Path:
        """The file of a run's outcome."""
        return self.output / "outcomes" / f"{run.name}.json"

    def samples_file(self, run: Run) -> Path:
        """The file of a run's sample grid."""
        return self.output / "samples" / f"{run.name}.png"


def slug(name: str) -> str:
    """A row's name for file names; + becomes "and"."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower().replace("+", " and ")).strip("-") or "row"


def write_plan(plan: Plan) -> None:
    """Writes the plan into its folder, or checks that the folder holds the same study; more seeds may be added.

    Raises:
        ValueError: naming what differs.
    """
    check(plan.seeds >= 1, f"seeds is {plan.seeds}; it should be at least 1")
    check(plan.points >= 1, f"points is {plan.points}; the last evaluation is the result, so it should be at least 1")
    check(plan.pairs >= 0, f"pairs is {plan.pairs}; 0 leaves the diversity out")
    names = [slug(row.name) for row in plan.study.rows]
    check(len(set(names)) == len(names), f"two rows of {plan.study.name} would have the same files: {sorted(names)}")
    content, path = to_content(plan), plan.output / STUDY
    if not path.exists():
        refuse_foreign(plan.output, "an ablation")  # before a lock is put there
    with locked_folder(plan.output, "planned", wait=True):  # several processes can share an ablation
        if path.exists():
            known = read_plan(plan.output)
            changes = changed_settings(comparable(to_content(known)), comparable(content))
            refuse_changed(plan.output, "another study", changes)
            content |= {"seeds": max(plan.seeds, known.seeds)}
        write_json(path, content)


def comparable(content: dict[str, Any]) -> dict[str, Any]:
    """What must be equal to resume a study: rows by name, without the settings that change no result."""
    rows = {f"row {row['name']}": without_machine(row["config"]) for row in content["rows"]}
    return {name: value for name, value in content.items() if name not in (*MAY_CHANGE, "rows")} | rows


def without_machine(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration without the settings that differ between machines."""
    kept = {name: value for name, value in config.items() if name != "data"}
    return kept | {"training": {name: value for name, value in config["training"].items() if name != "device"}}


def to_content(plan: Plan) -> dict[str, Any]:
    """A plan as plain values."""
    study = plan.study
    return {
        "study": study.name,
        "recipe": plan.recipe,
        "title": study.title,
        "question": study.question,
        "remark": study.remark,
        "rows": [{"name": row.name, "config": to_dict(row.config), "paper": dict(row.paper)} for row in study.rows],
        "claims": [vars(claim) for claim in study.claims],
        "budget": vars(plan.budget),
        "points": plan.points,
        "pairs": plan.pairs,
        "seeds": plan.seeds,
    }


def read_plan(output: Path) -> Plan:
    """The plan of a folder.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged.
    """
    path = output / STUDY
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {output} is not the folder of an ablation (`xmcgan ablate`)")
    content = read_object(path, *FIELDS)
    try:
        rows = tuple(Row(row["name"], from_dict(row["config"]), row["paper"]) for row in content["rows"])
        claims = tuple(Claim(**claim) for claim in content["claims"])
        study = Study(content["study"], content["title"], content["question"], rows, claims, content["remark"])
        return Plan(
            output, study, content["recipe"], Budget(**content["budget"]), content["seeds"], content["points"],
            content["pairs"],
        )  # fmt: skip
    except KeyError as error:
        raise ValueError(f"{path} is damaged: a row lacks {error}") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def config_of(plan: Plan, run: Run, steps: int, device: str) -> Config:
    """The configuration that a run is trained with."""
    config = run.row.config
    training = replace(
        config.training,
        steps=steps,
        seed=run.seed,
        device=device,
        sample_every=max(steps, 1),
        checkpoint_every=max(1, min(config.training.checkpoint_every, steps)),
        keep_checkpoints=1,
        log_every=max(1, min(config.training.log_every, steps // plan.points)),
    )
    return replace(config, training=training, evaluation=replace(config.evaluation, every=-(-steps // plan.points)))


def images_of_step(config: Config) -> int:
    """Real images that the discriminator sees in a training step."""
    return config.training.batch_size * config.training.discriminator_steps


def steps_of(plan: Plan, row: Row, seconds_a_step: float | None = None) -> int:
    """The steps of a row within the budget.

    Args:
        seconds_a_step: measured time of a step; needed if the budget is a time.
    """
    if plan.budget.images is not None:
        return -(-plan.budget.images // images_of_step(row.config))
    if plan.budget.minutes is not None:
        assert seconds_a_step is not None
        return max(1, round(plan.budget.minutes * 60 / seconds_a_step))
    return row.config.training.steps


def rows_named(study: Study, names: Sequence[str]) -> Study:
    """The study with some of its rows.

    Raises:
        ValueError: naming the rows there are.
    """
    known = {row.name: row for row in study.rows}
    unknown = [name for name in names if name not in known]
    check(not unknown, f"{study.name} has no row {', '.join(unknown)}; there is {', '.join(known)}")
    return replace(study, rows=tuple(row for row in study.rows if row.name in names))
