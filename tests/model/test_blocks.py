"""Residual blocks against plain convolutions, pooling and interpolation."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from comparison import assert_same, plain_modulation, random_condition, randomised
from xmcgan.model.blocks import DownBlock, OptimizedDownBlock, UpBlock
from xmcgan.model.modulation import AttentionalSelfModulation, SelfModulation

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("kind", [SelfModulation, AttentionalSelfModulation])
@pytest.mark.parametrize(("in_channels", "out_channels"), [(3, 5), (4, 4)])
def test_up_block(kind, in_channels, out_channels):
    block = randomised(UpBlock(in_channels, out_channels, 6, kind))
    x = torch.randn(3, in_channels, 8, 8, requires_grad=True)
    inputs = [torch.randn(3, 6, requires_grad=True)]
    condition = inputs[0]
    if kind is AttentionalSelfModulation:
        condition = random_condition(3, 4, words=5, word_dim=2, global_dim=4)
        inputs = list(condition)

    def upsample(x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    y = F.relu(plain_modulation(block.norm1, x, condition))
    y = F.conv2d(upsample(y), block.conv1.weight, block.conv1.bias, padding=1)
    y = F.relu(plain_modulation(block.norm2, y, condition))
    y = F.conv2d(y, block.conv2.weight, block.conv2.bias, padding=1)
    plain = y + F.conv2d(upsample(x), block.shortcut.weight, block.shortcut.bias)
    # The bias of conv1 has no gradient: the norm after it removes constants.
    live = [parameter for name, parameter in block.named_parameters() if name != "conv1.bias"]
    assert_same(block(x, condition), plain, [x, *inputs, *live])


@pytest.mark.parametrize(("in_channels", "out_channels", "downsample"), [(3, 5, True), (4, 4, True), (3, 5, False)])
def test_down_block(in_channels, out_channels, downsample):
    block = randomised(DownBlock(in_channels, out_channels, downsample=downsample))
    x = torch.randn(2, in_channels, 6, 10, requires_grad=True)
    y = F.conv2d(F.relu(x), block.conv1.weight, block.conv1.bias, padding=1)
    y = F.conv2d(F.relu(y), block.conv2.weight, block.conv2.bias, padding=1)
    y = y + F.conv2d(x, block.shortcut.weight, block.shortcut.bias)
    plain = F.avg_pool2d(y, 2) if downsample else y
    assert_same(block(x), plain, [x, *block.parameters()])


def test_down_block_of_same_shape_has_identity_shortcut():
    block = randomised(DownBlock(4, 4, downsample=False))
    x = torch.randn(2, 4, 5, 5, requires_grad=True)
    y = F.conv2d(F.relu(x), block.conv1.weight, block.conv1.bias, padding=1)
    plain = x + F.conv2d(F.relu(y), block.conv2.weight, block.conv2.bias, padding=1)
    assert_same(block(x), plain, [x, *block.parameters()])


def test_optimized_down_block():
    block = randomised(OptimizedDownBlock(3, 5))
    x = torch.randn(2, 3, 6, 10, requires_grad=True)
    y = F.relu(F.conv2d(x, block.conv1.weight, block.conv1.bias, padding=1))
    y = F.avg_pool2d(F.conv2d(y, block.conv2.weight, block.conv2.bias, padding=1), 2)
    plain = y + F.conv2d(F.avg_pool2d(x, 2), block.shortcut.weight, block.shortcut.bias)
    assert_same(block(x), plain, [x, *block.parameters()])
