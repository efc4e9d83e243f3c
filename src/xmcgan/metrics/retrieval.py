"""Image-caption alignment from the embeddings of a dual encoder: R-precision, contrastive accuracy, CLIPScore.

Row n of the images and row n of the captions are a pair. Rows need not be normalised: all scores are cosines, computed
in float64.

Ties: a true pair that shares the best score with t others counts as 1 / (1 + t) of a hit, the expected value of a
random choice. An encoder that maps everything to one point thus scores chance level and not 1, and two images with the
same caption share the hit.
"""

from collections.abc import Hashable, Sequence

import numpy as np
import torch
from torch import Tensor

from xmcgan.metrics.estimate import Estimate, mean_and_deviation
from xmcgan.ops.unit_vectors import unit_rows

TIE = 1e-9
"""Cosines closer than this are equal: well above float64 rounding, below the resolution of float32."""

ROWS = 64
"""Images scored at a time, which bounds the memory of their candidates."""


def r_precision(
    images_NF: Tensor,
    captions_NF: Tensor,
    *,
    image_ids: Sequence[Hashable],
    mismatched: int = 99,
    folds: int = 10,
    seed: int = 0,
) -> Estimate:
    """Fraction of images that score their own caption above ``mismatched`` captions of other images; 0 to 1.

    Xu et al. 2018, "AttnGAN", with a dual encoder that was not used in training (as in XMC-GAN). Chance is
    1 / (1 + mismatched).

    Args:
        images_NF: image embeddings.
        captions_NF: embeddings of the captions the images were generated from.
        image_ids: id of the real image that each caption describes. Mismatched captions have another id and are drawn
            without replacement, once per image; the draw is the same for every encoder and system.
        mismatched: captions to compare with the true one.
        folds: near-equal random parts of the images.
        seed: of the mismatched captions and the folds.

    Returns:
        mean and standard deviation over the folds.

    Raises:
        ValueError: if shapes differ, a value is not finite, there are too few captions of other images, or fewer images
            than folds.
    """
    images_NF, captions_NF = normalized_pairs(images_NF, captions_NF)
    count = len(images_NF)
    if len(image_ids) != count:
        raise ValueError(f"{len(image_ids)} image_ids but {count} captions; give one image id per caption")
    if not 1 <= folds <= count:
        raise ValueError(f"folds is {folds}; it should be 1 to {count}, the number of images")
    generator = np.random.default_rng(seed)
    candidates_NM = torch.from_numpy(draw_mismatched(image_ids, mismatched, generator))
    hits = []
    for images, own, candidates in zip(
        images_NF.split(ROWS), captions_NF.split(ROWS), candidates_NM.split(ROWS), strict=True
    ):
        true_B = (images * own).sum(1)
        scores_BM = (images[:, None] * captions_NF[candidates]).sum(2)
        hits.append(top1_hits(true_B, torch.cat([true_B[:, None], scores_BM], 1)))
    shuffled_N = torch.cat(hits)[torch.from_numpy(generator.permutation(count))]
    return mean_and_deviation([float(fold.mean()) for fold in shuffled_N.tensor_split(folds)])


def draw_mismatched(image_ids: Sequence[Hashable], count: int, generator: np.random.Generator) -> np.ndarray:
    """For each position, draw ``count`` distinct positions with another image id, uniformly: (N, count).

    Sorting by image id puts all positions of an image side by side, so a draw can skip over that one block.

    Raises:
        ValueError: if an image has fewer than ``count`` such positions.
    """
    numbers = {image: number for number, image in enumerate(dict.fromkeys(image_ids))}
    image_N = np.array([numbers[image] for image in image_ids])
    order_N, size_I = np.argsort(image_N, kind="stable"), np.bincount(image_N)
    first_I = np.cumsum(size_I) - size_I
    fewest = len(image_N) - size_I.max()
    if not 1 <= count <= fewest:
        raise ValueError(
            f"mismatched is {count}; it should be 1 to {fewest}, the captions of other images available to every image"
        )
    drawn_NM = np.empty((len(image_N), count), dtype=np.int64)
    for row, image in zip(drawn_NM, image_N, strict=True):
        row[:] = generator.choice(len(image_N) - size_I[image], count, replace=False, shuffle=False)
    drawn_NM += size_I[image_N, None] * (drawn_NM >= first_I[image_N, None])
    return order_N[drawn_NM]


