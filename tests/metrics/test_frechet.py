"""The Fréchet distance against other implementations and closed forms; statistics however they are gathered."""

import math
import time
import warnings
from contextlib import suppress

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
from torchmetrics.image.fid import _compute_fid

from xmcgan.metrics.frechet import FeatureStatistics, frechet_distance, pivoted_cholesky


def statistics(features_NF: Tensor, batch: int | None = None) -> FeatureStatistics:
    found = FeatureStatistics(features_NF.shape[1])
    for rows in features_NF.split(batch or len(features_NF)):
        found.update(rows)
    return found


def correlated(count: int, dim: int, seed: int, *, shift: float = 0.0) -> Tensor:
    """Features whose dimensions go together and vary by a factor of 100."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dim, dim, generator=torch.Generator().manual_seed(1000 + dim), dtype=torch.float64)
    spread = torch.logspace(0, -2, dim, dtype=torch.float64)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64) * spread @ mixing + shift


def by_scipy(a_NF: Tensor, b_NF: Tensor) -> float:
    a, b = a_NF.numpy(), b_NF.numpy()
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(cov_a @ cov_b)
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(cov_a + cov_b - 2 * root.real))


def by_torch_fidelity(a_NF: Tensor, b_NF: Tensor) -> float:
    sides = [fid_features_to_statistics(features) for features in (a_NF, b_NF)]
    return fid_statistics_to_metric(*sides, verbose=False)[KEY_METRIC_FID]


def by_torchmetrics(a_NF: Tensor, b_NF: Tensor) -> float:
    return float(_compute_fid(a_NF.mean(0), a_NF.T.cov(), b_NF.mean(0), b_NF.T.cov()))


# Against other implementations


@pytest.mark.parametrize("other", [by_scipy, by_torch_fidelity, by_torchmetrics])
@pytest.mark.parametrize(("dim", "count"), [(2, 50), (16, 400), (64, 500), (64, 65)])
def test_the_distance_is_the_one_that_others_compute(other, dim, count):
    a, b = correlated(count, dim, 0), 1.3 * correlated(count + 7, dim, 1, shift=0.05)
    assert frechet_distance(statistics(a), statistics(b)) == pytest.approx(other(a, b), rel=1e-6)


@pytest.mark.parametrize("other", [by_torch_fidelity, by_torchmetrics])
@pytest.mark.parametrize(("first", "second"), [(20, 30), (20, 500), (500, 20), (2, 2)])
def test_fewer_samples_than_dimensions_are_right_too(other, first, second):
    a, b = correlated(first, 64, 0), 1.3 * correlated(second, 64, 1, shift=0.05)
    assert frechet_distance(statistics(a), statistics(b)) == pytest.approx(other(a, b), rel=1e-6)


# Closed forms


def test_in_one_dimension_it_is_a_difference_of_mean_and_of_deviation():
    a, b = correlated(50, 1, 0), correlated(60, 1, 1, shift=3.0)
    expected = float((a.mean() - b.mean()).square() + (a.std() - b.std()).square())
    assert frechet_distance(statistics(a), statistics(b)) == pytest.approx(expected, rel=1e-12)


def test_along_the_axes_it_is_a_difference_of_means_and_of_deviations():
    # Two points at +-d in each dimension in turn: mean m, variance 2 d^2 / (count - 1), no covariance.
    def cross(mean: list[float], deviation: list[float]) -> FeatureStatistics:
        arms = torch.diag(torch.tensor(deviation, dtype=torch.float64)) * math.sqrt((2 * len(mean) - 1) / 2)
        return statistics(torch.cat([arms, -arms]) + torch.tensor(mean, dtype=torch.float64))

    a, b = cross([1, 2, 3], [1, 1e-4, 0]), cross([1, 0, 3.5], [3, 1e-8, 2])
    # One direction varies a hundred million times less than another, one not at all.
    expected = (0 + 4 + 0.25) + (4 + (1e-4 - 1e-8) ** 2 + 4)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-12)
    still = cross([0, 0, 0], [0, 0, 0])
    assert frechet_distance(still, a) == pytest.approx(14 + 1 + 1e-8, rel=1e-12)


def test_a_scaled_copy_is_as_far_as_its_scale_says():
    # B = s^2 A with equal means: tr A (1 - s)^2, with as many samples as dimensions or fewer.
    for count in (500, 40):
        features = correlated(count, 64, 0)
        features = features - features.mean(0)
        a, b = statistics(features), statistics(1.25 * features)
        expected = float(a.covariance_FF.trace()) * 0.0625
        assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


SPECTRA = {
    "flat": np.ones(120),
    "graded": np.logspace(0, -12, 120),
    "noise": np.r_[np.ones(20), np.full(100, 1e-12)],  # twenty directions, and the noise of half precision
    "singular": np.r_[np.ones(50), np.zeros(70)],
}


def with_covariance(spectrum: np.ndarray, seed: int) -> FeatureStatistics:
    turned = scipy.stats.ortho_group.rvs(len(spectrum), random_state=seed)
    made = FeatureStatistics(len(spectrum))
    made.count = 1001
    made.scatter_FF += 1000 * torch.from_numpy(turned * spectrum @ turned.T)
    return made


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("scale", [1.0, 1e-3, 20.0])
def test_a_set_is_at_distance_0_from_itself_whatever_its_spectrum(spectrum, scale):
    a = with_covariance(SPECTRA[spectrum] * scale, 0)
    b = with_covariance(SPECTRA[spectrum] * scale, 0)
    b.scatter_FF *= 1 + 1e-15
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert 0 <= frechet_distance(a, a) <= 1e-8
        assert 0 <= frechet_distance(a, b) <= 1e-8


@pytest.mark.parametrize("second", SPECTRA)
@pytest.mark.parametrize("first", SPECTRA)
def test_any_two_spectra_agree_with_singular_values_of_exact_roots(first, second):
    a, b = with_covariance(SPECTRA[first], 1), with_covariance(SPECTRA[second], 2)
    roots = []
    for seed, spectrum in ((1, SPECTRA[first]), (2, SPECTRA[second])):
        turned = scipy.stats.ortho_group.rvs(120, random_state=seed)
        roots.append(turned * np.sqrt(spectrum))
    shared = np.linalg.svd(roots[0].T @ roots[1], compute_uv=False).sum()
    expected = SPECTRA[first].sum() + SPECTRA[second].sum() - 2 * shared
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_sets_without_spread_are_as_far_as_their_means():
    a, b = statistics(torch.zeros(5, 3)), statistics(torch.full((4, 3), 2.0))
    assert frechet_distance(a, b) == 12
    assert frechet_distance(a, a) == 0


@given(st.integers(2, 40), st.integers(1, 12), st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_it_is_symmetric_and_never_negative(count, dim, seed):
    features = torch.randn(2, count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    a, b = statistics(features[0]), statistics(features[1])
    forth, back = frechet_distance(a, b), frechet_distance(b, a)
    assert forth == pytest.approx(back, rel=1e-9, abs=1e-9)
    assert forth >= 0
    assert 0 <= frechet_distance(a, a) <= 1e-9


@pytest.mark.parametrize("rank", [1, 5, 63, 64, 65, 130])
def test_a_factor_has_as_many_rows_as_the_rank(rank):
    rows = torch.randn(rank, 130, dtype=torch.float64).numpy()
    covariance = rows.T @ rows
    found = pivoted_cholesky(covariance)
    assert found.shape == (rank, 130)
    np.testing.assert_allclose(found.T @ found, covariance, atol=1e-12 * covariance.max())


# Statistics that stream


def same_statistics(a: FeatureStatistics, b: FeatureStatistics, tolerance: float = 1e-10) -> None:
    """Each entry of the scatter is measured by the spread of its two dimensions, the mean by its own size."""
    assert a.count == b.count
    spread_F = b.scatter_FF.diagonal().sqrt()
    assert ((a.scatter_FF - b.scatter_FF).abs() <= tolerance * torch.outer(spread_F, spread_F)).all()
    assert ((a.mean_F - b.mean_F).abs() <= tolerance * b.mean_F.abs().clamp_min(1e-3)).all()


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_batches_orders_and_ranks_do_not_matter(data):
    count = data.draw(st.integers(2, 200), "count")
    shift = data.draw(st.sampled_from([0.0, 1.0, 1e4]), "shift")
    features = correlated(count, 6, data.draw(st.integers(0, 1000), "seed"), shift=shift)
    whole = statistics(features)
    same_statistics(statistics(features, data.draw(st.integers(1, count), "batch")), whole)

    owner = torch.from_numpy(np.array(data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count), "owner")))
    ranks = [statistics(features[owner == rank]) for rank in range(4)]
    for rank in summed_over(ranks):
        same_statistics(rank, whole)


class Unknown(Exception):
    """A sum for which other ranks have not given their part yet."""


def summed_over(ranks: list[FeatureStatistics]) -> list[FeatureStatistics]:
    """``reduce`` of every rank as if each ran by itself: again and again, with one more sum known each time."""
    known: list[Tensor] = []
    while True:
        parts, results = [], []
        for rank in ranks:
            turn = iter(known)

            def over_ranks(own: Tensor, turn=turn, parts=parts) -> Tensor:
                whole = next(turn, None)
                if whole is None:
                    parts.append(own)
                    raise Unknown
                return whole

            with suppress(Unknown):
                results.append(rank.reduce(over_ranks))
        if not parts:
            return results
        assert len(parts) == len(ranks)  # every rank asks for the same sums, or real ranks would wait for ever
        known.append(torch.stack(parts).sum(0))


def test_a_large_mean_costs_no_precision():
    # Whole numbers over a power of two: each feature is exact, and so is the covariance of the unshifted ones.
    features = torch.randint(-512, 512, (3000, 8), dtype=torch.float64) / 1024
    plain = statistics(features)
    for batch in (1, 7, 3000):
        far = statistics(features + 2**14, batch)
        spread_F = plain.scatter_FF.diagonal().sqrt()
        assert ((far.scatter_FF - plain.scatter_FF).abs() <= 1e-10 * torch.outer(spread_F, spread_F)).all()


def test_the_distance_does_not_depend_on_batches_or_ranks():
    a, b = correlated(700, 32, 0, shift=30.0), correlated(650, 32, 1, shift=30.1)
    expected = frechet_distance(statistics(a), statistics(b))
    for batch in (1, 50, 64):
        assert frechet_distance(statistics(a, batch), statistics(b, batch)) == pytest.approx(expected, rel=1e-10)
    ranks = [statistics(a[rank::3], 16) for rank in range(3)]
    assert frechet_distance(summed_over(ranks)[0], statistics(b)) == pytest.approx(expected, rel=1e-10)


def test_covariance_is_numpys_and_float32_features_are_taken_as_they_are():
    features = torch.rand(100, 5)
    found = statistics(features, 7)
    np.testing.assert_allclose(found.covariance_FF, np.cov(features.double().numpy(), rowvar=False), rtol=1e-12)
    np.testing.assert_allclose(found.mean_F, features.double().numpy().mean(0), rtol=1e-12)
    halves = statistics(features.half())
    assert torch.equal(halves.mean_F, statistics(features.half().double()).mean_F)


def test_statistics_come_back_from_a_file(tmp_path):
    found = statistics(torch.rand(30, 4))
    save_file(found.to_tensors(), tmp_path / "statistics.safetensors")
    back = FeatureStatistics.from_tensors(load_file(tmp_path / "statistics.safetensors"))
    assert (back.count, back.dim) == (30, 4)
    assert torch.equal(back.mean_F, found.mean_F)
    assert torch.equal(back.scatter_FF, found.scatter_FF)
    tensors = found.to_tensors()
    back = FeatureStatistics.from_tensors(tensors)
    back.update(torch.rand(3, 4))
    assert torch.equal(tensors["mean_F"], found.mean_F)  # what was read is not written to
    assert found.count == 30


def test_wrong_features_are_named():
    found = FeatureStatistics(4)
    with pytest.raises(ValueError, match=r"shape \(3, 5\); it should be \(N, 4\)"):
        found.update(torch.rand(3, 5))
    with pytest.raises(ValueError, match="NaN or infinity"):
        found.update(torch.tensor([[0.0] * 4] * 2000 + [[0, 0, math.nan, 0]]))
    assert found.count == 0
    with pytest.raises(ValueError, match="at least 2 features; count is 1"):
        frechet_distance(statistics(torch.rand(1, 4)), statistics(torch.rand(9, 4)))
    with pytest.raises(ValueError, match="widths 4 and 5"):
        frechet_distance(statistics(torch.rand(9, 4)), statistics(torch.rand(9, 5)))
    with pytest.raises(ValueError, match="scatter_FF is missing"):
        FeatureStatistics.from_tensors({"count": torch.tensor(3), "mean_F": torch.zeros(4)})
    tensors = {"count": torch.tensor(3), "mean_F": torch.zeros(4), "scatter_FF": torch.zeros(3, 3)}
    with pytest.raises(ValueError, match=r"scatter_FF has shape \(3, 3\); mean_F implies \(4, 4\)"):
        FeatureStatistics.from_tensors(tensors)
    with pytest.raises(ValueError, match="dim is 0"):
        FeatureStatistics(0)


@pytest.mark.slow
def test_the_width_of_inception_takes_seconds_of_one_core():
    a, b = statistics(torch.randn(2100, 2048)), statistics(1.1 * torch.randn(1000, 2048) + 0.1)  # full rank and not
    began = time.process_time()
    distance = frechet_distance(a, b)
    assert time.process_time() - began < 20  # 2 of one core; more where threads wait for cores that others use
    assert distance > 0
