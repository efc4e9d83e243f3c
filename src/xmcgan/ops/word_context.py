"""Linear projection of [word-context vector ; global condition] at every region, without forming that vector."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def project_word_context(
    weight: Tensor, bias: Tensor | None, attention_BRT: Tensor, words_BTD: Tensor, global_BC: Tensor
) -> Tensor:
    """W [attention @ words ; global condition] + b at every region: (B, O, side, side) with side^2 = R.

    The projection commutes with the attention's average, so it is applied to T words, not to R regions.

    Args:
        weight: W, (O, D + C).
        bias: b, (O,), or None.
    """
    word_weight, global_weight = weight.split([words_BTD.shape[2], global_BC.shape[1]], dim=1)
    global_part = F.linear(global_BC, global_weight, bias)[:, None]
    regions = attention_BRT @ F.linear(words_BTD, word_weight) + global_part
    side = math.isqrt(regions.shape[1])
    return regions.mT.unflatten(2, (side, side))


def project_word_context_reference(
    weight: Tensor, bias: Tensor | None, attention_BRT: Tensor, words_BTD: Tensor, global_BC: Tensor
) -> Tensor:
    """The same, forming the context vectors and concatenating them with the global condition."""
    context_BRD = attention_BRT @ words_BTD
    global_BRC = global_BC[:, None].expand(-1, context_BRD.shape[1], -1)
    regions = F.linear(torch.cat([context_BRD, global_BRC], 2), weight, bias)
    side = math.isqrt(regions.shape[1])
    return regions.mT.unflatten(2, (side, side))
