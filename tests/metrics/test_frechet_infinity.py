"""Extrapolation of the Fréchet distance."""

import numpy as np
import pytest
import torch
from scipy.stats import linregress

from xmcgan.metrics.frechet import FeatureStatistics, frechet_distance
from xmcgan.metrics.frechet_infinity import frechet_distance_infinity, intercept


def test_the_intercept_and_its_error_are_those_of_scipy():
    x, y = np.array([0.1, 0.2, 0.5, 0.9]), [1.3, 1.1, 2.0, 3.5]
    expected = linregress(x, y)
    found = intercept(x, y)
    assert found == pytest.approx((expected.intercept, expected.intercept_stderr))


def test_equal_distributions_have_a_distance_near_zero_only_in_the_limit():
    generator = torch.Generator().manual_seed(0)
    real, made = torch.randn(20_000, 24, generator=generator), torch.randn(1500, 24, generator=generator)
    reference, own = FeatureStatistics(24), FeatureStatistics(24)
    reference.update(real)
    own.update(made)
    biased = frechet_distance(own, reference)
    unbiased = frechet_distance_infinity(made, reference).value
    assert biased > 0.1
    assert abs(unbiased) < 0.35 * biased


def test_too_few_images_are_refused():
    with pytest.raises(ValueError, match="least"):
        frechet_distance_infinity(torch.randn(2, 3), FeatureStatistics(3))
