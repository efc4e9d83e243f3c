"""Self-modulation: batch normalisation whose scale and shift come from the condition."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from xmcgan.ops.batch_norm import BatchNorm2d
from xmcgan.ops.blockwise_affine import bilinear_affine, blockwise_affine
from xmcgan.ops.word_context import project_word_context

Upsampling = Literal["nearest", "bilinear"]

AFFINES = {"nearest": blockwise_affine, "bilinear": bilinear_affine}


class SelfModulation(nn.Module):
    """x_hat * (1 + gamma) + beta, with gamma and beta linear in the global condition: one pair per channel.

    The paper writes gamma * x_hat; the official implementation's 1 + gamma starts at the identity (docs/parity.md).
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
    words_BTD: Tensor  # the words that it mixes
    global_BC: Tensor


class AttentionalSelfModulation(nn.Module):
    """x_hat_j * (1 + gamma_j) + beta_j at every location j, linear in [word context of j ; global condition].

    gamma and beta are computed for the 16 x 16 regions and upsampled to the size of x.

    Args:
        upsampling: ``nearest`` (official): each value applies to its whole block of x; or ``bilinear``.
    """

    def __init__(self, channels: int, condition_dim: int, upsampling: Upsampling = "nearest"):
        super().__init__()
        self.upsampling = upsampling
        self.norm = BatchNorm2d(channels)
        self.gamma = nn.Conv2d(condition_dim, channels, 1)
        self.beta = nn.Conv2d(condition_dim, channels, 1)

    def forward(self, x: Tensor, condition: SpatialCondition) -> Tensor:
        x = self.norm(x)
        gamma, beta = (
            project_word_context(layer.weight.flatten(1), layer.bias, *condition) for layer in (self.gamma, self.beta)
        )
        return AFFINES[self.upsampling](x, 1 + gamma, beta)


Modulation = SelfModulation | AttentionalSelfModulation
