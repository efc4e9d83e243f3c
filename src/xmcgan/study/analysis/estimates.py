"""The statistics of one criterion with their intervals: shares, ranks, worths, win rates."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from xmcgan.study.analysis.resampling import Spread, group_counts, interval, p_values, spread
from xmcgan.study.analysis.tally import Tally, mean_rank, share_best, win_rates
from xmcgan.study.analysis.worths import choices, connected, refusal, worths

UNSTABLE = 0.05
"""Worths get no interval if more than this share of replicates has no finite worths."""


class Estimate(NamedTuple):
    """A statistic with its 95 % interval and standard error; None if unknown."""

    value: float
    low: float | None = None
    high: float | None = None
    error: float | None = None


class Numbers(NamedTuple):
    """Statistics by name with their intervals: lists over systems, or over pairs in order of combinations."""

    best: list[Estimate]
    rank: list[Estimate]
    worth: list[Estimate] | None
    wins: list[Estimate]
    p: list[float | None]


def estimates(
    counts: Tally, replicates: int, seed: int, progress: Callable[[int], object] | None
) -> tuple[Numbers, str | None]:
    """All statistics of a criterion, and the reason if worths or their intervals are refused."""
    count, says = len(counts.systems), counts.features
    upper = np.triu_indices(count, 1)
    refused = refusal(counts)
    made = choices(counts.rankings, counts.systems) if refused is None else None

    def statistics(counts_BD: np.ndarray) -> np.ndarray:
        parts = [share_best(counts_BD, says), mean_rank(counts_BD, says), win_rates(counts_BD, says)[:, *upper]]
        return np.concatenate(parts if made is None else [*parts, worths(counts_BD, made)], 1)

    values = statistics(counts.counts_D[None])[0]
    wide = spread(counts, statistics, replicates=replicates, seed=seed, progress=progress)
    ends = np.cumsum([count, count, len(upper[0])])
    best, rank, wins, worth = (slice(low, high) for low, high in zip([0, *ends], [*ends, len(values)], strict=True))
    p = [None] * len(upper[0])
    if wide is not None:
        p = [known(each) for each in p_values(values[wins], part(wide, wins), captions=counts.captions)]
    unstable = 0.0 if made is None else unconnected(counts, seed)
    if unstable > UNSTABLE:
        refused = (
            f"in {100 * unstable:.0f} % of bootstrap replicates the win graph is not strongly connected: too few "
            "answers for intervals of worths"
        )
    return Numbers(
        with_intervals(values[best], wide and part(wide, best), counts, (0, 1)),
        with_intervals(values[rank], wide and part(wide, rank), counts, (1, count)),
        None if made is None else with_intervals(
            values[worth], part(wide, worth) if wide and refused is None else None, counts, (0, 1)
        ),
        with_intervals(values[wins], wide and part(wide, wins), counts, (0, 1)),
        p,
    ), refused  # fmt: skip


def part(wide: Spread, of: slice) -> Spread:
    """The spread of some statistics."""
    return Spread(wide.answers_P[of], wide.captions_P[of], wide.annotators_P[of], wide.degrees)


def with_intervals(
    values_P: np.ndarray, wide: Spread | None, counts: Tally, bounds: tuple[float, float]
) -> list[Estimate]:
    """Statistics with their intervals, or without any."""
    if wide is None:
        return [Estimate(float(value)) for value in values_P]
    low, high = interval(values_P, wide, captions=counts.captions, bounds=bounds)
    rows = zip(values_P, low, high, np.sqrt(wide.total_P), strict=True)
    return [Estimate(float(value), *map(known, rest)) for value, *rest in rows]


def known(value: float) -> float | None:
    """A number, or None for NaN."""
    return None if np.isnan(value) else float(value)


def unconnected(counts: Tally, seed: int, replicates: int = 500) -> float:
    """Share of replicates, of captions or of annotators, whose win graph is not strongly connected: the larger one."""
    random = np.random.default_rng(seed)
    groups = [counts.counts_by(group_N) for group_N in (counts.caption_N, counts.annotator_N)]
    return max(float(1 - connected(group_counts(counts_GD, replicates, random), counts).mean()) for counts_GD in groups)
