"""Every fast operation against its plain reference: the same output and gradients, in float64."""

import pytest
import torch

from xmcgan.ops.batch_norm import BatchNorm2d, batch_norm_reference
from xmcgan.ops.blockwise_affine import blockwise_affine, blockwise_affine_reference
from xmcgan.ops.resampling import (
    ConvAveragePool2d,
    UpsampleConv2d,
    conv_average_pool_reference,
    upsample_conv_reference,
)
from xmcgan.ops.unit_vectors import UnitRows, unit_rows, unit_rows_reference
from xmcgan.ops.word_context import project_word_context, project_word_context_reference
from xmcgan.ops.word_scores import region_context_cosine, region_context_cosine_reference


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def attention() -> torch.Tensor:
    return random(2, 16, 3).softmax(-1).detach().requires_grad_()


UPSAMPLE, POOL, NORM = UpsampleConv2d(3, 5).double(), ConvAveragePool2d(3, 5).double(), BatchNorm2d(3).double()

OPERATIONS = {
    "upsample_conv": (UPSAMPLE, lambda x: upsample_conv_reference(x, UPSAMPLE.weight, UPSAMPLE.bias), [(2, 3, 4, 6)]),
    "conv_average_pool": (POOL, lambda x: conv_average_pool_reference(x, POOL.weight, POOL.bias), [(2, 3, 4, 6)]),
    "batch_norm": (NORM, batch_norm_reference, [(4, 3, 5, 6)]),
    "blockwise_affine": (
        blockwise_affine,
        blockwise_affine_reference,
        [(2, 3, 8, 8), (2, 3, 4, 4), (2, 3, 4, 4)],
    ),
    "unit_rows": (unit_rows, unit_rows_reference, [(4, 5, 6)]),
    "UnitRows": (UnitRows.apply, unit_rows_reference, [(4, 5, 6)]),
    "project_word_context": (
        project_word_context,
        project_word_context_reference,
        [(5, 4 + 6), (5,), attention, (2, 3, 4), (2, 6)],
    ),
    # Its gradient is for unit vectors: what points along them is left out, as normalising would remove it.
    "region_context_cosine": (
        lambda words, regions: region_context_cosine(unit_rows(words), unit_rows(regions), 5.0, chunk=2),
        lambda words, regions: region_context_cosine_reference(unit_rows(words), unit_rows(regions), 5.0),
        [(5, 6), (3, 7, 6)],
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_fast_operation_equals_reference(name):
    fast, reference, shapes = OPERATIONS[name]
    inputs = [shape() if callable(shape) else random(*shape) for shape in shapes]
    ours, plain = fast(*inputs), reference(*inputs)
    torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-11)
    projection = torch.randn_like(plain)
    for one, other in zip(
        torch.autograd.grad((ours * projection).sum(), inputs),
        torch.autograd.grad((plain * projection).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)
