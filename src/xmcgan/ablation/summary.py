"""The outcomes of an ablation, summarised: values by metric and row, differences, the paper's order against ours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from xmcgan.ablation.outcome import Outcome, read_outcome
from xmcgan.ablation.plan import Plan
from xmcgan.ablation.statistics import Difference, Summary, compare_pairs, summarise
from xmcgan.ablation.studies import Claim
from xmcgan.evaluation.metric_names import LOWER_IS_BETTER

PAPER_IMAGES = 82_783_000
"""Real images that a run of the paper's ablations saw: 1000 epochs of COCO-14's training split."""


class Replication(NamedTuple):
    """A claim of the paper, and our measured difference."""

    claim: Claim
    ours: float  # by how much the row is better; negative if it is worse
    significant: bool

    @property
    def agrees(self) -> bool:
        """Whether the means are in the paper's order."""
        return self.ours > 0


@dataclass(frozen=True)
class Results:
    """The results that a report shows.

    Args:
        outcomes: all runs that ended, in the order of the plan.
        metrics: names, in the order of the evaluation.
    """

    plan: Plan
    outcomes: list[Outcome]
    metrics: list[str]

    def values(self, metric: str) -> dict[str, list[float]]:
        """The final values of a metric by row, one per seed; rows without any are left out."""
        found: dict[str, list[float]] = {}
        for outcome in self.done():
            if metric in outcome.values:
                found.setdefault(outcome.row, []).append(outcome.values[metric])
        return {row.name: found[row.name] for row in self.plan.study.rows if row.name in found}

    def summaries(self, metric: str) -> dict[str, Summary]:
        """Mean and deviation of a metric by row."""
        return {row: summarise(values) for row, values in self.values(metric).items()}

    def differences(self, metric: str) -> list[Difference]:
        """The differences between all pairs of rows in a metric."""
        return compare_pairs(self.values(metric))

    def replications(self) -> list[Replication]:
        """The paper's claims for which both rows were measured."""
        replications = []
        for claim in self.plan.study.all_claims():
            means = self.summaries(claim.metric)
            if claim.better not in means or claim.worse not in means:
                continue
            difference = means[claim.better].mean - means[claim.worse].mean
            ours = -difference if lower_is_better(claim.metric) else difference
            pair = {claim.better, claim.worse}
            found = next(each for each in self.differences(claim.metric) if {each.first, each.second} == pair)
            replications.append(Replication(claim, ours, found.significant))
        return replications

    def done(self) -> list[Outcome]:
        """The runs that were trained to the end."""
        return [outcome for outcome in self.outcomes if outcome.status == "done"]

    def failed(self) -> list[Outcome]:
        """The runs that ended with an error."""
        return [outcome for outcome in self.outcomes if outcome.status == "failed"]

    def seeds(self) -> tuple[int, int]:
        """The fewest and most seeds that a row has."""
        counts = [sum(outcome.row == row.name for outcome in self.done()) for row in self.plan.study.rows]
        return min(counts), max(counts)


def lower_is_better(metric: str) -> bool:
    """Whether smaller values are better."""
    return metric in LOWER_IS_BETTER


def has_direction(metric: str) -> bool:
    """Whether higher or lower values are better. For the diversity neither is: it is high for noise, too."""
    return metric != "diversity"


def gather(plan: Plan) -> Results:
    """Reads all outcomes so far.

    Raises:
        ValueError: if there is none yet, or one is damaged.
    """
    outcomes = [read_outcome(path) for run in plan.runs() if (path := plan.outcome_file(run)).is_file()]
    if not outcomes:
        raise ValueError(f"no run of {plan.output} has ended yet; `xmcgan ablate` resumes them")
    return Results(plan, outcomes, list(dict.fromkeys(name for outcome in outcomes for name in outcome.values)))


def changes(plan: Plan) -> dict[str, Sequence[str]]:
    """The settings in which each row differs from at least one other, as ``name value``."""
    from xmcgan.config import flatten, to_dict

    flat = {row.name: flatten(to_dict(row.config)) for row in plan.study.rows}
    names = [name for name in next(iter(flat.values())) if len({repr(values[name]) for values in flat.values()}) > 1]
    return {row: [f"{name} {values[name]}" for name in names] for row, values in flat.items()}