def contrastive_accuracy(images_NF: Tensor, captions_NF: Tensor, *, batch_size: int = 256, seed: int = 0) -> Estimate:
    """Top-1 accuracy within a batch, averaged over image-to-caption and caption-to-image retrieval; 0 to 1.

    The accuracy of the contrastive losses (XMC-GAN, figure 5). Chance is 1 / batch_size. Two captions of one image in
    a batch count as mismatched, as they do in the losses.

    Args:
        images_NF: image embeddings.
        captions_NF: embeddings of the captions the images were generated from.
        batch_size: pairs per batch; the accuracy depends on it. An incomplete last batch is dropped.
        seed: shuffles the pairs.

    Returns:
        mean and standard deviation over the batches.

    Raises:
        ValueError: if shapes differ, a value is not finite, or there are fewer than ``batch_size`` pairs.
    """
    images_NF, captions_NF = normalized_pairs(images_NF, captions_NF)
    if not 2 <= batch_size <= len(images_NF):
        raise ValueError(f"batch_size is {batch_size}; it should be 2 to {len(images_NF)}, the number of pairs")
    order_N = torch.from_numpy(np.random.default_rng(seed).permutation(len(images_NF)))
    accuracies = []
    for rows_B in order_N.split(batch_size)[: len(order_N) // batch_size]:
        scores_BB = images_NF[rows_B] @ captions_NF[rows_B].T
        true_B = scores_BB.diagonal()
        accuracies.append(float(torch.cat([top1_hits(true_B, scores_BB), top1_hits(true_B, scores_BB.T)]).mean()))
    return mean_and_deviation(accuracies)


def clip_score(images_NF: Tensor, captions_NF: Tensor, *, weight: float = 2.5) -> float:
    """Mean of weight * max(cos(image, caption), 0) over the pairs.

    Hessel et al. 2021, "CLIPScore: A Reference-free Evaluation Metric for Image Captioning": weight 2.5, CLIP ViT-B/32,
    captions prefixed with "A photo depicts". Many report weight 100 and plain captions under the same name, so report
    the weight and the encoder with the value.

    Args:
        images_NF: image embeddings.
        captions_NF: embeddings of the captions the images were generated from.
        weight: factor of the cosine.

    Raises:
        ValueError: if shapes differ, a value is not finite, or the weight is not positive.
    """
    if not 0 < weight < float("inf"):
        raise ValueError(f"weight is {weight}; it should be a positive number, such as 2.5 or 100")
    images_NF, captions_NF = normalized_pairs(images_NF, captions_NF)
    return weight * float((images_NF * captions_NF).sum(1).clamp_min(0).mean())


def normalized_pairs(images_NF: Tensor, captions_NF: Tensor) -> tuple[Tensor, Tensor]:
    """Both embeddings with rows of unit length, in float64.

    Raises:
        ValueError: if shapes differ or a value is not finite.
    """
    if images_NF.ndim != 2 or images_NF.shape != captions_NF.shape or not len(images_NF):
        shapes = f"{tuple(images_NF.shape)} and {tuple(captions_NF.shape)}"
        raise ValueError(f"image and caption embeddings have shapes {shapes}; both should be (N, F), one pair per row")
    if not (images_NF.isfinite().all() and captions_NF.isfinite().all()):
        raise ValueError("image or caption embeddings contain NaN or infinity")
    return unit_rows(images_NF.detach().double()), unit_rows(captions_NF.detach().double())


def top1_hits(true_N: Tensor, scores_NM: Tensor) -> Tensor:
    """1 / n where the true score is among n tied best scores of its row, otherwise 0. Rows include the true score."""
    margin_NM = scores_NM - true_N[:, None]
    best_N = (margin_NM <= TIE).all(1)
    return best_N.double() / (margin_NM.abs() <= TIE).sum(1)
