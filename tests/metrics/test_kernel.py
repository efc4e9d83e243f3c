"""The kernel distance against the definition of the estimator, and its meaning."""

import itertools

import numpy as np
import pytest
import torch
from torchmetrics.image.kid import poly_mmd

from xmcgan.metrics.kernel import kernel_distance


def test_with_one_subset_of_everything_it_is_the_unbiased_estimator():
    a, b = torch.randn(7, 5, dtype=torch.float64), torch.rand(7, 5, dtype=torch.float64)

    def kernel(x, y):
        return (float(x @ y) / 5 + 1) ** 3

    within = [np.mean([kernel(x, y) for x, y in itertools.permutations(rows, 2)]) for rows in (a, b)]
    across = np.mean([kernel(x, y) for x in a for y in b])
    found = kernel_distance(a, b, subsets=3, subset_size=7)
    assert found.value == pytest.approx(sum(within) - 2 * across, rel=1e-12)
    assert found.deviation == pytest.approx(0, abs=1e-12)  # all subsets are the whole set


def test_torchmetrics_computes_the_same():
    a, b = torch.randn(40, 16, dtype=torch.float64), 1.5 * torch.randn(40, 16, dtype=torch.float64)
    assert kernel_distance(a, b, subsets=1, subset_size=40).value == pytest.approx(float(poly_mmd(a, b)), rel=1e-10)


def test_one_distribution_gives_about_0_and_another_does_not():
    same = [kernel_distance(torch.randn(300, 8), torch.randn(300, 8), subset_size=100, seed=seed) for seed in range(12)]
    values = np.array([found.value for found in same])
    assert (values < 0).any()  # it has no bias, so that it is not always above 0
    assert abs(values.mean()) < 4 * values.std() / 12**0.5
    assert kernel_distance(torch.randn(300, 8), torch.randn(300, 8) + 1, subset_size=100).value > 10 * values.std()


def test_the_seed_chooses_the_subsets_and_nothing_else_does():
    a, b = torch.randn(50, 4), torch.randn(60, 4)
    first = kernel_distance(a, b, subset_size=20)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    assert kernel_distance(a, b, subset_size=20) == first
    assert kernel_distance(a, b, subset_size=20, seed=1) != first
    assert first.deviation > 0


def test_float32_features_are_computed_with_in_float64():
    a, b = torch.randn(50, 4) + 100, torch.randn(50, 4) + 100
    assert kernel_distance(a, b, subset_size=20) == kernel_distance(a.double(), b.double(), subset_size=20)


def test_wrong_arguments_are_named():
    a = torch.randn(10, 4)
    with pytest.raises(ValueError, match=r"\(10, 4\) and \(10, 5\)"):
        kernel_distance(a, torch.randn(10, 5))
    with pytest.raises(ValueError, match="subset_size is 1000; it should be 2 to 8"):
        kernel_distance(a, a[:8])
    with pytest.raises(ValueError, match="subsets is 0"):
        kernel_distance(a, a, subsets=0, subset_size=5)
    with pytest.raises(ValueError, match="NaN or infinity"):
        kernel_distance(a, a / 0, subset_size=5)
