"""Intervals that respect captions and annotators: the crossed bootstrap.

An answer depends on its caption (some are hard, on some a system is lucky) and on its annotator (some are careless,
some have their own taste). Five answers to one caption, or a thousand by one annotator, are not independent. With
effects of captions and annotators, the variance of a mean of N answers to C captions by A annotators is

    var(captions) / C + var(annotators) / A + var(answers) / N

in a balanced study. Three bootstraps estimate it: of captions, of annotators, and of single answers. The first contains
the first and the last term, the second the last two, the third only the last one (and small parts of the others that
cancel): so the estimate is ``captions + annotators - answers``, as in Cameron, Gelbach and Miller (2011). Each term
gets the t quantile of its own degrees of freedom, since five annotators show little of how annotators differ, while a
thousand captions show much of how captions do. docs/study.md has the measured coverage of this and of the usual
alternatives: a bootstrap of captions alone is far too narrow if annotators differ, and resampling both at once is too
wide if they do not.

Letters: N answers, D rankings, B replicates, P statistics.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit
from scipy.stats import t as student

from xmcgan.study.analysis.tally import Tally

Statistics = Callable[[np.ndarray], np.ndarray]
"""Counts of rankings (B, D) to statistics (B, P)."""

BLOCK = 250
"""Replicates computed at once, to bound memory."""


@dataclass(frozen=True)
class Spread:
    """Variance of P statistics in three parts.

    Args:
        answers_P: variance from single answers.
        captions_P: additional variance from captions; 0 where the estimate is negative.
        annotators_P: additional variance from annotators; 0 where the estimate is negative, or there is one annotator.
        degrees: degrees of freedom of the three parts, in this order.
    """

    answers_P: np.ndarray
    captions_P: np.ndarray
    annotators_P: np.ndarray
    degrees: tuple[float, float, float]

    @property
    def total_P(self) -> np.ndarray:
        """Variance of the statistics."""
        return self.answers_P + self.captions_P + self.annotators_P

    def half_width(self, outside: float | np.ndarray) -> np.ndarray:
        """Half the width of the two-sided interval that misses the truth with probability ``outside``, (P,)."""
        parts = (self.answers_P, self.captions_P, self.annotators_P)
        squares = np.zeros_like(self.answers_P)
        for part, degree in zip(parts, self.degrees, strict=True):
            if degree > 0:
                squares = squares + part * student.isf(np.asarray(outside) / 2, degree) ** 2
        return np.sqrt(squares)


def spread(
    tally: Tally,
    statistics: Statistics,
    *,
    replicates: int = 2000,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> Spread | None:
    """Variance of statistics by the crossed bootstrap; None with fewer than two captions.

    Args:
        tally: the answers.
        statistics: computes them from counts of rankings; a replicate with NaN is left out for that statistic.
        replicates: replicates of each of the three bootstraps, at least 2.
        seed: seed of the replicates.
        progress: called with the number of replicates done after every block.
    """
    if tally.captions < 2:
        return None
    random = np.random.default_rng(seed)
    answers = variance(statistics, replicates, lambda size: answer_counts(tally, size, random), progress)
    answers *= correction(np.ones(len(tally.ranking_N)))
    parts, degrees = [], [float(len(tally.ranking_N) - 1)]
    for group_N in (tally.caption_N, tally.annotator_N):
        counts_GD = tally.counts_by(group_N)
        sizes_G = counts_GD.sum(1)
        degrees.append(sizes_G.sum() ** 2 / (sizes_G**2).sum() - 1)
        if len(sizes_G) < 2:
            parts.append(np.zeros_like(answers))
            continue
        whole = variance(statistics, replicates, lambda size, of=counts_GD: group_counts(of, size, random), progress)
        parts.append(np.maximum(whole * correction(sizes_G) - answers, 0))
    return Spread(answers, *parts, (degrees[0], degrees[1], degrees[2]))


def variance(
    statistics: Statistics,
    replicates: int,
    draw: Callable[[int], np.ndarray],
    progress: Callable[[int], object] | None,
) -> np.ndarray:
    """Variance of statistics over replicates, (P,)."""
    blocks = []
    for first in range(0, replicates, BLOCK):
        size = min(BLOCK, replicates - first)
        blocks.append(statistics(draw(size)))
        if progress is not None:
            progress(size)
    values_BP = np.concatenate(blocks)
    known_P = np.isfinite(values_BP).sum(0)
    with np.errstate(invalid="ignore"):
        mean_P = np.nansum(values_BP, 0) / np.maximum(known_P, 1)
        squares_P = np.nansum((values_BP - mean_P) ** 2, 0)
    return np.where(known_P > 1, squares_P / np.maximum(known_P - 1, 1), np.nan)


def answer_counts(tally: Tally, replicates: int, random: np.random.Generator) -> np.ndarray:
    """Counts (B, D) of answers drawn with replacement, as many as there are."""
    total = len(tally.ranking_N)
    return random.multinomial(total, tally.counts_D / total, size=replicates).astype(float)


def group_counts(counts_GD: np.ndarray, replicates: int, random: np.random.Generator) -> np.ndarray:
    """Counts (B, D) of whole groups drawn with replacement, as many as there are."""
    return times_drawn(len(counts_GD), replicates, random) @ counts_GD


def times_drawn(groups: int, replicates: int, random: np.random.Generator) -> np.ndarray:
    """How often each group is drawn when as many are drawn with replacement, (B, G)."""
    drawn_BG = random.integers(groups, size=(replicates, groups)) + groups * np.arange(replicates)[:, None]
    return np.bincount(drawn_BG.ravel(), minlength=replicates * groups).reshape(replicates, groups).astype(float)


def correction(sizes_G: np.ndarray) -> float:
    """The factor for the bootstrap's variance of a mean, which is too small: groups vary around their own mean.

    It is G / (G - 1) for G groups of one size, and exact for effects of groups of any sizes.
    """
    share_G = sizes_G / sizes_G.sum()
    squares = (share_G**2).sum()
    return float(1 / (1 - 2 * (share_G**3).sum() / squares + squares))


# Intervals


def interval(
    values_P: np.ndarray,
    spread: Spread,
    *,
    captions: int,
    bounds: tuple[float, float] = (0.0, 1.0),
    level: float = 0.95,
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper end for each statistic: symmetric in log odds, and so within the bounds.

    Args:
        values_P: the statistics.
        spread: their variance.
        captions: number of captions. It is the sample size for a value at its bound, such as a share of exactly 0,
            where no variance can be estimated: Wilson's interval, with all answers to a caption counted as one.
        bounds: smallest and largest possible value.
        level: coverage.
    """
    low, width = bounds[0], bounds[1] - bounds[0]
    share_P = (values_P - low) / width
    certain = (share_P <= 0) | (share_P >= 1)
    inner = np.where(certain, 0.5, share_P)
    half_P = spread.half_width(1 - level) / width / (inner * (1 - inner))
    square = student.ppf((1 + level) / 2, max(captions - 1, 1)) ** 2
    wilson = square / (captions + square)
    lower = np.where(certain, np.where(share_P <= 0, 0.0, 1 - wilson), expit(logit(inner) - half_P))
    upper = np.where(certain, np.where(share_P >= 1, 1.0, wilson), expit(logit(inner) + half_P))
    unknown = np.isnan(values_P)
    return np.where(unknown, np.nan, low + width * lower), np.where(unknown, np.nan, low + width * upper)


