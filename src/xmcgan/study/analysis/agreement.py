"""Agreement of annotators with each other: Kendall's W, Krippendorff's alpha, pairs ordered alike.

Letters: N answers, D rankings, K systems, V values, C captions, I items, B bootstrap replicates of captions.
"""

from typing import NamedTuple

import numpy as np

from xmcgan.study.analysis.krippendorff import alpha_of, coincidences
from xmcgan.study.analysis.resampling import times_drawn
from xmcgan.study.analysis.tally import Tally


class Agreement(NamedTuple):
    """A measure of agreement with its 95 % interval over captions; None if it cannot be computed."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Agreements(NamedTuple):
    """How much the annotators of one criterion agree.

    Args:
        kendall_w: mean over captions of Kendall's W, 0 to 1, corrected for ties.
        kendall_w_chance: its expectation if all annotators ranked at random.
        alpha_ordinal: Krippendorff's alpha of the places of systems.
        alpha_nominal: Krippendorff's alpha of the system ranked best; a group of tied systems is its own value.
        ordered_alike: share of pairs of systems that two annotators of a caption order alike; a tie counts as an order.
        same_best: share of pairs of annotators of a caption with the same system ranked best.
        captions: number of captions with at least two annotators.
    """

    kendall_w: Agreement
    kendall_w_chance: float | None
    alpha_ordinal: Agreement
    alpha_nominal: Agreement
    ordered_alike: Agreement
    same_best: Agreement
    captions: int


def agreements(tally: Tally, *, replicates: int = 2000, seed: int = 0) -> Agreements:
    """All measures of agreement of a criterion, with percentile intervals of a bootstrap of captions.

    Annotators are not resampled: an annotator drawn twice would agree with themselves.
    """
    counts_ID = tally.counts_by(tally.item_N)
    captions = tally.captions
    drawn_BC = times_drawn(captions, replicates, np.random.default_rng(seed))
    weights_BC = np.concatenate([np.ones((1, captions)), drawn_BC])  # the first row: the original captions
    caption_I = np.zeros(len(counts_ID), dtype=np.int64)
    caption_I[tally.item_N] = tally.caption_N
    weights_BI = weights_BC[:, caption_I]
    w, chance, ordinal = Agreement(None), None, Agreement(None)
    if tally.features.shown_DK.all():  # places are comparable: every answer ranks every system
        w_I, chance_I = kendall_w(tally)
        known_I = ~np.isnan(w_I)
        w = estimate(weights_BI, np.where(known_I, w_I, 0), known_I.astype(float))
        chance = float(chance_I[known_I].mean()) if known_I.any() else None
        ordinal = percentiles(alpha_of(summed(weights_BI, ordinal_coincidences(tally, counts_ID)), "ordinal"))
    best_IV = counts_ID @ indicator(best_groups(tally))
    return Agreements(
        w,
        chance,
        ordinal,
        percentiles(alpha_of(summed(weights_BI, coincidences(best_IV)), "nominal")),
        estimate(weights_BI, *ordered_alike(tally, counts_ID)),
        estimate(weights_BI, *same(best_IV)),
        len(np.unique(caption_I[counts_ID.sum(1) > 1])),
    )


def estimate(weights_BI: np.ndarray, part_I: np.ndarray, whole_I: np.ndarray) -> Agreement:
    """A quotient of sums over items."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return percentiles((weights_BI @ part_I) / (weights_BI @ whole_I))


def percentiles(values_B: np.ndarray) -> Agreement:
    """The first value, with the middle 95 % of the others as its interval."""
    if not np.isfinite(values_B[0]):
        return Agreement(None)
    others = values_B[1:][np.isfinite(values_B[1:])]
    if len(others) < 2:
        return Agreement(float(values_B[0]))
    low, high = np.quantile(others, [0.025, 0.975])
    return Agreement(float(values_B[0]), float(low), float(high))


def summed(weights_BI: np.ndarray, of_IVV: np.ndarray) -> np.ndarray:
    """Weighted sums over items, (B, V, V)."""
    items, size, _ = of_IVV.shape
    return (weights_BI @ of_IVV.reshape(items, size * size)).reshape(-1, size, size)


def kendall_w(tally: Tally) -> tuple[np.ndarray, np.ndarray]:
    """Kendall's W of each item, and its expectation under random ranking, 1 / number of annotators, (I,).

    NaN for items with one annotator, or where all annotators tie all systems. With m annotators, K systems, rank sums
    R and T the sum of t^3 - t over all groups of t tied systems: W = 12 sum (R - mean R)^2 / (m^2 (K^3 - K) - m T).
    """
    ranks_NK = tally.features.rank_DK[tally.ranking_N]
    systems = ranks_NK.shape[1]
    ties_D = np.array([sum(len(group) ** 3 - len(group) for group in ranking) for ranking in tally.rankings])
    raters_I = np.bincount(tally.item_N).astype(float)
    sums_IK = np.zeros((len(raters_I), systems))
    np.add.at(sums_IK, tally.item_N, ranks_NK)
    ties_I = np.bincount(tally.item_N, ties_D[tally.ranking_N].astype(float))
    squares_I = ((sums_IK - sums_IK.mean(1, keepdims=True)) ** 2).sum(1)
    whole_I = raters_I**2 * (systems**3 - systems) - raters_I * ties_I
    known_I = (raters_I > 1) & (whole_I > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known_I, 12 * squares_I / whole_I, np.nan), np.where(known_I, 1 / raters_I, np.nan)


def ordered_alike(tally: Tally, counts_ID: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each item: pairs of annotators times pairs of systems that are ordered alike, and all such pairs, (I,)."""
    says = tally.features
    upper = np.triu_indices(len(tally.systems), 1)
    win, both = says.win_DKK[:, *upper], says.both_DKK[:, *upper]
    alike_I = sum(pairs(counts_ID @ ((win == value) * both)).sum(1) for value in (0, 0.5, 1))
    return np.asarray(alike_I), pairs(counts_ID @ both).sum(1)


def same(counts_IV: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each item: pairs of annotators with the same value, and all pairs, (I,)."""
    return pairs(counts_IV).sum(1), pairs(counts_IV.sum(1))


def pairs(counts: np.ndarray) -> np.ndarray:
    """Number of pairs among ``counts`` things."""
    return counts * (counts - 1) / 2


def best_groups(tally: Tally) -> list[object]:
    """For each ranking, the group ranked best and the systems compared."""
    return [(ranking[0], frozenset(name for group in ranking for name in group)) for ranking in tally.rankings]


def indicator(values_D: list[object]) -> np.ndarray:
    """1 where a ranking has a value, (D, V)."""
    known = {value: number for number, value in enumerate(dict.fromkeys(values_D))}
    return np.eye(len(known))[[known[value] for value in values_D]]


def ordinal_coincidences(tally: Tally, counts_ID: np.ndarray) -> np.ndarray:
    """Coincidences of places, summed over the systems of each item, (I, V, V)."""
    ranks_DK = tally.features.rank_DK
    places = np.unique(ranks_DK[ranks_DK > 0])
    given = [counts_ID @ (ranks_DK[:, system, None] == places) for system in range(ranks_DK.shape[1])]
    return np.sum([coincidences(counts_IV) for counts_IV in given], axis=0)
