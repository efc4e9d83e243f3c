"""Precision, recall, density and coverage: do generated images look real, and do they show all that is real?

torch-fidelity has two of the four; here all come from one pass over the distances, three matrices in place of six.
"""

from typing import NamedTuple

import torch
from torch import Tensor

ROUNDING = 1e-9
"""Squared distances that differ by less, relatively, are equal: what lies at the edge of a ball is within it."""


class PrecisionRecall(NamedTuple):
    """How two sets of features cover each other. All but density are shares in 0 to 1."""

    precision: float  # generated ones within a real one's reach
    recall: float  # real ones within a generated one's reach
    density: float  # real ones within whose reach a generated one is, over their k: about 1 for one distribution
    coverage: float  # real ones that have a generated one within their reach


def precision_recall_density_coverage(
    real_NF: Tensor, generated_MF: Tensor, *, neighbours: int = 3, density_neighbours: int = 5, chunk: int = 1024
) -> PrecisionRecall:
    """Overlap of two sets of features, each a union of balls: a feature reaches as far as its k-th nearest neighbour.

    Precision and recall: Kynkäänniemi et al. 2019, "Improved Precision and Recall Metric for Assessing Generative
    Models". Density and coverage: Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics for Generative Models".
    Distances are Euclidean, in float64; a ball is closed. All four depend on the sizes of the sets.

    Args:
        real_NF: features of real images.
        generated_MF: features of generated images, by the same network.
        neighbours: k of precision and recall, 3 in the paper.
        density_neighbours: k of density and coverage, 5 in the paper.
        chunk: rows of a distance matrix held at a time. The result does not depend on it; memory grows as chunk x N.

    Raises:
        ValueError: if the features differ in width or are not finite, or a set has no k neighbours.
    """
    if real_NF.ndim != 2 or generated_MF.ndim != 2 or real_NF.shape[1] != generated_MF.shape[1]:
        shapes = f"{tuple(real_NF.shape)} and {tuple(generated_MF.shape)}"
        raise ValueError(f"features are of shapes {shapes}; both should be (N, F)")
    if not (real_NF.isfinite().all() and generated_MF.isfinite().all()):
        raise ValueError("features are not finite (NaN or infinite)")
    for name, k, available in (
        ("neighbours", neighbours, min(len(real_NF), len(generated_MF)) - 1),
        ("density_neighbours", density_neighbours, len(real_NF) - 1),
    ):
        if not 1 <= k <= available:
            raise ValueError(f"{name} is {k}; it should be 1 to {available}, as a feature is not its own neighbour")
    mean_F = real_NF.mean(0, dtype=torch.float64)  # distances stay, and lose fewer digits
    real_NF, generated_MF = real_NF.detach() - mean_F, generated_MF.detach() - mean_F
    real_reach_N2 = reach(real_NF, (neighbours, density_neighbours), chunk)
    generated_reach_M = reach(generated_MF, (neighbours,), chunk)[:, 0]
    precise_M, counts_M = [], []
    recalled_N = torch.zeros(len(real_NF), dtype=torch.bool)
    nearest_N = torch.full_like(real_NF[:, 0], torch.inf)
    for start in range(0, len(generated_MF), chunk):
        rows = slice(start, start + chunk)
        squared_BN = squared_distances(generated_MF[rows], real_NF)
        precise_M.append((squared_BN <= real_reach_N2[:, 0]).any(1))
        counts_M.append((squared_BN <= real_reach_N2[:, 1]).sum(1))
        recalled_N |= (squared_BN <= generated_reach_M[rows, None]).any(0)
        nearest_N = torch.minimum(nearest_N, squared_BN.amin(0))
    return PrecisionRecall(
        precision=float(torch.cat(precise_M).double().mean()),
        recall=float(recalled_N.double().mean()),
        density=float(torch.cat(counts_M).double().mean()) / density_neighbours,
        coverage=float((nearest_N <= real_reach_N2[:, 1]).double().mean()),
    )


def reach(features_NF: Tensor, neighbours: tuple[int, ...], chunk: int) -> Tensor:
    """Squared distance of each feature to its k-th nearest other one, for each k: (N, len(neighbours)).

    It is larger by the rounding of distances, so that what lies at the very edge is always within.
    """
    found = []
    for start in range(0, len(features_NF), chunk):
        squared_BN = squared_distances(features_NF[start : start + chunk], features_NF)
        squared_BN.diagonal(start).fill_(torch.inf)
        nearest_BK = squared_BN.topk(max(neighbours), largest=False).values
        found.append(nearest_BK[:, [k - 1 for k in neighbours]])
    return torch.cat(found) * (1 + ROUNDING)


def squared_distances(a_NF: Tensor, b_MF: Tensor) -> Tensor:
    """Squared Euclidean distance of every row of a and every row of b (N, M); exactly 0 between copies."""
    lengths_NM = a_NF.square().sum(1)[:, None] + b_MF.square().sum(1)
    squared_NM = torch.addmm(lengths_NM, a_NF, b_MF.T, alpha=-2)
    return squared_NM.masked_fill_(squared_NM < 1e-3 * ROUNDING * lengths_NM, 0)
