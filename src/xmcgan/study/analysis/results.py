"""All results of a study, from its answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

import numpy as np

from xmcgan.study.analysis.agreement import Agreements, agreements
from xmcgan.study.analysis.estimates import Estimate, Numbers, estimates
from xmcgan.study.analysis.exclusion import Conduct, conduct, counted
from xmcgan.study.analysis.resampling import holm
from xmcgan.study.analysis.tally import Tally, tally
from xmcgan.study.records import Answer, Study

REPLICATES = 2000
"""Default number of replicates of each bootstrap."""

FEW = 10
"""With fewer annotators than this, the page warns of wide intervals."""


@dataclass(frozen=True)
class SystemResult:
    """One system in one criterion.

    Args:
        best: share of answers that rank it best, ties split, 0 to 1: the paper's Figure 3.
        mean_rank: mean place, 1 is best; None in a study of pairs.
        worth: Plackett-Luce worth, the worths of all systems add up to 1; None if refused.
        answers: number of answers that show it.
    """

    system: str
    best: Estimate
    mean_rank: Estimate | None
    worth: Estimate | None
    answers: int


@dataclass(frozen=True)
class PairResult:
    """Two systems in one criterion.

    Args:
        wins: share of answers that rank the first above the second, a tie counting half.
        answers: number of answers that show both.
        p: two-sided p value of the hypothesis that the share is 1/2; None without an interval.
        p_holm: corrected for all pairs of all criteria.
    """

    first: str
    second: str
    wins: Estimate
    answers: int
    p: float | None
    p_holm: float | None


class Times(NamedTuple):
    """Quartiles of the time of a main item, in seconds."""

    lower: float
    median: float
    upper: float


@dataclass(frozen=True)
class CriterionResult:
    """Results of one criterion.

    Args:
        criterion: such as realism.
        answers: number of main answers that count.
        captions: number of captions with an answer.
        annotators: number of annotators with an answer.
        complete: items with as many answers as the study asks for.
        items: number of items with an answer.
        systems: in the study's order.
        pairs: every two systems that were compared.
        worths_refused: why there are no worths, or no intervals for them; None if there are.
        agreement: agreement of annotators with each other.
        self_agreement: mean over annotators of the share of pairs of systems ordered alike in repeats; None without.
        seconds: times of main items.
        notes: what a reader should know before using the numbers.
    """

    criterion: str
    answers: int
    captions: int
    annotators: int
    complete: int
    items: int
    systems: tuple[SystemResult, ...]
    pairs: tuple[PairResult, ...]
    worths_refused: str | None
    agreement: Agreements
    self_agreement: float | None
    seconds: Times
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Results:
    """Results of a study.

    Args:
        study: as it was created.
        conducts: conduct of each annotator in each criterion, with the reasons of exclusion.
        criteria: results after exclusion, of criteria with answers: the results of the study.
        everyone: the same without any exclusion.
        replicates: replicates of each bootstrap.
        seed: seed of the bootstraps.
    """

    study: Study
    conducts: tuple[Conduct, ...]
    criteria: tuple[CriterionResult, ...]
    everyone: tuple[CriterionResult, ...]
    replicates: int
    seed: int

    @property
    def excluded(self) -> tuple[Conduct, ...]:
        """The conduct of annotators whose answers are left out."""
        return tuple(each for each in self.conducts if each.excluded)


def analyse(
    study: Study,
    answers: Sequence[Answer],
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> Results:
    """Compute all results, after exclusion by the study's rules and without it.

    Args:
        study: its criteria, systems and rules.
        answers: answers of all kinds, in any number; criteria without an answer are left out of the results.
        replicates: replicates of each bootstrap, at least 2.
        seed: seed of the bootstraps; the same seed gives the same numbers.
        progress: called with the number of bootstrap replicates done, from time to time; ``steps`` gives the total.

    Raises:
        ValueError: naming an answer that does not belong to the study.
    """
    if replicates < 2:
        raise ValueError(f"replicates is {replicates}; it should be at least 2")
    for answer in answers:
        if answer.criterion not in study.criteria:
            raise ValueError(
                f"an answer to item {answer.item_id} has the criterion {answer.criterion!r}; those of the study are "
                f"{', '.join(study.criteria)}"
            )
    conducts = conduct(study, answers)
    kept = counted(answers, conducts)

    def all_criteria(some: Sequence[Answer]) -> tuple[CriterionResult, ...]:
        found = [criterion_result(study, name, some, conducts, replicates, seed, progress) for name in study.criteria]
        return corrected([each for each in found if each is not None])

    everyone = all_criteria(answers)
    return Results(study, conducts, everyone if len(kept) == len(answers) else all_criteria(kept), everyone, replicates,
                   seed)  # fmt: skip


def steps(study: Study, answers: Sequence[Answer], replicates: int = REPLICATES) -> int:
    """The most replicates that ``analyse`` computes, for a progress bar."""
    excluded = any(each.excluded for each in conduct(study, answers))
    return 3 * replicates * len(study.criteria) * (1 + excluded)


def criterion_result(
    study: Study,
    criterion: str,
    answers: Sequence[Answer],
    conducts: Sequence[Conduct],
    replicates: int,
    seed: int,
    progress: Callable[[int], object] | None,
) -> CriterionResult | None:
    """Results of one criterion; None without a main answer."""
    main = [answer for answer in answers if answer.criterion == criterion and answer.kind == "main"]
    if not main:
        return None
    counts = tally(main, study.systems)
    numbers, refused = estimates(counts, replicates, seed, progress)
    here = {answer.annotator for answer in main}
    own = [each.self_agreement for each in conducts if each.criterion == criterion and each.annotator in here]
    repeated = [share for share in own if share is not None]
    per_item = np.bincount(counts.item_N)
    lower, median, upper = np.quantile([answer.seconds for answer in main], [0.25, 0.5, 0.75])
    return CriterionResult(
        criterion=criterion,
        answers=len(main),
        captions=counts.captions,
        annotators=counts.annotators,
        complete=int((per_item >= study.annotators_per_item).sum()),
        items=len(per_item),
        systems=system_results(counts, numbers, ranks=study.mode == "rank"),
        pairs=pair_results(counts, numbers),
        worths_refused=refused,
        agreement=agreements(counts, replicates=replicates, seed=seed),
        self_agreement=sum(repeated) / len(repeated) if repeated else None,
        seconds=Times(float(lower), float(median), float(upper)),
        notes=notes(study, counts, per_item),
    )


def system_results(counts: Tally, numbers: Numbers, *, ranks: bool) -> tuple[SystemResult, ...]:
    """Results of the systems that were shown."""
    shown = counts.counts_D @ counts.features.shown_DK
    return tuple(
        SystemResult(
            name,
            numbers.best[number],
            numbers.rank[number] if ranks else None,
            None if numbers.worth is None else numbers.worth[number],
            int(shown[number]),
        )
        for number, name in enumerate(counts.systems)
        if shown[number]
    )


def pair_results(counts: Tally, numbers: Numbers) -> tuple[PairResult, ...]:
    """Results of the pairs that were compared, with p values not yet corrected."""
    both = np.tensordot(counts.counts_D, counts.features.both_DKK, 1)
    places = list(combinations(range(len(counts.systems)), 2))
    return tuple(
        PairResult(counts.systems[first], counts.systems[second], wins, int(both[first, second]), p, None)
        for (first, second), wins, p in zip(places, numbers.wins, numbers.p, strict=True)
        if both[first, second]
    )


def corrected(criteria: Sequence[CriterionResult]) -> tuple[CriterionResult, ...]:
    """The criteria with p values corrected for all pairs of all of them."""
    raw = [pair.p for each in criteria for pair in each.pairs if pair.p is not None]
    by_holm = iter(holm(np.array(raw)).tolist())
    return tuple(
        replace(each, pairs=tuple(
            pair if pair.p is None else replace(pair, p_holm=next(by_holm)) for pair in each.pairs
        ))
        for each in criteria
    )  # fmt: skip


def notes(study: Study, counts: Tally, per_item: np.ndarray) -> tuple[str, ...]:
    """The limits of a criterion's results, one sentence each."""
    found = []
    short = int((per_item < study.annotators_per_item).sum())
    if short:
        found.append(
            f"{short:,} of {len(per_item):,} items have fewer than the {study.annotators_per_item} answers that the "
            "study asks for."
        )
    if counts.captions < 2:
        found.append("Intervals need answers to at least two captions.")
    elif counts.annotators < 2:
        found.append("There is one annotator: the intervals say nothing of others.")
    elif counts.annotators < FEW:
        found.append(
            f"With {counts.annotators} annotators, intervals are wide where annotators differ: they are meant to hold "
            "for annotators in general, not only for these."
        )
    return tuple(found)
