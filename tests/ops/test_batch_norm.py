"""Batch norm: the biased variance, both kernels, and evaluation."""

import copy

import pytest
import torch
from torch import nn

from comparison import assert_same, plain_batch_norm
from xmcgan.ops import batch_norm
from xmcgan.ops.batch_norm import BatchNorm2d

pytestmark = pytest.mark.usefixtures("float64")


def test_batch_norm_keeps_the_biased_variance():
    norm, x = BatchNorm2d(3), torch.randn(2, 3, 2, 1) * 3 + 1
    torch.testing.assert_close(norm(x), plain_batch_norm(x))
    biased = x.var((0, 2, 3), correction=0)
    torch.testing.assert_close(norm.running_mean, 0.1 * x.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * biased)
    # With four values a channel the unbiased variance is a third larger, which is not a rounding error.
    theirs = nn.BatchNorm2d(3, affine=False)
    theirs(x)
    torch.testing.assert_close(theirs.running_var - norm.running_var, 0.1 * biased / 3)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_batch_norm_kernels_agree(layout):
    """The first is that of bfloat16 and of one process on CUDA. Output, statistics, gradient; around 50."""
    x = (torch.randn(5, 3, 4, 6) + 50).contiguous(memory_format=layout).requires_grad_()
    whole, parts = batch_norm.normalise(x), batch_norm.SynchronisedNormalise.apply(x)
    assert_same(parts[0], whole[0], [x])
    torch.testing.assert_close(parts[1:], whole[1:], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(whole[2], x.var((0, 2, 3), correction=0), rtol=1e-9, atol=0)
    assert not any(each.requires_grad for each in (*whole[1:], *parts[1:]))


def test_batch_norm_in_evaluation_uses_and_keeps_the_running_statistics():
    norm = BatchNorm2d(3).eval()
    norm.running_mean.normal_()
    norm.running_var.uniform_(1, 2)
    before, x = copy.deepcopy(norm.state_dict()), torch.randn(2, 3, 4, 4)
    mean, var = (value[:, None, None] for value in (norm.running_mean, norm.running_var))
    torch.testing.assert_close(norm(x), (x - mean) / (var + 1e-5).sqrt())
    torch.testing.assert_close(norm.state_dict(), before, rtol=0, atol=0)
