"""Are generated images copies of training images? Nearest training images, authenticity and the C_T test.

All work on features of one network: the same features for training, held-out and generated images.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from xmcgan.metrics.precision_recall import squared_distances

CHUNK = 1024


class Nearest(NamedTuple):
    """For each of M features, the distance to its nearest neighbour among N others, and that one's position."""

    distances_M: Tensor  # float64
    positions_M: Tensor


def nearest_neighbours(features_MF: Tensor, others_NF: Tensor | None = None, *, chunk: int = CHUNK) -> Nearest:
    """Nearest neighbour of every feature, by Euclidean distance in float64; the first of equally near ones.

    Args:
        others_NF: where to look; None looks among the features themselves, without each one's own.
        chunk: rows of the distance matrix in memory at a time. It does not change the result.

    Raises:
        ValueError: if shapes do not fit, a value is not finite, or there is no other feature.
    """
    others = features_MF if others_NF is None else others_NF
    if features_MF.ndim != 2 or others.ndim != 2 or features_MF.shape[1] != others.shape[1]:
        shapes = f"{tuple(features_MF.shape)} and {tuple(others.shape)}"
        raise ValueError(f"features have shapes {shapes}; both should be (N, F)")
    if not (features_MF.isfinite().all() and others.isfinite().all()):
        raise ValueError("features contain NaN or infinity")
    if len(others) < (2 if others_NF is None else 1):
        raise ValueError(f"there are {len(others)} features to look among; there should be at least one other")
    mean_F = others.mean(0, dtype=torch.float64)  # centring keeps distances but loses fewer digits
    features_MF, others = features_MF.detach() - mean_F, others.detach() - mean_F
    squared, positions = [], []
    for start in range(0, len(features_MF), chunk):
        squared_BN = squared_distances(features_MF[start : start + chunk], others)
        if others_NF is None:
            squared_BN.diagonal(start).fill_(torch.inf)
        nearest = squared_BN.min(1)
        squared.append(nearest.values)
        positions.append(nearest.indices)
    return Nearest(torch.cat(squared).clamp(min=0).sqrt(), torch.cat(positions))


def authenticity(training_NF: Tensor, generated_MF: Tensor) -> float:
    """AuthPct: the fraction of generated images that are farther from their nearest training image than that image is
    from its own nearest training image; 0 to 1.

    Alaa et al. 2022, "How Faithful is your Synthetic Data? Sample-level Metrics for Evaluating and Auditing Generative
    Models". A copy of a training image is not authentic. About half of fresh real images are, if training images are
    many.

    Raises:
        ValueError: as :func:`nearest_neighbours`.
    """
    nearest = nearest_neighbours(generated_MF, training_NF)
    own_N = nearest_neighbours(training_NF).distances_M
    return float((nearest.distances_M > own_N[nearest.positions_M]).double().mean())


def data_copying_z(held_out_M: Tensor, generated_K: Tensor) -> float:
    """Z-score of the Mann-Whitney U test that generated images are as far from the training images as held-out ones.

    Far below 0: generated images are closer than fresh real ones, as copies are. Far above 0: they are farther. Ties
    count half; the normal approximation has no correction for them.

    Args:
        held_out_M, generated_K: distances to the nearest training image.

    Raises:
        ValueError: if either is empty.
    """
    held, made = held_out_M.double(), generated_K.double()
    if not len(held) or not len(made):
        raise ValueError(f"there are {len(held)} held-out and {len(made)} generated images; both need at least one")
    ordered = held.sort().values
    below = torch.searchsorted(ordered, made)
    up_to = torch.searchsorted(ordered, made, right=True)
    u = float((below + up_to).double().sum()) / 2  # pairs in which the generated image is farther
    mean, count = len(held) * len(made) / 2, len(held) * len(made)
    return (u - mean) / math.sqrt(count * (len(held) + len(made) + 1) / 12)


class DataCopying(NamedTuple):
    """The C_T statistic and what it is made of."""

    value: float
    cells: int  # that counted
    cells_z: tuple[float, ...]  # of those
    left_out: int  # cells with too few generated or held-out images


