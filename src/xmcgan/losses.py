"""The paper's losses, on tensors alone, and the two sums of Algorithm 1.

Every contrastive loss is the cross entropy of an N x N score matrix whose diagonal holds the true pairs, in both
directions, summed: as the release does, where the paper's formulas write one direction (docs/parity.md).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from xmcgan.precision import UnitRows, float32_or_wider, inverse_length, unit_rows
from xmcgan.types import DiscriminatorOutput, TextEmbedding


@dataclass(frozen=True)
class LossWeights:
    """The lambdas of the paper; a weight of 0 leaves its term out altogether."""

    sentence: float = 1.0
    word: float = 1.0
    image_discriminator: float = 1.0
    image_encoder: float = 1.0
    trace: float = 0.0

    def __post_init__(self):
        for name, value in vars(self).items():
            if not 0 <= value < float("inf"):
                raise ValueError(f"losses.{name} is {value}; a weight is 0 (off) or a positive number")


class Contrast(NamedTuple):
    """A contrastive loss, and two statistics that say how well the pairs are told apart."""

    loss: Tensor
    accuracy: Tensor  # share of rows and columns whose largest score is the true pair's
    entropy: Tensor  # of the softmax over the others, in nats, mean of both directions


def hinge_discriminator(real_logits_B: Tensor, fake_logits_B: Tensor) -> Tensor:
    """L_D = E relu(1 - D(x, s)) + E relu(1 + D(G(z, s), s))."""
    return F.relu(1 - real_logits_B).mean() + F.relu(1 + fake_logits_B).mean()


def hinge_generator(fake_logits_B: Tensor) -> Tensor:
    """L_G = -E D(G(z, s), s)."""
    return -fake_logits_B.mean()


def cross_entropy_both_ways(scores_BB: Tensor) -> Contrast:
    """Cross entropy of a score matrix against its diagonal, over rows plus over columns.

    Raises:
        ValueError: with fewer than two pairs there is nothing to tell apart.
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
    return Contrast(loss, accuracy, entropy)  # type: ignore[arg-type]


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine similarity of every row of a with every row of b: (N, F), (M, F) -> (N, M)."""
    return unit_rows(a) @ unit_rows(b).T


def nt_xent(a_BF: Tensor, b_BF: Tensor, temperature: float = 0.1) -> Contrast:
    """Normalised temperature-scaled cross entropy: the image-sentence and image-image losses.

    S(a_i, b_j) = cos(a_i, b_j) / temperature.
    """
    return cross_entropy_both_ways(cosine(a_BF, b_BF) / temperature)


def region_word_scores(
    regions_BRD: Tensor,
    words_BTD: Tensor,
    mask_BT: Tensor,
    *,
    rho_1: float = 5.0,
    rho_2: float = 5.0,
    temperature: float = 1 / 50,
    chunk: int | None = None,
) -> Tensor:
    """S_word of every image (row) with every sentence (column), through word-region attention.

    For word i and region j, alpha_ij = softmax_j(rho_1 cos(w_i, r_j)); the region-context vector c_i = sum_j
    alpha_ij r_j; S_word = log(sum_i exp(rho_2 cos(w_i, c_i))) / (rho_2 temperature) over the real words i.

    Args:
        chunk: words taken at a time; None suits the device. The result does not depend on it.

    Returns:
        scores_BB, or a row for each image and a column for each sentence where those are not equally many; padded
        words have no influence, and no gradient.
    """
    with torch.autocast(regions_BRD.device.type, enabled=False):
        # Every temporary of the regions' size counts here: 200 MB in the paper's batch.
        regions_BRD = UnitRows.apply(float32_or_wider(regions_BRD))
        words_ND = unit_rows(words_BTD[mask_BT])
        chunk = words_at_a_time(regions_BRD) if chunk is None else chunk
        cosine_NB = WordContextCosine.apply(words_ND, regions_BRD, rho_1, chunk)
        word_scores_BTB = cosine_NB.new_full((*mask_BT.shape, len(regions_BRD)), -torch.inf)
        word_scores_BTB = word_scores_BTB.masked_scatter(mask_BT[..., None], rho_2 * cosine_NB)
        return word_scores_BTB.logsumexp(1).T / (rho_2 * temperature)


def words_at_a_time(regions_BRD: Tensor) -> int:
    """The chunk of ``region_word_scores`` that suits the device."""
    elements = 2**20 if regions_BRD.device.type == "cpu" else 2**23  # a chunk stays in a CPU's cache
    return max(1, elements // (regions_BRD.shape[0] * regions_BRD.shape[1]))


def own_rows(rows: Tensor) -> Tensor:
    """The rows of a batch that no other process shares."""
    return rows


def trace_divergence(
    regions_BRD: Tensor,
    words_BTD: Tensor,
    traces_BTR: Tensor,
    *,
    rho_1: float = 5.0,
    gather: Callable[[Tensor], Tensor] = own_rows,
) -> Tensor:
    """KL(trace || alpha) between where a word was pointed at and where it looks, mean over the words with a trace.

    alpha_ij = softmax_j(rho_1 cos(w_i, r_j)) is the word-region attention of the region-word loss, of each caption in
    its own image. Mouse traces of Localized Narratives are the paper's future work; this use of them is ours.

    Args:
        traces_BTR: distributions over the regions; a row of zeros is a word without a trace.
        gather: joins the rows of all parts of the batch (``Objective``).

    Returns:
        the mean in nats; 0 where no word has a trace.
    """
    with torch.autocast(regions_BRD.device.type, enabled=False):
        similarity_BTR = unit_rows(words_BTD) @ unit_rows(regions_BRD).mT
        log_alpha_BTR = F.log_softmax(rho_1 * similarity_BTR, dim=-1)
        traces_BTR = traces_BTR.to(log_alpha_BTR.dtype)
        divergence_BT = gather((torch.xlogy(traces_BTR, traces_BTR) - traces_BTR * log_alpha_BTR).sum(-1))
        return divergence_BT.sum() / gather(traces_BTR.sum(-1) > 0).sum().clamp_min(1)


KEPT_ELEMENTS = 2**22
"""Of a tensor over all words and regions (16 MB in float32): up to here three are kept, not computed twice."""


class WordContextCosine(torch.autograd.Function):
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


@dataclass(frozen=True)
class Terms:
    """The terms of one network's objective: unweighted losses, their weights, and the statistics beside them."""

    losses: dict[str, Tensor]
    weights: dict[str, float]
    statistics: dict[str, Tensor]

    @property
    def total(self) -> Tensor:
        """The weighted sum that is minimised."""
        return torch.stack([self.weights[name] * loss for name, loss in self.losses.items()]).sum()