def p_values(values_P: np.ndarray, spread: Spread, *, captions: int) -> np.ndarray:
    """Two-sided p of each share for the hypothesis 1/2, (P,), not below 1e-50.

    It is 1 minus the level at which the interval ends at 1/2, or the p of a t test with Satterthwaite's degrees of
    freedom if that is larger. If there are few annotators, and they differ, their part of the variance is sometimes
    estimated as 0; 95 % intervals still hold on average, but small p would be too small too often.
    """
    certain = (values_P <= 0) | (values_P >= 1)
    inner = np.where(certain, 0.5, values_P)
    distance = np.abs(logit(inner)) * inner * (1 - inner)
    low, high = np.full_like(inner, -50), np.zeros_like(inner)  # bounds of log10 p, for bisection
    for _ in range(60):
        middle = (low + high) / 2
        inside = spread.half_width(10**middle) > distance
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    by_t = 2 * student.sf(distance / np.sqrt(np.maximum(spread.total_P, 1e-300)), satterthwaite(spread))
    sign = 2 * student.sf(np.sqrt(captions), max(captions - 1, 1))  # Wilson's interval ends at 1/2
    p = np.maximum(10 ** ((low + high) / 2), by_t)
    return np.where(np.isnan(values_P), np.nan, np.where(certain, sign, p))


def satterthwaite(spread: Spread) -> np.ndarray:
    """Degrees of freedom of the total variance, at least 1, (P,)."""
    whole_P = np.zeros_like(spread.answers_P)
    for part_P, degree in ((spread.captions_P, spread.degrees[1]), (spread.annotators_P, spread.degrees[2])):
        if degree > 0:
            whole_P = whole_P + (part_P + spread.answers_P) ** 2 / degree
    return np.maximum(spread.total_P**2 / np.maximum(whole_P, 1e-300), 1)


def holm(p_P: np.ndarray) -> np.ndarray:
    """Holm's step-down correction for several tests: the chance of any false rejection stays under the level (1979)."""
    order = np.argsort(p_P)
    factors = np.arange(len(p_P), 0, -1)
    corrected = np.minimum(np.maximum.accumulate(p_P[order] * factors), 1)
    result = np.empty_like(corrected)
    result[order] = corrected
    return result
