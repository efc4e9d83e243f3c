"""Intervals over captions and annotators: variances against closed forms, coverage in simulated studies."""

import numpy as np
import pytest
from scipy.stats import t as student

from xmcgan.study.analysis.resampling import Spread, correction, holm, interval, p_values, satterthwaite, spread
from xmcgan.study.analysis.simulate import PAPER, Population, draw, log_worths, true_shares
from xmcgan.study.analysis.tally import Tally, share_best


def studied(
    seed: int, population: Population, captions: int = 100, per_caption: int = 5, annotators: int = 20
) -> Tally:
    """The answers of one simulated study; only the system ranked best is kept, as a comparison with all others tied."""
    drawn = draw(log_worths(PAPER), population, captions=captions, per_caption=per_caption, annotators=annotators,
                 random=np.random.default_rng(seed))  # fmt: skip
    names = tuple(PAPER)
    rankings = tuple(((name,), tuple(other for other in names if other != name)) for name in names)
    _, annotator_N = np.unique(drawn.annotator_N, return_inverse=True)
    return Tally(names, rankings, drawn.utility_NK.argmax(1), drawn.caption_N, annotator_N, drawn.caption_N)


def shares(counts: Tally):
    """The shares, and the statistic that gives them."""
    return share_best(counts.counts_D[None], counts.features)[0], lambda some: share_best(some, counts.features)


def test_the_variance_is_that_of_the_two_way_formula():
    """Cameron, Gelbach and Miller's sums of residuals, each cluster variance with its correction."""
    counts = studied(3, Population(care=0.5, taste=0.8))
    values, statistic = shares(counts)
    found = spread(counts, statistic, replicates=20_000, seed=1)
    assert found is not None
    residuals = counts.features.best_DK[counts.ranking_N] - values
    total = len(residuals)

    def clustered(group_N: np.ndarray) -> np.ndarray:
        sums = np.zeros((group_N.max() + 1, len(values)))
        np.add.at(sums, group_N, residuals)
        return (sums**2).sum(0) / total**2 * correction(np.bincount(group_N).astype(float))

    answers = clustered(np.arange(total))
    np.testing.assert_allclose(found.answers_P, answers, rtol=0.06)
    captions = np.maximum(clustered(counts.caption_N), answers)
    np.testing.assert_allclose(found.captions_P + found.answers_P, captions, rtol=0.1)
    # A resample of few annotators with unequal loads is a ratio, whose variance the formula gives to first order only.
    np.testing.assert_allclose(found.annotators_P + found.answers_P, clustered(counts.annotator_N), rtol=0.15)
    assert (found.annotators_P > 3 * found.captions_P).all()


@pytest.mark.parametrize("sizes", [[1, 1, 1, 1], [5, 3, 2], [40, 1, 1, 1, 1]])
def test_the_correction_is_exact_for_effects_of_groups(sizes):
    sizes = np.array(sizes, dtype=float)
    weights = sizes / sizes.sum()
    effects = np.eye(len(sizes)) - np.outer(np.ones(len(sizes)), weights)  # each effect less the weighted mean
    expected = np.trace(np.diag(weights) @ effects @ effects.T @ np.diag(weights))
    assert expected * correction(sizes) == pytest.approx((weights**2).sum())


def test_annotators_that_differ_widen_the_interval_and_others_do_not():
    alike, _ = shares(counts := studied(5, Population(care=0, taste=0)))
    calm = spread(counts, shares(counts)[1], replicates=1000)
    differing = studied(5, Population(care=0.5, taste=1.5))
    wide = spread(differing, shares(differing)[1], replicates=1000)
    assert calm is not None
    assert wide is not None
    assert alike[0] > 0.5
    assert wide.annotators_P[0] > 3 * wide.captions_P[0]
    assert calm.annotators_P[0] < 0.5 * (calm.captions_P[0] + calm.answers_P[0])


def test_simulated_studies_hold_the_truth_in_95_of_100_cases():
    """60 small studies here; benchmarks/study_coverage.py has 200 of every shape, and docs/study.md their figures."""
    population = Population()
    truth = true_shares(log_worths(PAPER), population, draws=200_000)
    inside = []
    for seed in range(60):
        counts = studied(seed, population)
        values, statistic = shares(counts)
        wide = spread(counts, statistic, replicates=300, seed=seed)
        assert wide is not None
        low, high = interval(values, wide, captions=counts.captions)
        inside.append((low <= truth) & (truth <= high))
    assert 0.92 <= np.mean(inside) <= 0.98


