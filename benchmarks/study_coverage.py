"""How often 95 % intervals of a study hold the truth: simulated studies with known worths.

    python benchmarks/study_coverage.py                    # every shape and population, 200 studies of each
    python benchmarks/study_coverage.py --studies 1000 --shape 100,5,20

Each study has two criteria of four systems, so 200 studies give 1,600 shares. The truth is that of the whole population
of captions and annotators. Beside the crossed bootstrap, the usual alternatives: captions resampled alone, annotators
alone, and both at once, each with percentiles. The last column is the share of studies of four equal systems in which
any of the six differences has a p below 0.05 after Holm's correction.
"""

import argparse
import sys
import time
from collections import defaultdict
from functools import cache

import numpy as np

from xmcgan.study.analysis.resampling import group_counts, holm, interval, p_values, spread, times_drawn
from xmcgan.study.analysis.simulate import (
    PAPER,
    Population,
    draw,
    expected_utilities,
    log_worths,
    true_shares,
)
from xmcgan.study.analysis.tally import Tally, mean_rank, share_best, win_rates
from xmcgan.study.analysis.worths import Choices, choices, worths

CRITERIA = (PAPER, {"XMC-GAN": 0.45, "OP-GAN": 0.25, "SD-GAN": 0.2, "CP-GAN": 0.1})
EQUAL = {"A": 0.25, "B": 0.25, "C": 0.25, "D": 0.25}
SHAPES = ((1000, 5, 50), (300, 5, 30), (100, 5, 20), (300, 3, 10), (100, 5, 5), (20, 5, 5))
POPULATIONS = {
    "annotators alike": Population(care=0, taste=0),
    "annotators differ": Population(),
    "annotators differ much": Population(care=0.5, taste=0.8),
}


def tally_of(utility_NK: np.ndarray, caption_N: np.ndarray, annotator_N: np.ndarray, systems: tuple[str, ...]) -> Tally:
    """Answers without ties, as counts."""
    order_NK, count = np.argsort(-utility_NK, 1), len(systems)
    digits = count ** np.arange(count)  # an order as one number: far faster to tell apart
    _, first, ranking_N = np.unique(order_NK @ digits, return_index=True, return_inverse=True)
    rankings = tuple(tuple((systems[place],) for place in order) for order in order_NK[first])
    return Tally(systems, rankings, ranking_N, caption_N, np.unique(annotator_N, return_inverse=True)[1], caption_N)


def statistics_of(counts: Tally):
    """Names of statistics, and all of them as a function of counts."""
    made: Choices = choices(counts.rankings, counts.systems)
    says, upper = counts.features, np.triu_indices(len(counts.systems), 1)

    def statistics(counts_BD: np.ndarray) -> np.ndarray:
        parts = (share_best(counts_BD, says), mean_rank(counts_BD, says), win_rates(counts_BD, says)[:, *upper])
        return np.concatenate([*parts, worths(counts_BD, made)], 1)

    return statistics


@cache
def truth(worth: tuple[tuple[str, float], ...], population: Population, draws: int = 400_000) -> np.ndarray:
    """Every statistic in the whole population; shares by a larger sample, without the noise of single answers."""
    random, logs = np.random.default_rng(7), log_worths(dict(worth))
    utility_NK = expected_utilities(logs, population, draws, random)
    utility_NK += random.gumbel(size=utility_NK.shape)
    zero_N = np.zeros(draws, dtype=np.int64)
    counts = tally_of(utility_NK, zero_N, zero_N, tuple(name for name, _ in worth))
    values = statistics_of(counts)(counts.counts_D[None])[0]
    values[: len(worth)] = true_shares(logs, population)
    return values


