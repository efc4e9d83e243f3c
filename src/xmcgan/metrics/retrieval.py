"""How well images fit their captions, by a dual encoder that puts both into one space.

Row n of the images and row n of the captions are a pair. Rows need not be of unit length: all scores are cosines, in
float64.

Ties: a true pair that shares the best score with t others counts as 1 / (1 + t) of a hit, which is what choosing among
them at random would give. So an encoder that says the same of everything scores chance, and not 1 as it would where
ties count as hits; and a caption that two images have in common costs neither of them everything.
"""

from collections.abc import Hashable, Sequence

import numpy as np
import torch
from torch import Tensor

from xmcgan.metrics.estimate import Estimate, mean_and_deviation
from xmcgan.ops.unit_vectors import unit_rows

TIE = 1e-9
"""Cosines that differ by less are equal: well above rounding in float64, below what float32 tells apart."""

ROWS = 64
"""Images whose candidates are held at a time."""


def r_precision(
    images_NF: Tensor,
    captions_NF: Tensor,
    *,
    image_ids: Sequence[Hashable],
    mismatched: int = 99,
    folds: int = 10,
    seed: int = 0,
) -> Estimate:
    """Share of images whose true caption is the best of itself and ``mismatched`` captions of other images; 0 to 1.

    Xu et al. 2018, "AttnGAN", with an encoder that is independent of training (as in XMC-GAN). Chance is
    1 / (1 + mismatched).

    Args:
        images_NF: of the encoder, an image each.
        captions_NF: of the encoder, the caption that each image was drawn for.
        image_ids: the real image that each caption describes. The mismatched captions are of other ids, drawn
            without replacement from those given; one draw an image, the same for every encoder and system.
        mismatched: captions beside the true one.
        folds: parts that the images are divided into, as evenly as can be, in random order.
        seed: of the mismatched captions and the folds.

    Returns:
        mean and standard deviation over the folds.

    Raises:
        ValueError: if rows do not pair up or are not finite, an image has too few captions of others, or there are
            fewer images than folds.
    """
    images_NF, captions_NF = unit_pairs(images_NF, captions_NF)
    count = len(images_NF)
    if len(image_ids) != count:
        raise ValueError(f"{len(image_ids)} image_ids but {count} captions; each caption describes one image")
    if not 1 <= folds <= count:
        raise ValueError(f"folds is {folds}; it should be 1 to {count}, the number of images")
    generator = np.random.default_rng(seed)
    candidates_NM = torch.from_numpy(others(image_ids, mismatched, generator))
    hits = []
    for images, own, candidates in zip(
        images_NF.split(ROWS), captions_NF.split(ROWS), candidates_NM.split(ROWS), strict=True
    ):
        true_B = (images * own).sum(1)
        scores_BM = (images[:, None] * captions_NF[candidates]).sum(2)
        hits.append(shared_hits(true_B, torch.cat([true_B[:, None], scores_BM], 1)))
    shuffled_N = torch.cat(hits)[torch.from_numpy(generator.permutation(count))]
    return mean_and_deviation([float(fold.mean()) for fold in shuffled_N.tensor_split(folds)])


def others(image_ids: Sequence[Hashable], count: int, generator: np.random.Generator) -> np.ndarray:
    """For each position, ``count`` distinct positions whose image is another: (N, count), all equally likely.

    With the positions sorted by image, one image's are neighbours: a draw from the rest steps over them.

    Raises:
        ValueError: if an image has too few.
    """
    numbers = {image: number for number, image in enumerate(dict.fromkeys(image_ids))}
    image_N = np.array([numbers[image] for image in image_ids])
    order_N, size_I = np.argsort(image_N, kind="stable"), np.bincount(image_N)
    first_I = np.cumsum(size_I) - size_I
    fewest = len(image_N) - size_I.max()
    if not 1 <= count <= fewest:
        raise ValueError(
            f"mismatched is {count}; it should be 1 to {fewest}, the captions of other images that every image has"
        )
    drawn_NM = np.empty((len(image_N), count), dtype=np.int64)
    for row, image in zip(drawn_NM, image_N, strict=True):
        row[:] = generator.choice(len(image_N) - size_I[image], count, replace=False, shuffle=False)
    drawn_NM += size_I[image_N, None] * (drawn_NM >= first_I[image_N, None])
    return order_N[drawn_NM]