def terms(hinge: dict[str, Tensor], contrasts: dict[str, tuple[float, Contrast]]) -> Terms:
    """One adversarial loss, weighted 1, and contrastive losses with their lambdas."""
    return Terms(
        losses=hinge | {name: contrast.loss for name, (_, contrast) in contrasts.items()},
        weights=dict.fromkeys(hinge, 1.0) | {name: weight for name, (weight, _) in contrasts.items()},
        statistics={f"{name}_accuracy": contrast.accuracy for name, (_, contrast) in contrasts.items()}
        | {f"{name}_entropy": contrast.entropy for name, (_, contrast) in contrasts.items()},
    )


@dataclass(frozen=True)
class Objective:
    """The two sums of Algorithm 1, with the temperatures of the release (tau, and the word score's rho_1, rho_2).

    Where several processes hold equal parts of a batch, ``gather`` joins their rows, with a gradient: then a
    contrastive loss, the same in every process, is that of the whole batch. What is gathered is small: features,
    words (which have no gradient) and rows of scores. The regions, the largest of all, stay where they are: each
    process scores its own images against every sentence. The hinge, a mean, is left to the mean of the gradients.
    """

    weights: LossWeights = LossWeights()
    temperature: float = 0.1
    word_temperature: float = 1 / 50
    rho_1: float = 5.0
    rho_2: float = 5.0
    gather: Callable[[Tensor], Tensor] = own_rows

    def discriminator(
        self,
        real: DiscriminatorOutput,
        fake: DiscriminatorOutput,
        text: TextEmbedding,
        traces_BTR: Tensor | None = None,
    ) -> Terms:
        """L_D + lambda_1 L_sent(real) + lambda_2 L_word(real): the contrastive heads learn from real images only.

        With a trace weight the words of real images are also taught to look where they were pointed at.
        """
        hinge = hinge_discriminator(float32_or_wider(real.logits_B), float32_or_wider(fake.logits_B))
        learnt = terms({"d_hinge": hinge}, self.text_contrasts("real", real, text))
        if self.weights.trace and traces_BTR is not None:
            divergence = trace_divergence(
                real.region_features_BRD, text.words_BTD, traces_BTR, rho_1=self.rho_1, gather=self.gather
            )
            learnt.losses["real_trace"], learnt.weights["real_trace"] = divergence, self.weights.trace
        return learnt

    def generator(
        self,
        real: DiscriminatorOutput,
        fake: DiscriminatorOutput,
        text: TextEmbedding,
        encoded: tuple[Tensor, Tensor] | None = None,
    ) -> Terms:
        """L_G + lambda_1 L_sent(fake) + lambda_2 L_word(fake) + lambda_3 L_img(real, fake), by D and by an encoder.

        ``encoded`` is the frozen image encoder's features of the real and of the generated images.
        """
        contrasts = self.text_contrasts("fake", fake, text)
        if self.weights.image_discriminator:
            contrast = self.nt_xent(real.image_features_BF, fake.image_features_BF)
            contrasts["image_discriminator"] = (self.weights.image_discriminator, contrast)
        if self.weights.image_encoder and encoded is not None:
            contrasts["image_encoder"] = (self.weights.image_encoder, self.nt_xent(*encoded))
        return terms({"g_hinge": hinge_generator(float32_or_wider(fake.logits_B))}, contrasts)

    def text_contrasts(
        self, whose: str, output: DiscriminatorOutput, text: TextEmbedding
    ) -> dict[str, tuple[float, Contrast]]:
        """Image-sentence and region-word, each where its weight is not 0."""
        contrasts = {}
        if self.weights.sentence:
            contrast = self.nt_xent(output.image_features_BF, output.sentence_features_BF)
            contrasts[f"{whose}_sentence"] = (self.weights.sentence, contrast)
        if self.weights.word:
            scores_BB = region_word_scores(
                output.region_features_BRD,
                self.gather(text.words_BTD),
                self.gather(text.mask_BT),
                rho_1=self.rho_1,
                rho_2=self.rho_2,
                temperature=self.word_temperature,
            )
            contrasts[f"{whose}_word"] = (self.weights.word, cross_entropy_both_ways(self.gather(scores_BB)))
        return contrasts

    def nt_xent(self, a_BF: Tensor, b_BF: Tensor) -> Contrast:
        """``nt_xent`` of all rows."""
        return nt_xent(self.gather(a_BF), self.gather(b_BF), self.temperature)
