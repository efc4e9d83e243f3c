"""The contrastive losses: NT-Xent, and the word-region scores under attention.

Every contrastive loss is the cross entropy of an N x N score matrix whose diagonal holds the true pairs, summed over
both directions as in the official implementation; the paper's formulas have only one direction (docs/parity.md).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from xmcgan.ops.unit_vectors import UnitRows, unit_rows
from xmcgan.ops.word_scores import region_context_cosine
from xmcgan.runtime.precision import float32_or_wider, no_half_precision


class ContrastiveLoss(NamedTuple):
    """A contrastive loss, and two statistics of how well it separates the pairs."""

    loss: Tensor
    accuracy: Tensor  # share of rows and columns in which the true pair scores highest
    entropy: Tensor  # of the softmax over each row, in nats, mean of both directions


def mean_loss(losses: list[ContrastiveLoss]) -> ContrastiveLoss:
    """The mean of one loss over several networks' features, and the mean of each statistic."""
    return ContrastiveLoss(*(torch.stack(values).mean() for values in zip(*losses, strict=True)))


def symmetric_cross_entropy(scores_BB: Tensor) -> ContrastiveLoss:
    """Cross entropy of a score matrix against its diagonal, over rows plus over columns.

    Raises:
        ValueError: with fewer than two pairs, which leave nothing to tell apart.
    """
    if len(scores_BB) < 2:
        raise ValueError("a contrastive loss needs a batch of at least 2: the other examples are its negatives")
    target_B = torch.arange(len(scores_BB), device=scores_BB.device)
    loss, accuracy, entropy = 0, 0, 0
    for scores in (scores_BB, scores_BB.T):
        log_probability = F.log_softmax(scores, dim=1)
        loss = loss + F.nll_loss(log_probability, target_B)
        with torch.no_grad():
            accuracy = accuracy + (scores.argmax(1) == target_B).to(scores.dtype).mean() / 2
            entropy = entropy - (log_probability.exp() * log_probability).sum(1).mean() / 2
    return ContrastiveLoss(loss, accuracy, entropy)  # type: ignore[arg-type]


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine similarity of every row of a with every row of b: (N, F), (M, F) -> (N, M)."""
    return unit_rows(a) @ unit_rows(b).T


def nt_xent(a_BF: Tensor, b_BF: Tensor, temperature: float = 0.1) -> ContrastiveLoss:
    """Normalised temperature-scaled cross entropy: the image-sentence and image-image losses.

    S(a_i, b_j) = cos(a_i, b_j) / temperature.
    """
    return symmetric_cross_entropy(cosine(a_BF, b_BF) / temperature)


def region_word_scores(
    regions_BRD: Tensor,
    words_BTD: Tensor,
    mask_BT: Tensor,
    *,
    rho_1: float = 5.0,
    rho_2: float = 5.0,
    temperature: float = 1 / 50,
    chunk: int | None = None,
    fixed_shape: bool | None = None,
) -> Tensor:
    """S_word of every image (row) with every sentence (column), through word-region attention.

    For word i and region j, alpha_ij = softmax_j(rho_1 cos(w_i, r_j)); the region-context vector c_i = sum_j
    alpha_ij r_j; S_word = log(sum_i exp(rho_2 cos(w_i, c_i))) / (rho_2 temperature) over the real words i.

    Args:
        chunk: words processed at a time; None chooses for the device. The result does not depend on it.
        fixed_shape: whether padded words are computed too and then masked, instead of left out. A shape that depends on
            the mask makes the host wait for a GPU and rules out CUDA graphs. None: everywhere except on a CPU.
    Returns:
        scores_BB, a row for each image and a column for each sentence; there may be more of one than of the other.
        Padded words have no influence, and no gradient.
    """
    with no_half_precision(regions_BRD.device):
        # Avoid temporaries of the regions' size: each takes 200 MB with the paper's batch.
        regions_BRD = UnitRows.apply(float32_or_wider(regions_BRD))
        fixed_shape = regions_BRD.device.type != "cpu" if fixed_shape is None else fixed_shape
        words_ND = unit_rows(words_BTD.flatten(0, 1) if fixed_shape else words_BTD[mask_BT])
        cosine_NB = region_context_cosine(words_ND, regions_BRD, rho_1, chunk)
        if fixed_shape:
            word_scores_BTB = (rho_2 * cosine_NB).unflatten(0, mask_BT.shape)
            word_scores_BTB = word_scores_BTB.masked_fill(~mask_BT[..., None], -torch.inf)
        else:
            word_scores_BTB = cosine_NB.new_full((*mask_BT.shape, len(regions_BRD)), -torch.inf)
            word_scores_BTB = word_scores_BTB.masked_scatter(mask_BT[..., None], rho_2 * cosine_NB)
        return word_scores_BTB.logsumexp(1).T / (rho_2 * temperature)


def local_rows(rows: Tensor) -> Tensor:
    """The identity, for a batch that no other process holds rows of."""
    return rows


def trace_divergence(
    regions_BRD: Tensor,
    words_BTD: Tensor,
    traces_BTR: Tensor,
    *,
    rho_1: float = 5.0,
    gather: Callable[[Tensor], Tensor] = local_rows,
) -> Tensor:
    """KL(trace || alpha) between where the speaker pointed and where a word attends, mean over words with a trace.

    alpha_ij = softmax_j(rho_1 cos(w_i, r_j)) is the word-region attention of the region-word loss, of each caption in
    its own image. The paper names the mouse traces of Localized Narratives as future work; this use is ours.

    Args:
        traces_BTR: distributions over the regions; a row of zeros is a word without a trace.
        gather: joins the rows of all parts of the batch (``Objective``).

    Returns:
        the mean in nats; 0 where no word has a trace.
    """
    with no_half_precision(regions_BRD.device):
        similarity_BTR = unit_rows(words_BTD) @ unit_rows(regions_BRD).mT
        log_alpha_BTR = F.log_softmax(rho_1 * similarity_BTR, dim=-1)
        traces_BTR = traces_BTR.to(log_alpha_BTR.dtype)
        divergence_BT = gather((torch.xlogy(traces_BTR, traces_BTR) - traces_BTR * log_alpha_BTR).sum(-1))
        return divergence_BT.sum() / gather(traces_BTR.sum(-1) > 0).sum().clamp_min(1)