def data_copying(
    training_NF: Tensor,
    held_out_MF: Tensor,
    generated_KF: Tensor,
    *,
    cells: int = 3,
    least: int = 20,
    dimensions: int = 64,
    seed: int = 0,
) -> DataCopying:
    """The C_T test of Meehan, Chaudhuri and Dasgupta 2020, "A Non-Parametric Test to Detect Data-Copying in Generative
    Models": the mean over cells of the space of :func:`data_copying_z`, weighted by held-out images.

    As dgm-eval computes it: features are first projected on the ``dimensions`` leading principal components of the
    training features, and cells are clusters of those. Unlike there, cells without held-out images are left out too.

    Args:
        training_NF, held_out_MF: features of real images, of which the first were trained on.
        generated_KF: features of generated images.
        cells: clusters of the training features (k-means++ and Lloyd, of ten starts the best).
        least: generated images that a cell must have more than to count.
        seed: of the clustering.

    Raises:
        ValueError: if shapes do not fit, or no cell has enough images.
    """
    if not 1 <= cells <= len(training_NF):
        raise ValueError(f"cells is {cells}; it should be 1 to {len(training_NF)}, the number of training images")
    widths = {features.shape[-1] for features in (training_NF, held_out_MF, generated_KF)}
    if len(widths) > 1:
        raise ValueError(f"features have widths {', '.join(map(str, sorted(widths)))}; they should be equal")
    project = leading_components(training_NF, dimensions)
    training, held_out, generated = (project(each) for each in (training_NF, held_out_MF, generated_KF))
    centres = cluster(training, cells, seed=seed)
    cell_of_training, cell_of_held, cell_of_made = (
        squared_distances(each, centres).argmin(1) for each in (training, held_out, generated)
    )
    scores, weights = [], []
    for cell in range(cells):
        own, held, made = (
            features[of == cell]
            for features, of in (
                (training, cell_of_training),
                (held_out, cell_of_held),
                (generated, cell_of_made),
            )
        )
        if len(made) <= least or not len(held) or not len(own):
            continue
        scores.append(
            data_copying_z(nearest_neighbours(held, own).distances_M, nearest_neighbours(made, own).distances_M)
        )
        weights.append(len(held))
    if not scores:
        raise ValueError(
            f"no cell has more than {least} generated images and a held-out one; generate more images, or use fewer "
            "cells"
        )
    value = float(np.average(scores, weights=weights))
    return DataCopying(value, len(scores), tuple(scores), cells - len(scores))


def leading_components(features_NF: Tensor, dimensions: int):
    """A projection on the leading principal components of features; the identity if there are no more than that."""
    mean_F = features_NF.double().mean(0)
    if features_NF.shape[1] <= dimensions:
        return lambda features: features.double() - mean_F
    centred = features_NF.double() - mean_F
    axes_FF = torch.linalg.eigh(centred.T @ centred).eigenvectors
    leading_FD = axes_FF[:, -dimensions:]
    return lambda features: (features.double() - mean_F) @ leading_FD


def cluster(points_NF: Tensor, count: int, *, seed: int, starts: int = 10, most_steps: int = 100) -> Tensor:
    """Centres (count, F) of k-means++ clusters (Arthur and Vassilvitskii 2007), of ``starts`` runs the tightest."""
    generator = np.random.default_rng(seed)
    best, best_spread = points_NF[:count], math.inf
    for _ in range(starts):
        centres = points_NF[[int(generator.integers(len(points_NF)))]]
        while len(centres) < count:
            chance = squared_distances(points_NF, centres).amin(1).clamp(min=0).numpy()
            total = chance.sum()
            chance = chance / total if total > 0 else np.full(len(points_NF), 1 / len(points_NF))
            centres = torch.cat([centres, points_NF[[int(generator.choice(len(points_NF), p=chance))]]])
        for _ in range(most_steps):
            squared = squared_distances(points_NF, centres)
            own = squared.argmin(1)
            moved = torch.stack([points_NF[own == k].mean(0) if (own == k).any() else centres[k] for k in range(count)])
            if torch.equal(moved, centres):
                break
            centres = moved
        spread = float(squared_distances(points_NF, centres).amin(1).sum())
        if spread < best_spread:
            best, best_spread = centres, spread
    return best
