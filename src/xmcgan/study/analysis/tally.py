"""Answers as counts of distinct rankings: every statistic of a study is a function of such counts.

Letters of shapes: N answers, D distinct rankings, K systems, B bootstrap replicates. A ranking is a tuple of groups of
systems, best first; systems of one group are tied.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import NamedTuple

import numpy as np

from xmcgan.study.records import Answer

Ranking = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Tally:
    """Main answers of one criterion.

    Args:
        systems: K names.
        rankings: D distinct rankings; within a tied group, systems are in the order of ``systems``.
        ranking_N: index of each answer's ranking.
        caption_N: index of each answer's caption, without gaps.
        annotator_N: index of each answer's annotator, without gaps.
        item_N: index of each answer's item; a caption has several if systems are compared in pairs.
    """

    systems: tuple[str, ...]
    rankings: tuple[Ranking, ...]
    ranking_N: np.ndarray
    caption_N: np.ndarray
    annotator_N: np.ndarray
    item_N: np.ndarray

    @cached_property
    def counts_D(self) -> np.ndarray:
        """How often each ranking was given."""
        return np.bincount(self.ranking_N, minlength=len(self.rankings)).astype(float)

    @cached_property
    def features(self) -> "Features":
        """The features of each distinct ranking, by system and pair."""
        return features(self.rankings, self.systems)

    @property
    def captions(self) -> int:
        """Number of captions with an answer."""
        return int(self.caption_N.max(initial=-1)) + 1

    @property
    def annotators(self) -> int:
        """Number of annotators with an answer."""
        return int(self.annotator_N.max(initial=-1)) + 1

    def counts_by(self, group_N: np.ndarray) -> np.ndarray:
        """Counts of rankings in each group of answers, (groups, D)."""
        counts = np.zeros((int(group_N.max(initial=-1)) + 1, len(self.rankings)))
        np.add.at(counts, (group_N, self.ranking_N), 1)
        return counts


class Features(NamedTuple):
    """The features of each distinct ranking, by system and pair of systems."""

    shown_DK: np.ndarray  # 1 where the system was among those ranked
    best_DK: np.ndarray  # 1 for the system ranked best; systems tied for it share the 1
    rank_DK: np.ndarray  # 1 for the best; tied systems get the mean of their places; 0 if not shown
    win_DKK: np.ndarray  # 1 where the first system is above the second, 1/2 where they are tied
    both_DKK: np.ndarray  # 1 where both were shown, 0 on the diagonal


def tally(answers: Sequence[Answer], systems: Sequence[str]) -> Tally:
    """Count the main answers.

    Args:
        answers: answers of one criterion; other kinds than ``main`` are skipped.
        systems: the study's systems.

    Raises:
        ValueError: naming an answer whose ranking has an unknown system, or one twice, or fewer than two.
    """
    place = {system: number for number, system in enumerate(systems)}
    main = [answer for answer in answers if answer.kind == "main"]
    known: dict[Ranking, int] = {}
    numbers = []
    for answer in main:
        names = [name for group in answer.ranking for name in group]
        if not set(names) <= place.keys() or len(set(names)) != len(names) or len(names) < 2:
            raise ValueError(
                f"the answer of annotator {answer.annotator} to item {answer.item_id} ranks {', '.join(names)}; it "
                f"should rank at least two of {', '.join(systems)}, each once"
            )
        ranking = tuple(tuple(sorted(group, key=place.__getitem__)) for group in answer.ranking)
        numbers.append(known.setdefault(ranking, len(known)))
    return Tally(
        tuple(systems),
        tuple(known),
        np.array(numbers, dtype=np.int64),
        indices([answer.caption_id for answer in main]),
        indices([answer.annotator for answer in main]),
        indices([answer.item_id for answer in main]),
    )


def indices(names: Sequence[object]) -> np.ndarray:
    """Numbers from 0 for names, by first appearance."""
    known: dict[object, int] = {}
    return np.array([known.setdefault(name, len(known)) for name in names], dtype=np.int64)


def features(rankings: Sequence[Ranking], systems: Sequence[str]) -> Features:
    """The features of rankings, by system and pair."""
    place = {system: number for number, system in enumerate(systems)}
    count = len(systems)
    rank_DK = np.zeros((len(rankings), count))
    best_DK = np.zeros_like(rank_DK)
    for number, ranking in enumerate(rankings):
        above = 0
        for group in ranking:
            members = [place[name] for name in group]
            rank_DK[number, members] = above + (len(members) + 1) / 2
            above += len(members)
        best_DK[number, [place[name] for name in ranking[0]]] = 1 / len(ranking[0])
    shown_DK = (rank_DK > 0).astype(float)
    both_DKK = shown_DK[:, :, None] * shown_DK[:, None, :] * (1 - np.eye(count))
    difference = rank_DK[:, None, :] - rank_DK[:, :, None]
    win_DKK = both_DKK * (np.sign(difference) + 1) / 2
    return Features(shown_DK, best_DK, rank_DK, win_DKK, both_DKK)


def pair_orders(ranking: Ranking) -> dict[tuple[str, str], int]:
    """For each pair of ranked systems, in order of name: 1 if the first is above, -1 if below, 0 if tied."""
    level = {name: number for number, group in enumerate(ranking) for name in group}
    orders = {}
    for first, second in combinations(sorted(level), 2):
        orders[first, second] = int(np.sign(level[second] - level[first]))
    return orders


# Statistics of counts. Each takes counts (B, D) and returns a row per replicate; NaN if nothing was shown.


def share_best(counts_BD: np.ndarray, says: Features) -> np.ndarray:
    """Share of answers that rank each system best among those that show it, (B, K): the paper's Figure 3."""
    return ratio(counts_BD @ says.best_DK, counts_BD @ says.shown_DK)


def mean_rank(counts_BD: np.ndarray, says: Features) -> np.ndarray:
    """Mean place of each system, 1 is best, (B, K)."""
    return ratio(counts_BD @ says.rank_DK, counts_BD @ says.shown_DK)


def win_rates(counts_BD: np.ndarray, says: Features) -> np.ndarray:
    """Share of answers with both systems in which the first is above the second, ties counting half, (B, K, K)."""
    wins = np.tensordot(counts_BD, says.win_DKK, 1)
    return ratio(wins, np.tensordot(counts_BD, says.both_DKK, 1))


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Quotient; NaN if the whole is 0."""
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)
