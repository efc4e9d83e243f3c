"""Welch, Holm and the incomplete beta function against SciPy and by hand."""

import random

import pytest
from scipy import special, stats

from xmcgan.ablation.statistics import compare_pairs, holm, incomplete_beta, summarise, welch


def test_the_incomplete_beta_function_is_scipys():
    for a in (0.5, 1.0, 2.7, 40.0):
        for b in (0.5, 1.0, 3.1):
            for x in (0.0, 1e-6, 0.1, 0.5, 0.9, 0.999, 1.0):
                assert incomplete_beta(a, b, x) == pytest.approx(special.betainc(a, b, x), rel=1e-10, abs=1e-14)


def test_welch_is_scipys():
    rng = random.Random(0)
    for sizes in ((2, 2), (3, 3), (3, 7), (12, 2)):
        a, b = ([rng.gauss(mean, spread) for _ in range(size)] for size, mean, spread in
                zip(sizes, (0.0, 1.0), (1.0, 3.0), strict=True))  # fmt: skip
        assert welch(a, b) == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue, rel=1e-9)


def test_values_without_spread():
    assert welch([1.0, 1.0], [1.0, 1.0]) == 1.0
    assert welch([1.0, 1.0], [2.0, 2.0]) == 0.0
    assert welch([1.0], [2.0, 3.0]) is None


def test_summary():
    assert summarise([1.0, 2.0, 6.0]) == (3.0, pytest.approx(7**0.5), 3)
    assert summarise([4.0]) == (4.0, None, 1)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


def test_pairs():
    found = compare_pairs({"a": [1.0, 1.1, 0.9], "b": [9.0, 9.1, 8.9], "c": [1.05]})
    assert [(each.first, each.second) for each in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert found[0].difference == pytest.approx(-8)
    assert found[0].significant
    assert found[1].p is None
    assert not found[1].significant
    assert found[0].adjusted == found[0].p  # the only pair that can be tested
