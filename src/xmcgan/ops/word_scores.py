"""Cosines of words and their region-context vectors, without forming the context vectors."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from xmcgan.ops.unit_vectors import inverse_length


def word_chunk(regions_BRD: Tensor) -> int:
    """The chunk of ``region_word_scores`` that suits the device."""
    elements = 2**20 if regions_BRD.device.type == "cpu" else 2**23  # a chunk stays in a CPU's cache
    return max(1, elements // (regions_BRD.shape[0] * regions_BRD.shape[1]))


def region_context_cosine(words_ND: Tensor, regions_BRD: Tensor, rho_1: float, chunk: int | None = None) -> Tensor:
    """cos(w_n, c_nb) of unit words and their region-context vectors in B images of unit regions: (N, B).

    Args:
        chunk: words taken at a time; None suits the device. The result does not depend on it.
    """
    chunk = word_chunk(regions_BRD) if chunk is None else chunk
    return RegionContextCosine.apply(words_ND, regions_BRD, rho_1, chunk)


def region_context_cosine_reference(words_ND: Tensor, regions_BRD: Tensor, rho_1: float) -> Tensor:
    """The same, with the context vectors formed."""
    similarity_NBR = torch.einsum("nd,brd->nbr", words_ND, regions_BRD)
    context_NBD = torch.einsum("nbr,brd->nbd", (rho_1 * similarity_NBR).softmax(-1), regions_BRD)
    return F.cosine_similarity(context_NBD, words_ND[:, None], dim=-1)


KEPT_ELEMENTS = 2**22
"""Of a tensor over all words and regions (16 MB in float32): up to here three are kept, not computed twice."""


class RegionContextCosine(torch.autograd.Function):
    """cos(w_n, c_nb) of N unit words and their region-context vectors in B images of R unit regions: (N, B).

    The context vectors are never formed (docs/design.md, identity 4). With s = cos(w, r_j) over the regions, alpha =
    softmax(rho_1 s) and the regions' Gram matrix G, <w, c> = alpha . s =: d and |c|^2 = alpha G alpha =: q, so that
    cos(w, c) = d / sqrt(q). As that is unchanged when alpha is scaled, the softmax's own Jacobian loses its mean
    term, and the gradient is short:

        d cos / d s = alpha (1 + rho_1 (s - d/q G alpha)) / sqrt(q)
        d cos / d G = -d / (2 q sqrt(q)) alpha alpha^T

    A context vector of no length has no direction (``SHORTEST``): its cosine is 0, and has no gradient.

    Words are taken a chunk at a time. Unless the tensors of all chunks are small they are computed again in the
    backward pass, so that memory is that of one chunk.
    """

    @staticmethod
    def forward(ctx: Any, words_ND: Tensor, regions_BRD: Tensor, rho_1: float, chunk: int) -> Tensor:
        gram_BRR = regions_BRD @ regions_BRD.mT
        elements = len(words_ND) * len(regions_BRD) * regions_BRD.shape[1]
        kept = [] if elements <= KEPT_ELEMENTS else None
        # Small results between large temporaries would leave holes in a CPU's heap, each too small for the next.
        d_NB, q_NB = regions_BRD.new_empty(2, len(words_ND), len(regions_BRD))
        for words, d, q in zip(words_ND.split(chunk), d_NB.split(chunk), q_NB.split(chunk), strict=True):
            similarity, alpha, attended = attend(words, regions_BRD, gram_BRR, rho_1)
            torch.sum(similarity * alpha, -1, out=d)
            torch.sum(attended * alpha, -1, out=q)
            if kept is not None:
                kept.append((similarity, alpha, attended))
        inverse_NB = inverse_length(q_NB)
        ctx.save_for_backward(words_ND, regions_BRD, gram_BRR, d_NB, inverse_NB)
        ctx.rho_1, ctx.chunk, ctx.kept = rho_1, chunk, kept
        return d_NB * inverse_NB

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        (gradient_NB,) = grad_outputs
        words_ND, regions_BRD, gram_BRR, d_NB, inverse_NB = ctx.saved_tensors
        scale_NB, slope_NB = gradient_NB * inverse_NB, d_NB * inverse_NB.square()
        flat_regions = regions_BRD.flatten(0, 1)
        to_words, to_regions, to_gram = [], torch.zeros_like(flat_regions), torch.zeros_like(gram_BRR)
        for number, words in enumerate(words_ND.split(ctx.chunk)):
            similarity, alpha, attended = (
                ctx.kept[number] if ctx.kept is not None else attend(words, regions_BRD, gram_BRR, ctx.rho_1)
            )
            rows = slice(number * ctx.chunk, number * ctx.chunk + len(words))
            slope, scale = (each[rows, :, None] for each in (slope_NB, scale_NB))
            weighted = (alpha * (scale * slope / -2)).transpose(0, 1)
            to_gram.baddbmm_(weighted.mT, alpha.transpose(0, 1))
            to_similarity = torch.addcmul(similarity, attended, slope, value=-1)
            to_similarity = to_similarity.mul_(ctx.rho_1).add_(1).mul_(alpha).mul_(scale).flatten(1)
            to_regions.addmm_(to_similarity.T, words)
            if ctx.needs_input_grad[0]:
                to_words.append(to_similarity @ flat_regions)
        to_regions = to_regions.view_as(regions_BRD).baddbmm_(to_gram, regions_BRD, alpha=2)
        return torch.cat(to_words) if to_words else None, to_regions, None, None


def attend(words_ND: Tensor, regions_BRD: Tensor, gram_BRR: Tensor, rho_1: float) -> tuple[Tensor, Tensor, Tensor]:
    """Of some words over the regions of every image: similarity s, attention alpha, and G alpha, each (N, B, R)."""
    similarity_NBR = (words_ND @ regions_BRD.flatten(0, 1).T).view(len(words_ND), *regions_BRD.shape[:2])
    alpha_NBR = F.softmax(rho_1 * similarity_NBR, dim=-1)
    attended_NBR = torch.empty_like(alpha_NBR)
    torch.bmm(alpha_NBR.transpose(0, 1), gram_BRR, out=attended_NBR.transpose(0, 1))
    return similarity_NBR, alpha_NBR, attended_NBR
