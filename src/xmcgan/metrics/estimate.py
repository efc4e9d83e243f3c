"""A measured value, and how far it varies."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A metric that is measured on several parts of the images, and their agreement.

    The parts (splits, folds, subsets, batches) are named by the function that returns it.
    """

    value: float  # mean over the parts
    deviation: float  # standard deviation over the parts, dividing by their number, as every published code does


def mean_and_deviation(parts: Sequence[float]) -> Estimate:
    """The estimate that some parts give, each of the same weight."""
    return Estimate(float(np.mean(parts)), float(np.std(parts)))
