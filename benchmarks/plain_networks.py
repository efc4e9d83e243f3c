"""The plain formulation of networks and losses, as in the paper and the official implementation, for comparison.

Upsampling and pooling are separate from convolutions, the condition is projected at full size, and context vectors are
formed. ``with plain():`` runs the library's networks with their own weights in this formulation; the results are equal
up to rounding.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional as F

from xmcgan.losses import objective
from xmcgan.model import blocks, modulation
from xmcgan.ops import resampling
from xmcgan.ops.unit_vectors import unit_rows


def plain_upsample_conv(self: resampling.UpsampleConv2d, input: Tensor) -> Tensor:
    return resampling.upsample_conv_reference(input, self.weight, self.bias)


def plain_conv_pool(self: resampling.ConvAveragePool2d, input: Tensor) -> Tensor:
    return resampling.conv_average_pool_reference(input, self.weight, self.bias)


def plain_attentional(
    self: modulation.AttentionalSelfModulation, x: Tensor, condition: modulation.SpatialCondition
) -> Tensor:
    context = condition.attention_BRT @ condition.words_BTD
    global_BRC = condition.global_BC[:, None].expand(-1, context.shape[1], -1)
    spatial = torch.cat([context, global_BRC], 2).mT.unflatten(2, (16, 16))
    spatial = F.interpolate(spatial, size=x.shape[2:], mode="nearest")
    return self.norm(x) * (1 + self.gamma(spatial)) + self.beta(spatial)


def plain_up_block(self: blocks.UpBlock, x: Tensor, condition: Tensor | modulation.SpatialCondition) -> Tensor:
    y = self.conv1(F.relu(self.norm1(x, condition)))
    y = self.conv2(F.relu(self.norm2(y, condition)))
    return y + self.shortcut(resampling.upsample_nearest(x))


def plain_down_block(self: blocks.DownBlock, x: Tensor) -> Tensor:
    y, shortcut = self.conv2(F.relu(self.conv1(F.relu(x)))), self.shortcut(x)
    return y + (F.avg_pool2d(shortcut, 2) if self.downsample else shortcut)


def plain_scores(regions_BRD: Tensor, words_BTD: Tensor, mask_BT: Tensor, **settings: float) -> Tensor:
    regions, words = unit_rows(regions_BRD), unit_rows(words_BTD)
    similarity = torch.einsum("brd,ctd->bctr", regions, words)
    context = torch.einsum("bctr,brd->bctd", (settings["rho_1"] * similarity).softmax(-1), regions)
    cosine = (unit_rows(context) * words).sum(-1)
    scores = (settings["rho_2"] * cosine).masked_fill(~mask_BT, -torch.inf).logsumexp(-1)
    return scores / (settings["rho_2"] * settings["temperature"])


@contextmanager
def plain() -> Iterator[None]:
    """Switches networks and losses to the plain formulation within the block."""
    with ExitStack() as stack:
        for target, name, replacement in (
            (resampling.UpsampleConv2d, "forward", plain_upsample_conv),
            (resampling.ConvAveragePool2d, "forward", plain_conv_pool),
            (modulation.AttentionalSelfModulation, "forward", plain_attentional),
            (blocks.UpBlock, "forward", plain_up_block),
            (blocks.DownBlock, "forward", plain_down_block),
            (objective, "region_word_scores", plain_scores),
        ):
            stack.enter_context(patch.object(target, name, replacement))
        yield
