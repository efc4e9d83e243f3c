"""Self-modulation: batch normalisation whose scale and shift come from the condition."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xmcgan.ops.batch_norm import BatchNorm2d
from xmcgan.ops.blockwise_affine import BlockwiseAffine
from xmcgan.ops.memory import to_memory_format


class SelfModulation(nn.Module):
    """x_hat * (1 + gamma) + beta, with gamma and beta linear in the global condition: one pair a channel.

    The paper writes gamma * x_hat; the release's 1 + gamma starts at the identity (docs/parity.md).
    """

    def __init__(self, channels: int, condition_dim: int):
        super().__init__()
        self.norm = BatchNorm2d(channels)
        self.gamma = nn.Linear(condition_dim, channels)
        self.beta = nn.Linear(condition_dim, channels)

    def forward(self, x: Tensor, condition_BC: Tensor) -> Tensor:
        gamma, beta = self.gamma(condition_BC)[..., None, None], self.beta(condition_BC)[..., None, None]
        return torch.addcmul(beta.to(x.dtype), self.norm(x), (1 + gamma).to(x.dtype))


class SpatialCondition(NamedTuple):
    """The condition of every region, [word-context vector ; global condition], before the words are mixed."""

    attention_BRT: Tensor  # of each region over the words
    words_BTD: Tensor  # what is mixed by it
    global_BC: Tensor


class AttentionalSelfModulation(nn.Module):
    """x_hat_j * (1 + gamma_j) + beta_j at every location j, linear in [word context of j ; global condition].

    Two identities keep this cheap. A 1 x 1 convolution commutes with nearest upsampling: gamma and beta are computed
    for the 16 x 16 regions, and each serves its whole square of x, any multiple of that size. And as it is linear, it
    commutes with mixing: the T words are projected and then mixed for the R regions, instead of the reverse.
    """

    def __init__(self, channels: int, condition_dim: int):
        super().__init__()
        self.norm = BatchNorm2d(channels)
        self.gamma = nn.Conv2d(condition_dim, channels, 1)
        self.beta = nn.Conv2d(condition_dim, channels, 1)

    def forward(self, x: Tensor, condition: SpatialCondition) -> Tensor:
        x = self.norm(x)
        # Made of words and regions, they come channels_last; as x lies, so does what is made of it.
        channels_last = x.is_contiguous(memory_format=torch.channels_last)
        gamma, beta = (
            to_memory_format(project_condition(each, condition), channels_last=channels_last)
            for each in (self.gamma, self.beta)
        )
        return BlockwiseAffine.apply(x, (1 + gamma).to(x.dtype), beta.to(x.dtype))


def project_condition(convolution: nn.Conv2d, condition: SpatialCondition) -> Tensor:
    """A 1 x 1 convolution of [attention mix of words ; global condition] at every region: (B, C, 16, 16)."""
    attention_BRT, words_BTD, global_BC = condition
    weight = convolution.weight.flatten(1)
    of_words, of_global = weight.split([words_BTD.shape[2], global_BC.shape[1]], dim=1)
    everywhere = F.linear(global_BC, of_global, convolution.bias)[:, None]
    regions = attention_BRT @ F.linear(words_BTD, of_words) + everywhere
    side = math.isqrt(regions.shape[1])
    return regions.mT.unflatten(2, (side, side))


Modulation = SelfModulation | AttentionalSelfModulation
