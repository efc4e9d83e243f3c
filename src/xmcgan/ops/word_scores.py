"""Cosine similarity of words and their region-context vectors, without forming the context vectors."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from xmcgan.ops.unit_vectors import inverse_length


def word_chunk(regions_BRD: Tensor) -> int:
    """The default number of words ``region_context_cosine`` processes at a time."""
    elements = 2**20 if regions_BRD.device.type == "cpu" else 2**23  # on the CPU, a chunk fits the cache
    return max(1, elements // (regions_BRD.shape[0] * regions_BRD.shape[1]))


def region_context_cosine(words_ND: Tensor, regions_BRD: Tensor, rho_1: float, chunk: int | None = None) -> Tensor:
    """cos(w_n, c_nb) of N words and their region-context vectors in B images: (N, B).

    Args:
        words_ND: unit word embeddings.
        regions_BRD: unit region features.
        rho_1: sharpness of the attention over regions.
        chunk: words processed at a time; by default, as many as suit the device. The result does not depend on it.
    """
    chunk = word_chunk(regions_BRD) if chunk is None else chunk
    return RegionContextCosine.apply(words_ND, regions_BRD, rho_1, chunk)


def region_context_cosine_reference(words_ND: Tensor, regions_BRD: Tensor, rho_1: float) -> Tensor:
    """The same, forming the context vectors."""
    similarity_NBR = torch.einsum("nd,brd->nbr", words_ND, regions_BRD)
    context_NBD = torch.einsum("nbr,brd->nbd", (rho_1 * similarity_NBR).softmax(-1), regions_BRD)
    return F.cosine_similarity(context_NBD, words_ND[:, None], dim=-1)


KEPT_ELEMENTS = 2**22
"""Up to this size of one (N, B, R) tensor (16 MB in float32), the backward pass keeps three instead of recomputing."""


class RegionContextCosine(torch.autograd.Function):
    """cos(w_n, c_nb) of N unit words and their region-context vectors in B images of R unit regions: (N, B).

    The context vectors are never formed (docs/design.md, identity 5). Let s_j = cos(w, r_j), alpha = softmax(rho_1 s)
    over the regions, and G the regions' Gram matrix. Then d := <w, c> = alpha . s and q := |c|^2 = alpha^T G alpha, so
    cos(w, c) = d / sqrt(q). This does not change when alpha is scaled, so the mean term of the softmax's Jacobian
    vanishes and the gradient is short:

        d cos / d s = alpha (1 + rho_1 (s - d/q G alpha)) / sqrt(q)
        d cos / d G = -d / (2 q sqrt(q)) alpha alpha^T

    A context vector no longer than ``MIN_LENGTH`` has cosine 0 and no gradient.

    Words are processed a chunk at a time. Unless the tensors of all chunks are small, the backward pass recomputes
    them, so peak memory is that of one chunk.
    """

    @staticmethod
    def forward(ctx: Any, words_ND: Tensor, regions_BRD: Tensor, rho_1: float, chunk: int) -> Tensor:
        gram_BRR = regions_BRD @ regions_BRD.mT
        elements = len(words_ND) * len(regions_BRD) * regions_BRD.shape[1]
        kept = [] if elements <= KEPT_ELEMENTS else None
        # Allocate the results first: small ones between large temporaries would fragment the heap on the CPU.
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
    """Similarity s, attention alpha and G alpha of N words over the regions of every image, each (N, B, R)."""
    similarity_NBR = (words_ND @ regions_BRD.flatten(0, 1).T).view(len(words_ND), *regions_BRD.shape[:2])
    alpha_NBR = F.softmax(rho_1 * similarity_NBR, dim=-1)
    attended_NBR = torch.empty_like(alpha_NBR)
    torch.bmm(alpha_NBR.transpose(0, 1), gram_BRR, out=attended_NBR.transpose(0, 1))
    return similarity_NBR, alpha_NBR, attended_NBR
