"""``bilinear_affine`` against plain interpolation."""

import torch
from torch.nn import functional as F

from xmcgan.ops.blockwise_affine import bilinear_affine, blockwise_affine


def random_maps(side: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    x = torch.randn(2, 3, side, side, dtype=torch.float64)
    scale, shift = torch.randn(2, 2, 3, 16, 16, dtype=torch.float64)
    return x, scale, shift


def test_bilinear_affine_equals_interpolate_then_multiply():
    x, scale, shift = random_maps(64)
    up = [F.interpolate(each, size=(64, 64), mode="bilinear") for each in (scale, shift)]
    torch.testing.assert_close(bilinear_affine(x, scale, shift), x * up[0] + up[1], rtol=1e-12, atol=1e-12)


def test_nearest_and_bilinear_agree_at_region_size():
    x, scale, shift = random_maps(16)
    torch.testing.assert_close(bilinear_affine(x, scale, shift), blockwise_affine(x, scale, shift))


def test_no_edges_between_blocks():
    """The largest difference between neighbouring pixels is that between neighbouring regions, over the block size."""
    x, scale, _ = random_maps(64)
    scale = scale[:, :, :1].expand(-1, -1, 16, -1)  # equal rows: only columns are interpolated
    smooth = bilinear_affine(torch.ones_like(x), scale, torch.zeros_like(scale))
    square = blockwise_affine(torch.ones_like(x), scale, torch.zeros_like(scale))
    steps = [each.diff(dim=-1).abs().max() for each in (smooth, square)]
    torch.testing.assert_close(steps[0], steps[1] / 4, rtol=1e-9, atol=0.0)


def test_gradients():
    x, scale, shift = (each.requires_grad_() for each in random_maps(32))
    assert torch.autograd.gradcheck(bilinear_affine, (x[:1, :1], scale[:1, :1], shift[:1, :1]), fast_mode=True)
