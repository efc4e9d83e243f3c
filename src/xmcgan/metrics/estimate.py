"""A measured value and its spread."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A metric measured on several parts of the images; the function that returns it names the parts."""

    value: float  # mean over the parts
    deviation: float  # population standard deviation over the parts, as in all published code


def mean_and_deviation(parts: Sequence[float]) -> Estimate:
    """Mean and population standard deviation of equally weighted parts."""
    return Estimate(float(np.mean(parts)), float(np.std(parts)))
