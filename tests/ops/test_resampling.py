"""Resampling convolutions against interpolation, convolution and pooling one after the other."""

import pytest
import torch
from torch.nn import functional as F

from comparison import assert_same, randomised
from xmcgan.ops import resampling
from xmcgan.ops.resampling import ConvAveragePool2d, UpsampleConv2d

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(params=[0, 64], ids=["nine products", "sixteen"])
def products(request, monkeypatch):
    """Runs both implementations of a resampling convolution; these narrow layers would never choose the first."""
    monkeypatch.setattr(resampling, "BOX_CHANNELS", request.param)


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (3, 5), (8, 8), (7, 2)])
@pytest.mark.parametrize(("in_channels", "out_channels"), [(1, 1), (3, 5), (4, 2)])
def test_upsample_conv_is_interpolate_then_conv(size, in_channels, out_channels, products):
    layer = randomised(UpsampleConv2d(in_channels, out_channels))
    x = torch.randn(2, in_channels, *size, requires_grad=True)
    plain = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), layer.weight, layer.bias, padding=1)
    assert_same(layer(x), plain, [x, layer.weight, layer.bias])


@pytest.mark.parametrize("size", [(2, 2), (2, 6), (6, 10), (8, 8)])
@pytest.mark.parametrize(("in_channels", "out_channels"), [(1, 1), (3, 5), (4, 2)])
def test_conv_average_pool_is_conv_then_pool(size, in_channels, out_channels, products):
    layer = randomised(ConvAveragePool2d(in_channels, out_channels))
    x = torch.randn(2, in_channels, *size, requires_grad=True)
    plain = F.avg_pool2d(F.conv2d(x, layer.weight, layer.bias, padding=1), 2)
    assert_same(layer(x), plain, [x, layer.weight, layer.bias])
