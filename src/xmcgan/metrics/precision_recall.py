"""Precision, recall, density and coverage: are generated images realistic, and do they cover the real ones?

torch-fidelity has only two of the four. One pass over three distance matrices gives all of them here.
"""

from typing import NamedTuple

import torch
from torch import Tensor

ROUNDING = 1e-9
"""Relative tolerance of squared distances, so that a point on the surface of a ball counts as inside."""


class PrecisionRecall(NamedTuple):
    """How two sets of features cover each other. All but density are fractions between 0 and 1."""

    precision: float  # generated features inside at least one real ball
    recall: float  # real features inside at least one generated ball
    density: float  # mean number of real balls around a generated feature, over k; about 1 for equal distributions
    coverage: float  # real features whose ball holds a generated feature


def precision_recall_density_coverage(
    real_NF: Tensor, generated_MF: Tensor, *, neighbours: int = 3, density_neighbours: int = 5, chunk: int = 1024
) -> PrecisionRecall:
    """Overlap of two sets of features, each modelled as a union of balls that reach to the k-th nearest neighbour.

    Precision and recall: Kynkäänniemi et al. 2019, "Improved Precision and Recall Metric for Assessing Generative
    Models". Density and coverage: Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics for Generative Models".
    Distances are Euclidean, in float64; balls are closed. All four metrics depend on the sizes of the sets.

    Args:
        real_NF: features of real images.
        generated_MF: features of generated images, from the same network.
        neighbours: k of precision and recall, 3 in the paper.
        density_neighbours: k of density and coverage, 5 in the paper.
        chunk: rows of a distance matrix in memory at a time, of N columns. It does not change the result.

    Raises:
        ValueError: if the features differ in width, are not finite, or a set is too small for k neighbours.
    """
    if real_NF.ndim != 2 or generated_MF.ndim != 2 or real_NF.shape[1] != generated_MF.shape[1]:
        shapes = f"{tuple(real_NF.shape)} and {tuple(generated_MF.shape)}"
        raise ValueError(f"features have shapes {shapes}; both should be (N, F)")
    if not (real_NF.isfinite().all() and generated_MF.isfinite().all()):
        raise ValueError("features contain NaN or infinity")
    for name, k, available in (
        ("neighbours", neighbours, min(len(real_NF), len(generated_MF)) - 1),
        ("density_neighbours", density_neighbours, len(real_NF) - 1),
    ):
        if not 1 <= k <= available:
            raise ValueError(f"{name} is {k}; it should be 1 to {available}: a feature is not its own neighbour")
    mean_F = real_NF.mean(0, dtype=torch.float64)  # centring keeps distances but loses fewer digits
    real_NF, generated_MF = real_NF.detach() - mean_F, generated_MF.detach() - mean_F
    real_radius_N2 = squared_radii(real_NF, (neighbours, density_neighbours), chunk)
    generated_radius_M = squared_radii(generated_MF, (neighbours,), chunk)[:, 0]
    precise_M, counts_M = [], []
    recalled_N = torch.zeros(len(real_NF), dtype=torch.bool)
    nearest_N = torch.full_like(real_NF[:, 0], torch.inf)
    for start in range(0, len(generated_MF), chunk):
        rows = slice(start, start + chunk)
        squared_BN = squared_distances(generated_MF[rows], real_NF)
        precise_M.append((squared_BN <= real_radius_N2[:, 0]).any(1))
        counts_M.append((squared_BN <= real_radius_N2[:, 1]).sum(1))
        recalled_N |= (squared_BN <= generated_radius_M[rows, None]).any(0)
        nearest_N = torch.minimum(nearest_N, squared_BN.amin(0))
    return PrecisionRecall(
        precision=float(torch.cat(precise_M).double().mean()),
        recall=float(recalled_N.double().mean()),
        density=float(torch.cat(counts_M).double().mean()) / density_neighbours,
        coverage=float((nearest_N <= real_radius_N2[:, 1]).double().mean()),
    )


def squared_radii(features_NF: Tensor, neighbours: tuple[int, ...], chunk: int) -> Tensor:
    """Squared distance from each feature to its k-th nearest neighbour, for each k: (N, len(neighbours)).

    Enlarged by ``ROUNDING``, so that points on the surface of a ball count as inside.
    """
    radii = []
    for start in range(0, len(features_NF), chunk):
        squared_BN = squared_distances(features_NF[start : start + chunk], features_NF)
        squared_BN.diagonal(start).fill_(torch.inf)
        nearest_BK = squared_BN.topk(max(neighbours), largest=False).values
        radii.append(nearest_BK[:, [k - 1 for k in neighbours]])
    return torch.cat(radii) * (1 + ROUNDING)


def squared_distances(a_NF: Tensor, b_MF: Tensor) -> Tensor:
    """Squared Euclidean distances between the rows of a and b, (N, M); exactly 0 between equal rows."""
    lengths_NM = a_NF.square().sum(1)[:, None] + b_MF.square().sum(1)
    squared_NM = torch.addmm(lengths_NM, a_NF, b_MF.T, alpha=-2)
    return squared_NM.masked_fill_(squared_NM < 1e-3 * ROUNDING * lengths_NM, 0)
