"""The Inception Score by hand, and where it is extreme."""

import math

import pytest
import torch

from xmcgan.metrics.estimate import Estimate, mean_and_deviation
from xmcgan.metrics.inception_score import inception_score


def test_by_hand():
    # Two images, two classes: p = (3/4, 1/4) and (1/4, 3/4), so that p(y) is even.
    logits = torch.tensor([[math.log(3), 0.0], [0.0, math.log(3)]])
    divergence = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert inception_score(logits, splits=1).value == pytest.approx(math.exp(divergence), rel=1e-6)
    assert inception_score(logits, splits=2) == pytest.approx((1, 0))  # an image alone tells nothing


def test_it_is_1_without_certainty_or_variety_and_the_number_of_classes_with_both():
    sure = 1000 * torch.eye(5).repeat(6, 1)
    assert inception_score(sure, splits=1) == pytest.approx((5, 0))
    assert inception_score(sure[:1].repeat(30, 1), splits=3) == pytest.approx((1, 0))
    assert inception_score(torch.zeros(30, 5), splits=3) == pytest.approx((1, 0))


def test_splits_are_measured_apart():
    logits = torch.randn(50, 7, dtype=torch.float64)
    parts = [inception_score(part, splits=1).value for part in logits.tensor_split(5)]
    assert inception_score(logits, splits=5, seed=None) == pytest.approx(mean_and_deviation(parts), rel=1e-12)


def test_sorted_images_are_dealt_out_unless_order_is_kept():
    logits = 1000 * torch.eye(5).repeat_interleave(20, 0)  # a split of neighbours would hold one class
    assert inception_score(logits, splits=5, seed=None).value == pytest.approx(1)
    assert inception_score(logits, splits=5).value > 4
    assert inception_score(logits, splits=5) == inception_score(logits, splits=5)
    assert inception_score(logits, splits=5, seed=1) != inception_score(logits, splits=5)


def test_an_estimate_is_mean_and_deviation_of_its_parts():
    assert mean_and_deviation([1.0, 2.0, 6.0]) == pytest.approx(Estimate(3.0, math.sqrt(14 / 3)))


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="splits is 10; it should be 1 to 4"):
        inception_score(torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"shape \(4,\)"):
        inception_score(torch.zeros(4))
    with pytest.raises(ValueError, match="NaN or infinity"):
        inception_score(torch.full((20, 3), math.nan))