def percentiles(values_BP: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The middle 95 % of replicates."""
    low, high = np.quantile(values_BP, [0.025, 0.975], axis=0)
    return low, high


def both_at_once(counts: Tally, replicates: int, random: np.random.Generator) -> np.ndarray:
    """Counts with captions and annotators resampled at once: an answer counts the product of both."""
    groups = []
    for group_N in (counts.caption_N, counts.annotator_N):
        size = int(group_N.max()) + 1
        groups.append(times_drawn(size, replicates, random)[:, group_N])
    return (groups[0] * groups[1]) @ np.eye(len(counts.rankings))[counts.ranking_N]


def crossed(counts: Tally, replicates: int, random: np.random.Generator):
    """The interval of each statistic, and the smallest corrected p of a difference."""
    statistics, count = statistics_of(counts), len(counts.systems)
    values = statistics(counts.counts_D[None])[0]
    wide = spread(counts, statistics, replicates=replicates, seed=int(random.integers(2**32)))
    assert wide is not None
    low, high = interval(values, wide, captions=counts.captions)
    ranks = slice(count, 2 * count)
    of_ranks = interval(values, wide, captions=counts.captions, bounds=(1, count))
    low[ranks], high[ranks] = of_ranks[0][ranks], of_ranks[1][ranks]
    p = p_values(values, wide, captions=counts.captions)[2 * count : -count]
    return (low, high), float(holm(p).min())


def alternatives(counts: Tally, replicates: int, random: np.random.Generator):
    """Intervals of shares by the usual methods."""
    by_caption, by_annotator = counts.counts_by(counts.caption_N), counts.counts_by(counts.annotator_N)
    drawn = {
        "captions alone": group_counts(by_caption, replicates, random),
        "annotators alone": group_counts(by_annotator, replicates, random),
        "both at once": both_at_once(counts, replicates, random),
    }
    return {name: percentiles(share_best(some_BD, counts.features)) for name, some_BD in drawn.items()}


def coverage(shape: tuple[int, int, int], population: Population, *, studies: int, replicates: int, seed: int):
    """Share of intervals with the truth inside, by method and statistic; and of studies of equal systems rejected."""
    captions, per_caption, annotators = shape
    inside: dict[str, list[np.ndarray]] = defaultdict(list)
    rejected = []
    truths = [truth(tuple(worth.items()), population) for worth in CRITERIA]
    for study in range(studies):
        random = np.random.default_rng([seed, study])
        size = {"captions": captions, "per_caption": per_caption, "annotators": annotators, "random": random}

        def answers(worth: dict[str, float], size=size) -> Tally:
            drawn = draw(log_worths(worth), population, **size)
            return tally_of(drawn.utility_NK, drawn.caption_N, drawn.annotator_N, tuple(worth))

        for worth, true in zip(CRITERIA, truths, strict=True):
            counts = answers(worth)
            found = {"crossed bootstrap": crossed(counts, replicates, random)[0]}
            for method, (low, high) in (found | alternatives(counts, replicates, random)).items():
                inside[method].append((low <= true[: len(low)]) & (true[: len(low)] <= high))
        rejected.append(crossed(answers(EQUAL), replicates, random)[1] < 0.05)
    count, pairs = len(PAPER), len(PAPER) * (len(PAPER) - 1) // 2
    ours = np.array(inside.pop("crossed bootstrap"))
    ends = np.cumsum([count, count, pairs])
    parts = dict(zip(("share best", "mean rank", "win rate", "worth"), np.split(ours, ends, axis=1), strict=True))
    return {name: 100 * float(part.mean()) for name, part in parts.items()} | {
        f"share best, {name}": 100 * float(np.mean(part)) for name, part in inside.items()
    } | {"rejected equal": 100 * float(np.mean(rejected))}  # fmt: skip


def main() -> None:
    """Print a line of Markdown for each shape and population."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shape", help="captions,annotators a caption,annotators; all shapes if not given")
    options = parser.parse_args()
    shapes = [tuple(map(int, options.shape.split(",")))] if options.shape else SHAPES
    first = True
    for shape in shapes:
        for name, population in POPULATIONS.items():
            start = time.perf_counter()
            row = coverage(shape, population, studies=options.studies, replicates=options.replicates, seed=options.seed)
            if first:
                print(f"| captions, answers each, annotators | population | {' | '.join(row)} |")
                print("|---|---|" + "---:|" * len(row), flush=True)
                first = False
            cells = " | ".join(f"{value:.1f}" for value in row.values())
            print(f"| {', '.join(map(str, shape))} | {name} | {cells} |", flush=True)
            print(f"{shape}, {name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
