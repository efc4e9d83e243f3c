"""Precision, recall, density and coverage by hand, by the plain formulas, and by torch-fidelity."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

from xmcgan.metrics.precision_recall import PrecisionRecall, precision_recall_density_coverage


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def plain(real: Tensor, generated: Tensor, k: int, density_k: int) -> PrecisionRecall:
    """The papers' formulas, a pair at a time."""

    def radius(features: Tensor, of: int, nearest: int) -> float:
        return sorted(float((features[of] - other).norm()) for i, other in enumerate(features) if i != of)[nearest - 1]

    distance = [[float((r - g).norm()) for r in real] for g in generated]
    reach = [radius(real, i, k) for i in range(len(real))]
    wide = [radius(real, i, density_k) for i in range(len(real))]
    own = [radius(generated, i, k) for i in range(len(generated))]
    rows, columns = range(len(generated)), range(len(real))
    return PrecisionRecall(
        sum(any(distance[g][r] <= reach[r] for r in columns) for g in rows) / len(generated),
        sum(any(distance[g][r] <= own[g] for g in rows) for r in columns) / len(real),
        sum(distance[g][r] <= wide[r] for g in rows for r in columns) / density_k / len(generated),
        sum(any(distance[g][r] <= wide[r] for g in rows) for r in columns) / len(real),
    )


def test_by_hand():
    # Each real one reaches 1 far (0, 1) or 2 (3); the generated ones reach 0.25, 0.25 and 9.
    real, generated = column(0, 1, 3), column(0.5, 0.75, 9.75)
    found = precision_recall_density_coverage(real, generated, neighbours=1, density_neighbours=1)
    # 0.5 and 0.75 are within reach of 0 and 1; 3 is within reach of 9.75; 0.75 is beyond 3's reach, 9.75 beyond all.
    assert found == pytest.approx((2 / 3, 2 / 3, 4 / 3, 2 / 3))


def test_a_point_on_the_radius_counts_as_inside():
    # Generated ones exactly at the edge of a ball, off the origin so that distances are rounded.
    for offset in (0.0, 0.1, 1000.3):
        real, generated = column(0, 0.7, 7) + offset, column(-0.7, 1.4, 13.3) + offset
        found = precision_recall_density_coverage(real, generated, neighbours=1, density_neighbours=1)
        assert found.precision == 1, offset
        assert found.density == pytest.approx(4 / 3), offset  # 1.4 is within reach of 7 as well
        assert found.coverage == 1, offset


@given(st.integers(4, 14), st.integers(4, 14), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_chunked_scores_equal_the_plain_formulas(reals, others, k, density_k, seed):
    generator = torch.Generator().manual_seed(seed)
    real = torch.randn(reals, 3, generator=generator, dtype=torch.float64)
    generated = 0.7 * torch.randn(others, 3, generator=generator, dtype=torch.float64) + 0.5
    expected = plain(real, generated, k, density_k)
    for chunk in (1, 5, 1024):
        found = precision_recall_density_coverage(
            real, generated, neighbours=k, density_neighbours=density_k, chunk=chunk
        )
        assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_torch_fidelity_has_the_same_precision_and_recall(k):
    real, generated = torch.randn(400, 8), 0.7 * torch.randn(300, 8) + 0.6
    found = precision_recall_density_coverage(real, generated, neighbours=k)
    theirs = prc_features_to_metric(
        generated.double(), real.double(), prc_neighborhood=k, prc_batch_size=100, save_cpu_ram=True, verbose=False
    )
    assert found.precision == pytest.approx(theirs[KEY_METRIC_PRECISION], abs=1e-6)
    assert found.recall == pytest.approx(theirs[KEY_METRIC_RECALL], abs=1e-6)
    assert 0.1 < found.recall < found.precision < 1  # narrower than the real ones, as it was made


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_copy_is_perfect(dtype):
    real = torch.rand(200, 64, dtype=dtype) + 10
    found = precision_recall_density_coverage(real, real.clone(), neighbours=3, density_neighbours=4)
    # Each lies in its own ball and in as many others as have it among their nearest: 4 of 200 on average.
    assert found == pytest.approx((1, 1, 5 / 4, 1))


def test_a_generator_of_one_image_recalls_one():
    real = torch.rand(50, 64) + 10
    collapsed = real[:1].repeat(40, 1)
    found = precision_recall_density_coverage(real, collapsed)
    assert found.precision == 1
    assert found.recall == 1 / 50
    assert found.coverage < 0.5


def test_strangers_have_nothing_in_common():
    assert precision_recall_density_coverage(torch.rand(50, 4), torch.rand(50, 4) + 100) == (0, 0, 0, 0)


def test_wrong_arguments_are_named():
    a = torch.rand(10, 4)
    with pytest.raises(ValueError, match=r"\(10, 4\) and \(10, 5\)"):
        precision_recall_density_coverage(a, torch.rand(10, 5))
    with pytest.raises(ValueError, match="neighbours is 3; it should be 1 to 2"):
        precision_recall_density_coverage(a, a[:3])
    with pytest.raises(ValueError, match="density_neighbours is 10; it should be 1 to 9"):
        precision_recall_density_coverage(a, a, density_neighbours=10)
    with pytest.raises(ValueError, match="NaN or infinity"):
        precision_recall_density_coverage(a, a * math.inf)