def contrastive_accuracy(images_NF: Tensor, captions_NF: Tensor, *, batch_size: int = 256, seed: int = 0) -> Estimate:
    """Share of images whose best caption in a batch is their own, and of captions likewise, their mean; 0 to 1.

    The accuracy of the contrastive losses (XMC-GAN, figure 5). Chance is 1 / batch_size. Two captions of one image in
    a batch count as mismatched, as they do in the losses.

    Args:
        images_NF: of the encoder, an image each.
        captions_NF: of the encoder, the caption that each image was drawn for.
        batch_size: pairs in a batch, on which the value depends. Pairs that do not fill the last one are left out.
        seed: of the order in which pairs are dealt out to batches.

    Returns:
        mean and standard deviation over the batches.

    Raises:
        ValueError: if rows do not pair up or are not finite, or do not fill one batch of at least 2.
    """
    images_NF, captions_NF = unit_pairs(images_NF, captions_NF)
    if not 2 <= batch_size <= len(images_NF):
        raise ValueError(f"batch_size is {batch_size}; it should be 2 to {len(images_NF)}, the number of pairs")
    order_N = torch.from_numpy(np.random.default_rng(seed).permutation(len(images_NF)))
    accuracies = []
    for rows_B in order_N.split(batch_size)[: len(order_N) // batch_size]:
        scores_BB = images_NF[rows_B] @ captions_NF[rows_B].T
        true_B = scores_BB.diagonal()
        accuracies.append(float(torch.cat([shared_hits(true_B, scores_BB), shared_hits(true_B, scores_BB.T)]).mean()))
    return mean_and_deviation(accuracies)


def clip_score(images_NF: Tensor, captions_NF: Tensor, *, weight: float = 2.5) -> float:
    """Mean over the pairs of weight * max(cos(image, caption), 0).

    Hessel et al. 2021, "CLIPScore: A Reference-free Evaluation Metric for Image Captioning", whose weight is 2.5, of
    CLIP ViT-B/32 and captions that begin with "A photo depicts". With weight 100 and captions as they are it is what
    many report under the same name. Both the weight and the encoder are to be named with the value.

    Args:
        images_NF: of the encoder, an image each.
        captions_NF: of the encoder, the caption that each image was drawn for.
        weight: of the cosine.

    Raises:
        ValueError: if rows do not pair up or are not finite, or the weight is not positive.
    """
    if not 0 < weight < float("inf"):
        raise ValueError(f"weight is {weight}; it should be a positive number, such as 2.5 or 100")
    images_NF, captions_NF = unit_pairs(images_NF, captions_NF)
    return weight * float((images_NF * captions_NF).sum(1).clamp_min(0).mean())


def unit_pairs(images_NF: Tensor, captions_NF: Tensor) -> tuple[Tensor, Tensor]:
    """Both as unit rows in float64.

    Raises:
        ValueError: if they do not pair up or are not finite.
    """
    if images_NF.ndim != 2 or images_NF.shape != captions_NF.shape or not len(images_NF):
        shapes = f"{tuple(images_NF.shape)} and {tuple(captions_NF.shape)}"
        raise ValueError(f"images and captions are of shapes {shapes}; both should be (N, F), row n of each a pair")
    if not (images_NF.isfinite().all() and captions_NF.isfinite().all()):
        raise ValueError("images or captions are not finite (NaN or infinite)")
    return unit_rows(images_NF.detach().double()), unit_rows(captions_NF.detach().double())


def shared_hits(true_N: Tensor, scores_NM: Tensor) -> Tensor:
    """1 where the true score is the best of a row, which holds it; 1 / n where n share the best; otherwise 0."""
    beyond_NM = scores_NM - true_N[:, None]
    best_N = (beyond_NM <= TIE).all(1)
    return best_N.double() / (beyond_NM.abs() <= TIE).sum(1)
