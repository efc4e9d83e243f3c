"""Statistics of a few seeds: mean, standard deviation, and which differences are significant.

Welch's test allows rows of unequal variance; Holm's correction keeps the probability of any false positive among all
pairs of a metric at 5 %.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

SIGNIFICANT = 0.05


class Summary(NamedTuple):
    """Mean and sample standard deviation (n - 1) of a metric over seeds."""

    mean: float
    deviation: float | None  # None for a single seed
    count: int


class Difference(NamedTuple):
    """The difference between two rows in one metric."""

    first: str
    second: str
    difference: float  # mean of the first minus mean of the second
    p: float | None  # None if a row has a single seed
    adjusted: float | None  # p after Holm's correction over all pairs of the metric

    @property
    def significant(self) -> bool:
        """Whether the difference is significant at 5 % after the correction."""
        return self.adjusted is not None and self.adjusted < SIGNIFICANT


def summarise(values: Sequence[float]) -> Summary:
    """Mean and standard deviation of at least one value."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return Summary(mean, None, len(values))
    return Summary(mean, math.sqrt(math.fsum((x - mean) ** 2 for x in values) / (len(values) - 1)), len(values))


def welch(a: Sequence[float], b: Sequence[float]) -> float | None:
    """The two-sided p-value of Welch's t-test; None with fewer than two values on a side.

    Without any variance, p is 0 if the means differ and 1 if they are equal.
    """
    if min(len(a), len(b)) < 2:
        return None
    one, other = summarise(a), summarise(b)
    assert one.deviation is not None
    assert other.deviation is not None
    u, v = one.deviation**2 / one.count, other.deviation**2 / other.count
    if u + v == 0:
        return 1.0 if one.mean == other.mean else 0.0
    t = (one.mean - other.mean) / math.sqrt(u + v)
    freedom = (u + v) ** 2 / (u**2 / (one.count - 1) + v**2 / (other.count - 1))
    return incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22).

    Student's t with n degrees of freedom has the two-sided tail I_{n / (n + t^2)}(n/2, 1/2) (DLMF 8.17, and any table).
    """
    if x <= 0 or x >= 1:
        return min(1.0, max(0.0, x))
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    # Lentz's method: the fraction as a running product of the ratios of successive convergents.
    tiny, fraction, c, d = 1e-300, 1.0, 1.0, 0.0
    for number in range(300):
        m = number // 2
        if number == 0:
            step = 1.0
        elif number % 2 == 0:
            step = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            step = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / ((1 + step * d) or tiny)
        c = (1 + step / c) or tiny
        fraction *= c * d
        if abs(1 - c * d) < 1e-15:
            break
    return front * (fraction - 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for multiple comparisons (Holm 1979), in the order given."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def compare_pairs(values: Mapping[str, Sequence[float]]) -> list[Difference]:
    """Compares every pair of rows in one metric; ``values`` are by row, one per seed."""
    pairs = [(first, second) for first, second in combinations(values, 2)]
    p_values = [welch(values[first], values[second]) for first, second in pairs]
    tested = [place for place, p in enumerate(p_values) if p is not None]
    adjusted: list[float | None] = [None] * len(pairs)
    for place, value in zip(tested, holm([p for p in p_values if p is not None]), strict=True):
        adjusted[place] = value
    return [
        Difference(first, second, summarise(values[first]).mean - summarise(values[second]).mean, p, corrected)
        for (first, second), p, corrected in zip(pairs, p_values, adjusted, strict=True)
    ]