def test_a_share_of_0_or_1_gets_wilsons_interval_over_captions():
    none = Spread(np.zeros(2), np.zeros(2), np.zeros(2), (99, 99, 9))
    low, high = interval(np.array([0.0, 1.0]), none, captions=100)
    assert (low[0], high[1]) == (0, 1)
    assert high[0] == pytest.approx(1 - low[1])
    assert 0.03 < high[0] < 0.04  # 3.94 / 103.94
    p = p_values(np.array([0.0, 1.0]), none, captions=5)
    assert p[0] == p[1]
    edge = interval(np.array([1.0]), none, captions=5, level=1 - p[0])[0][0]
    assert edge == pytest.approx(0.5)


def test_intervals_stay_within_their_bounds_and_mirror():
    wide = Spread(np.full(3, 0.01), np.full(3, 0.01), np.full(3, 0.02), (499, 99, 4))
    low, high = interval(np.array([1.2, 2.5, 3.8]), wide, captions=100, bounds=(1, 4))
    assert (low > 1).all()
    assert (high < 4).all()
    np.testing.assert_allclose(low, 5 - high[::-1])


def test_p_is_the_level_at_which_the_interval_ends_at_one_half():
    wide = Spread(np.full(2, 0.001), np.full(2, 0.0005), np.full(2, 0.002), (49_999, 9_999, 4_999))
    values = np.array([0.45, 0.61])
    p = p_values(values, wide, captions=100)
    low, high = interval(values, wide, captions=100, level=1 - p[0])
    assert high[0] == pytest.approx(0.5, abs=1e-4)
    low, high = interval(values, wide, captions=100, level=1 - p[1])
    assert low[1] == pytest.approx(0.5, abs=1e-4)
    assert p_values(np.array([0.5, 0.5]), wide, captions=100) == pytest.approx([1, 1])


def test_with_few_annotators_p_is_that_of_few_degrees_of_freedom_even_where_they_seem_alike():
    alike = Spread(np.array([0.0004]), np.array([0.0004]), np.array([0.0]), (499, 99, 4))
    assert satterthwaite(alike) == pytest.approx([8e-4**2 / (8e-4**2 / 99 + 4e-4**2 / 4)])
    value = np.array([0.58])
    distance = np.log(0.58 / 0.42) * 0.58 * 0.42 / np.sqrt(8e-4)
    expected = 2 * student.sf(distance, satterthwaite(alike))
    assert p_values(value, alike, captions=100) == pytest.approx(expected)
    assert satterthwaite(Spread(np.zeros(1), np.array([1.0]), np.zeros(1), (499, 99, 0))) == pytest.approx([99])


def test_normal_quantile_when_only_answers_vary():
    single = Spread(np.array([0.0025]), np.zeros(1), np.zeros(1), (1e6, 99, 4))
    assert single.half_width(0.05)[0] == pytest.approx(1.96 * 0.05, rel=1e-3)
    of_annotators = Spread(np.zeros(1), np.zeros(1), np.array([0.0025]), (1e6, 99, 4))
    assert of_annotators.half_width(0.05)[0] == pytest.approx(2.776 * 0.05, rel=1e-3)


def test_one_annotator_or_one_caption():
    counts = studied(0, Population(), captions=30, per_caption=1, annotators=1)
    alone = spread(counts, shares(counts)[1], replicates=200)
    assert alone is not None
    assert (alone.annotators_P == 0).all()
    assert np.isfinite(alone.half_width(0.05)).all()
    single = studied(0, Population(), captions=1, per_caption=5, annotators=5)
    assert spread(single, shares(single)[1], replicates=200) is None


def test_holm_against_the_definition():
    p = np.array([0.01, 0.04, 0.03, 0.005, 0.9])
    np.testing.assert_allclose(holm(p), [0.04, 0.09, 0.09, 0.025, 0.9])
    assert holm(np.array([])).size == 0
    assert holm(np.array([0.5, 0.6])).tolist() == [1, 1]
