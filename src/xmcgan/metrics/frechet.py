"""Fréchet distance between two sets of features (FID, FD-DINOv2, ...), from streaming statistics.

Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium". This module
knows only features; the caller records the network and how images were resized for it.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

ROWS = 1024
"""Rows converted to float64 at a time, so that all features are never copied at once."""


class FeatureStatistics:
    """Running count, mean and scatter matrix of features, float64; memory is one F x F matrix.

    The scatter is centred on the running mean and corrected when the mean moves (Chan, Golub and LeVeque 1983,
    "Algorithms for Computing the Sample Variance"). Sums of squares about zero would lose as many digits as
    (mean / spread)^2 has; this loses only those of mean / spread. Batch size, order and number of ranks change the
    result only by rounding.

    Args:
        dim: width F of a feature.
    """

    def __init__(self, dim: int):
        if dim < 1:
            raise ValueError(f"dim is {dim}; a feature has at least one dimension")
        self.count = 0
        self.mean_F = torch.zeros(dim, dtype=torch.float64)
        self.scatter_FF = torch.zeros(dim, dim, dtype=torch.float64)  # sum of (x - mean)(x - mean)^T

    @property
    def dim(self) -> int:
        """Width of a feature."""
        return len(self.mean_F)

    @property
    def covariance_FF(self) -> Tensor:
        """The unbiased covariance (divisor count - 1), as in all published FID code.

        Raises:
            ValueError: on fewer than two features.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 features; count is {self.count}")
        return self.scatter_FF / (self.count - 1)

    def update(self, features_NF: Tensor) -> None:
        """Add N features of any floating type.

        Raises:
            ValueError: if their width differs or a value is not finite; nothing is added then.
        """
        if features_NF.ndim != 2 or features_NF.shape[1] != self.dim:
            raise ValueError(f"features have shape {tuple(features_NF.shape)}; it should be (N, {self.dim})")
        if not features_NF.isfinite().all():
            raise ValueError("features contain NaN or infinity; none were added")
        for rows_NF in features_NF.detach().split(ROWS):
            if len(rows_NF):
                rows_NF = rows_NF.to(self.mean_F)
                mean_F = rows_NF.mean(0)
                rows_NF = rows_NF - mean_F
                self.add_moments(len(rows_NF), mean_F, rows_NF.T @ rows_NF)

    def add_moments(self, count: int, mean_F: Tensor, scatter_FF: Tensor) -> None:
        """Add ``count`` features, given their mean and scatter."""
        total = self.count + count
        step_F = mean_F - self.mean_F
        self.scatter_FF += scatter_FF
        self.scatter_FF.addr_(step_F, step_F, alpha=self.count / total * count)
        self.mean_F += step_F * (count / total)
        self.count = total

    def reduce(self, sum_over_ranks: Callable[[Tensor], Tensor]) -> "FeatureStatistics":
        """Statistics of all ranks' features, returned on every rank.

        Each rank moves its scatter to the common mean, where scatters add up.

        Args:
            sum_over_ranks: sums a tensor over the ranks, such as ``runtime.distributed.sum_over_ranks``.
        """
        whole = FeatureStatistics(self.dim)
        whole.count = int(sum_over_ranks(torch.tensor(self.count)))
        if whole.count:
            whole.mean_F = sum_over_ranks(self.mean_F * (self.count / whole.count))
            step_F = self.mean_F - whole.mean_F
            whole.scatter_FF = sum_over_ranks(self.scatter_FF.addr(step_F, step_F, alpha=self.count))
        return whole

    def to_tensors(self) -> dict[str, Tensor]:
        """The state for a safetensors file: ``count``, ``mean_F``, ``scatter_FF``."""
        return {"count": torch.tensor(self.count), "mean_F": self.mean_F, "scatter_FF": self.scatter_FF}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> "FeatureStatistics":
        """Rebuild statistics from ``to_tensors``; other entries are ignored.

        Raises:
            ValueError: naming the entry that is missing or has the wrong shape.
        """
        for name, ndim in (("count", 0), ("mean_F", 1), ("scatter_FF", 2)):
            if name not in tensors or tensors[name].ndim != ndim:
                actual = f"has shape {tuple(tensors[name].shape)}" if name in tensors else "is missing"
                raise ValueError(f"{name} {actual}; feature statistics are count (), mean_F (F) and scatter_FF (F, F)")
        statistics = cls(len(tensors["mean_F"]))
        if tensors["scatter_FF"].shape != statistics.scatter_FF.shape:
            expected = tuple(statistics.scatter_FF.shape)
            raise ValueError(f"scatter_FF has shape {tuple(tensors['scatter_FF'].shape)}; mean_F implies {expected}")
        statistics.count = int(tensors["count"])
        statistics.mean_F.copy_(tensors["mean_F"])
        statistics.scatter_FF.copy_(tensors["scatter_FF"])
        return statistics


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """Squared Fréchet distance between Gaussians with the two sets' means and covariances; at least 0.

        |mean_a - mean_b|^2 + tr A + tr B - 2 tr (A B)^(1/2)

    With A = S^T S and B = T^T T, the last trace is the sum of the singular values of S T^T. S and T have one row per
    rank of A and B, so directions without variance (fewer samples than dimensions) add no rounding noise, whose
    square root would be large. Squared singular values are eigenvalues of the smaller Gram matrix, which is several
    times faster to solve; if that would cost digits of the result, the singular values are computed directly.

    Raises:
        ValueError: if the features differ in width, or a set has fewer than two.
    """
    if a.dim != b.dim:
        raise ValueError(f"features have widths {a.dim} and {b.dim}; both sets must come from the same network")
    trace = float(a.covariance_FF.trace() + b.covariance_FF.trace())
    mean_and_trace = float((a.mean_F - b.mean_F).square().sum()) + trace
    product_KL = pivoted_cholesky(a.covariance_FF.numpy()) @ pivoted_cholesky(b.covariance_FF.numpy()).T
    if not product_KL.size:
        return mean_and_trace
    if len(product_KL) > product_KL.shape[1]:
        product_KL = product_KL.T
    eigenvalues_K = np.linalg.eigvalsh(product_KL @ product_KL.T).clip(0)  # torch's is slow with some BLAS
    distance = mean_and_trace - 2 * float(np.sqrt(eigenvalues_K).sum())
    if 2 * root_sum_error(eigenvalues_K) > max(1e-7 * distance, 1e-10 * trace):
        distance = mean_and_trace - 2 * float(np.linalg.svd(product_KL, compute_uv=False).sum())
    return max(distance, 0.0)


