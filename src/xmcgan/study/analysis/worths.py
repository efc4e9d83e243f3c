"""Plackett-Luce worths of systems: the probability that each is ranked best, by a model of whole rankings.

The estimate is the one of ``choix.ilsr_rankings`` (iterative Luce spectral ranking; Maystre and Grossglauser, NeurIPS
2015), with two additions: rankings are counted, so that thousands of bootstrap replicates are solved at once, and a tie
counts as every order of the tied systems in equal parts. Whole rankings are one observation each; breaking them into
pairs would count every answer several times over, and give intervals that are too narrow.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

from xmcgan.study.analysis.tally import Ranking, Tally

REGULARISATION = 0.1
"""``alpha`` of choix: the rate at which the Markov chain moves between any two systems without any answer."""


@dataclass(frozen=True)
class Choices:
    """Rankings as successive choices of the best system among those left; E distinct choices.

    Args:
        of_DE: how often each choice occurs in each ranking; fractions if systems are tied.
        among_EK: 1 for the systems left.
        chosen_E: index of the system chosen.
    """

    of_DE: np.ndarray
    among_EK: np.ndarray
    chosen_E: np.ndarray


def choices(rankings: Sequence[Ranking], systems: Sequence[str]) -> Choices:
    """The successive choices of each ranking."""
    place = {system: number for number, system in enumerate(systems)}
    known: dict[tuple[int, frozenset[int]], int] = {}
    rows: list[dict[int, float]] = []
    for ranking in rankings:
        row: dict[int, float] = defaultdict(float)
        groups = [[place[name] for name in group] for group in ranking]
        for number, group in enumerate(groups):
            below = [system for later in groups[number + 1 :] for system in later]
            # All orders of a tied group: a subset of size s is left over in 1 / comb(group, s) of them.
            for size in range(1, len(group) + 1):
                for left in combinations(group, size):
                    among = frozenset([*left, *below])
                    for chosen in left if len(among) > 1 else ():
                        key = known.setdefault((chosen, among), len(known))
                        row[key] += 1 / (comb(len(group), size) * size)
        rows.append(row)
    of_DE = np.zeros((len(rankings), len(known)))
    for number, row in enumerate(rows):
        of_DE[number, list(row)] = list(row.values())
    among_EK = np.zeros((len(known), len(systems)))
    for (_, among), number in known.items():
        among_EK[number, list(among)] = 1
    return Choices(of_DE, among_EK, np.array([chosen for chosen, _ in known], dtype=np.int64))


def worths(
    counts_BD: np.ndarray, made: Choices, *, alpha: float = REGULARISATION, tolerance: float = 1e-8, most: int = 500
) -> np.ndarray:
    """Worths (B, K) of counted rankings: positive, with sum 1 in each row.

    Args:
        counts_BD: how often each ranking was given, a row per replicate.
        made: the choices of those rankings.
        alpha: regularisation, above 0; it shrinks the worths towards each other and keeps a replicate's worths finite.
        tolerance: largest sum of absolute changes in log worth between the last two iterations.
        most: most iterations.

    Raises:
        ValueError: if the iteration does not converge.
    """
    replicates, count = len(counts_BD), made.among_EK.shape[1]
    choices_BE = counts_BD @ made.of_DE
    moves_EKK = made.among_EK[:, :, None] * np.eye(count)[made.chosen_E][:, None, :]  # from any that was left over
    moves = (moves_EKK * (1 - np.eye(count))).reshape(-1, count * count)
    worths_BK = np.full((replicates, count), 1 / count)
    open_ = np.arange(replicates)  # replicates that have not converged
    right = np.zeros((count, 1))
    right[-1] = 1
    for _ in range(most):
        sums_BE = count * worths_BK[open_] @ made.among_EK.T  # worths of mean 1: the scale of alpha in choix
        rates = ((choices_BE[open_] / sums_BE) @ moves).reshape(-1, count, count)
        rates += alpha * (1 - np.eye(count))
        balance = np.swapaxes(rates, 1, 2) - np.eye(count) * rates.sum(2)[:, None, :]
        balance[:, -1] = 1  # one equation is redundant: use that probabilities sum to 1 instead
        stationary = np.linalg.solve(balance, np.broadcast_to(right, (len(open_), count, 1)))[:, :, 0]
        new = np.maximum(stationary, 1e-300)
        change = np.abs(np.log(new / worths_BK[open_])).sum(1)
        worths_BK[open_] = new
        open_ = open_[change > tolerance]
        if not len(open_):
            break
    else:
        raise ValueError(f"Plackett-Luce worths did not converge in {most} iterations")
    return worths_BK


def connected(counts_BD: np.ndarray, tally: Tally) -> np.ndarray:
    """Whether the win graph of each replicate is strongly connected, (B,)."""
    return np.asarray(reached(counts_BD, tally).all((1, 2)))


def reached(counts_BD: np.ndarray, tally: Tally) -> np.ndarray:
    """Whether a chain of wins leads from the first system to the second, (B, K, K); a tie is half a win for each."""
    count = len(tally.systems)
    reach = (np.tensordot(counts_BD, tally.features.win_DKK, 1) > 0) | np.eye(count, dtype=bool)
    for _ in range(max(1, (count - 1).bit_length())):
        reach = np.matmul(reach.astype(np.int64), reach.astype(np.int64)) > 0
    return reach


def refusal(tally: Tally) -> str | None:
    """Why worths cannot be estimated, or None if they can.

    Without a chain of wins from every system to every other one, the likelihood keeps growing as some worths go to 0;
    numbers would then come from the regularisation alone.
    """
    (reach,) = reached(tally.counts_D[None], tally)
    for number in np.argsort(reach.sum(1)):
        inside = [name for name, there in zip(tally.systems, reach[number], strict=True) if there]
        outside = [name for name in tally.systems if name not in inside]
        if outside:
            return (
                f"no answer ranks {' or '.join(inside)} above {' or '.join(outside)}: the win graph is not strongly "
                "connected, and the model has no finite worths"
            )
    return None
