"""Spectral norm: one power iteration a call, and where it converges."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from comparison import assert_same
from xmcgan.model.spectral_norm import SpectralNorm, unit

pytestmark = pytest.mark.usefixtures("float64")


def plain_power_step(matrix: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """One step of power iteration on an (out, in) matrix: the new u, and sigma with u and v held constant."""
    with torch.no_grad():
        v = matrix.T @ u
        v = v / (v.square().sum() + 1e-10).sqrt()
        u = matrix @ v
        u = u / (u.square().sum() + 1e-10).sqrt()
    return u, u @ matrix @ v


@pytest.mark.parametrize("shape", [(5, 7), (1, 6), (5, 3, 3, 3), (4, 6, 1, 1)])
def test_spectral_norm_is_one_power_iteration(shape):
    norm, weight = SpectralNorm(shape[0]), torch.randn(shape, requires_grad=True)
    u = norm.u.clone()
    for _ in range(3):
        u, sigma = plain_power_step(weight.flatten(1), u)
        assert_same(norm(weight), weight / (sigma + 1e-10), [weight])
        torch.testing.assert_close(norm.u, u)
    norm.eval()
    kept = norm.u.clone()
    _, sigma = plain_power_step(weight.flatten(1), u)
    assert_same(norm(weight), weight / (sigma + 1e-10), [weight])
    torch.testing.assert_close(norm.u, kept, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(5, 7), (6, 2, 3, 3)])
def test_spectral_norm_converges_to_the_largest_singular_value(shape):
    norm, weight = SpectralNorm(shape[0]), torch.randn(shape)
    sigma = torch.linalg.matrix_norm(weight.flatten(1), ord=2)
    errors = []
    for _ in range(4):
        for _ in range(100):
            divided = norm(weight)
        errors.append((divided - weight / sigma).norm() / (weight / sigma).norm())
    assert errors[-1] < 1e-9
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(errors))
    torch.testing.assert_close(unit(weight).norm(), torch.tensor(1.0))