def root_sum_error(eigenvalues_K: np.ndarray) -> float:
    """Estimate the error of the sum of square roots of computed eigenvalues.

    All eigenvalues have about the same error, eps times the largest. Small ones have no correct digits, and their roots
    are biased upwards, so their errors add up; the errors of the other roots have random signs.
    """
    error = np.finfo(float).eps * eigenvalues_K.max()
    root_error_K = np.sqrt(eigenvalues_K + error) - np.sqrt(eigenvalues_K)
    biased_K = eigenvalues_K < 100 * error
    return float(root_error_K[biased_K].sum() + np.linalg.norm(root_error_K[~biased_K]))


BLOCK = 64
"""Rows of the factor computed between two updates of the remaining matrix, each a single matrix product."""


def pivoted_cholesky(covariance_FF: np.ndarray) -> np.ndarray:
    """S of shape (rank, F) with S^T S = covariance: Cholesky with diagonal pivoting.

    The matrix is first scaled to correlations, so that dimensions of small variance are not mistaken for noise. The
    factorisation stops where only rounding is left, at F eps, as LAPACK's pstrf does.
    """
    dim = len(covariance_FF)
    scale_F = np.sqrt(covariance_FF.diagonal())
    scale_F = np.where(scale_F > 0, scale_F, 1)
    rest = covariance_FF / scale_F / scale_F[:, None]
    left, variance = np.arange(dim), rest.diagonal().copy()  # the dimensions of rest, and its diagonal
    factor_KF, rank = np.zeros((dim, dim)), 0
    while len(left):
        block, pivots = np.zeros((min(BLOCK, len(left)), len(left))), []
        for k in range(len(block)):
            pivot = int(variance.argmax())
            if variance[pivot] <= dim * np.finfo(float).eps:
                break
            block[k] = (rest[pivot] - block[:k, pivot] @ block[:k]) / np.sqrt(variance[pivot])
            block[k, pivots] = 0
            variance -= block[k] ** 2
            variance[pivot] = -np.inf
            pivots.append(pivot)
        factor_KF[rank : rank + len(pivots), left] = block[: len(pivots)]
        rank += len(pivots)
        if len(pivots) < len(block):
            break
        keep = np.delete(np.arange(len(left)), pivots)
        left, variance, block = left[keep], variance[keep], block[:, keep]
        rest = rest[np.ix_(keep, keep)] - block.T @ block
    return factor_KF[:rank] * scale_F
