"""``UnitRows`` against ``unit_rows``."""

import torch

from xmcgan.ops.unit_vectors import UnitRows, unit_rows


def test_memory_saving_unit_rows_equal_unit_rows():
    """Value and gradient, including a zero vector, one just too short, and one just long enough."""
    x = torch.randn(6, 5, dtype=torch.float64)
    x[1] = 0
    x[2:4] *= torch.tensor([[0.9e-6], [1.1e-6]]) / x[2:4].norm(dim=1, keepdim=True)
    x.requires_grad_()
    cotangent = torch.randn(6, 5, dtype=torch.float64)
    results = [(y, *torch.autograd.grad((y * cotangent).sum(), x)) for y in (unit_rows(x), UnitRows.apply(x))]
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)
    for values in results[1]:
        assert not values[1:3].any()
        assert values[3].any()
