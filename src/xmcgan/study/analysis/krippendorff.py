"""Krippendorff's alpha: agreement of any number of annotators beyond chance, with missing values.

alpha = 1 - observed disagreement / disagreement expected by chance: 1 for perfect agreement, 0 for chance, below 0 for
less than chance (Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011). Written from the formula.

Letters: U units, V values (the categories), G annotators, B bootstrap replicates.
"""

from typing import Literal

import numpy as np

Metric = Literal["nominal", "ordinal"]


def alpha(values_UG: np.ndarray, metric: Metric) -> float:
    """Alpha of a table of values, a row per unit and a column per annotator; NaN marks missing values.

    Args:
        values_UG: categories as numbers; their order matters for ``ordinal``, their size never does.
        metric: ``nominal``: values are equal or not; ``ordinal``: ranks are closer or farther apart.

    Returns:
        alpha; NaN if no unit has two values, or all values are the same.
    """
    categories, codes = np.unique(values_UG[~np.isnan(values_UG)], return_inverse=True)
    unit = np.nonzero(~np.isnan(values_UG))[0]
    counts_UV = np.zeros((len(values_UG), len(categories)))
    np.add.at(counts_UV, (unit, codes), 1)
    return float(alpha_of(coincidences(counts_UV).sum(0, keepdims=True), metric)[0])


def coincidences(counts_UV: np.ndarray) -> np.ndarray:
    """How often two values met in each unit, (U, V, V): ordered pairs of annotators, divided by their number minus one.

    Args:
        counts_UV: how many annotators gave each value to each unit. Units with fewer than two give zeros.
    """
    raters_U = counts_UV.sum(1)
    pairs_UVV = counts_UV[:, :, None] * counts_UV[:, None, :]
    diagonal = np.arange(counts_UV.shape[1])
    pairs_UVV[:, diagonal, diagonal] -= counts_UV
    return pairs_UVV / np.maximum(raters_U - 1, 1)[:, None, None]


def alpha_of(coincidences_BVV: np.ndarray, metric: Metric) -> np.ndarray:
    """Alpha of summed coincidences, (B,)."""
    totals_BV = coincidences_BVV.sum(2)
    count_B = totals_BV.sum(1)
    distance_BVV = squared_distances(totals_BV, metric)
    observed = (coincidences_BVV * distance_BVV).sum((1, 2))
    expected = (totals_BV[:, :, None] * totals_BV[:, None, :] * distance_BVV).sum((1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(expected > 0, 1 - (count_B - 1) * observed / expected, np.nan)


def squared_distances(totals_BV: np.ndarray, metric: Metric) -> np.ndarray:
    """Squared distances of values, (B, V, V).

    Two ranks are as far apart as the number of values given between them, counting half of the values at the ends.
    """
    size = totals_BV.shape[1]
    if metric == "nominal":
        return np.broadcast_to(1 - np.eye(size), (len(totals_BV), size, size))
    middle_BV = np.cumsum(totals_BV, 1) - totals_BV / 2
    return (middle_BV[:, :, None] - middle_BV[:, None, :]) ** 2
