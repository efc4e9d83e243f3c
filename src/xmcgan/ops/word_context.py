"""Projections of [word-context vector ; global condition] at every region, without forming the context vectors."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def project_word_context(
    weight: Tensor, bias: Tensor | None, attention_BRT: Tensor, words_BTD: Tensor, global_BC: Tensor
) -> Tensor:
    """W [attention @ words ; global condition] + b at every region: (B, O, side, side) with side^2 = R.

    A linear projection commutes with mixing: T words are projected and then mixed for R regions, not the reverse.

    Args:
        weight: (O, D + C).
    """
    of_words, of_global = weight.split([words_BTD.shape[2], global_BC.shape[1]], dim=1)
    everywhere = F.linear(global_BC, of_global, bias)[:, None]
    regions = attention_BRT @ F.linear(words_BTD, of_words) + everywhere
    side = math.isqrt(regions.shape[1])
    return regions.mT.unflatten(2, (side, side))


def project_word_context_reference(
    weight: Tensor, bias: Tensor | None, attention_BRT: Tensor, words_BTD: Tensor, global_BC: Tensor
) -> Tensor:
    """The same, with the context vectors formed and joined with the global condition."""
    context_BRD = attention_BRT @ words_BTD
    everywhere_BRC = global_BC[:, None].expand(-1, context_BRD.shape[1], -1)
    regions = F.linear(torch.cat([context_BRD, everywhere_BRC], 2), weight, bias)
    side = math.isqrt(regions.shape[1])
    return regions.mT.unflatten(2, (side, side))
