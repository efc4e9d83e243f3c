"""The Fréchet distance between two sets of features (FID, FD-DINOv2, ...), from statistics that stream.

Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium". No network, no
image: what the features are of, and how images were resized for them, is for the caller to name.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

ROWS = 1024
"""Rows taken at a time: a float64 copy of all the features is never made."""


class FeatureStatistics:
    """Count, mean and scatter of any number of features, in the memory of one F x F matrix, float64.

    The scatter is kept about the mean of what has been seen and moved when the mean moves (Chan, Golub and LeVeque
    1983, "Algorithms for Computing the Sample Variance"). Sums of squares about zero would lose as many digits as
    (mean / spread)^2 has; this way it is those of mean / spread, and batch size, order and number of ranks change the
    result by rounding alone.

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
        """The unbiased covariance (dividing by count - 1), as every published FID takes it.

        Raises:
            ValueError: with fewer than two features there is none.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 features; there is {self.count}")
        return self.scatter_FF / (self.count - 1)

    def update(self, features_NF: Tensor) -> None:
        """Takes N more features, of any floating type.

        Raises:
            ValueError: if they are of another width, or not finite.
        """
        if features_NF.ndim != 2 or features_NF.shape[1] != self.dim:
            raise ValueError(f"features are of shape {tuple(features_NF.shape)}; it should be (N, {self.dim})")
        if not features_NF.isfinite().all():
            raise ValueError("features are not finite (NaN or infinite); none of them has been taken")
        for rows_NF in features_NF.detach().split(ROWS):
            if len(rows_NF):
                rows_NF = rows_NF.to(self.mean_F)
                mean_F = rows_NF.mean(0)
                rows_NF = rows_NF - mean_F
                self.take(len(rows_NF), mean_F, rows_NF.T @ rows_NF)

    def take(self, count: int, mean_F: Tensor, scatter_FF: Tensor) -> None:
        """Takes ``count`` features of which mean and scatter are known."""
        total = self.count + count
        step_F = mean_F - self.mean_F
        self.scatter_FF += scatter_FF
        self.scatter_FF.addr_(step_F, step_F, alpha=self.count / total * count)
        self.mean_F += step_F * (count / total)
        self.count = total

    def summed(self, sum_over_ranks: Callable[[Tensor], Tensor]) -> "FeatureStatistics":
        """The statistics of all ranks' features, on every rank.

        Each rank moves its scatter to the common mean; scatters about one mean add up.

        Args:
            sum_over_ranks: a tensor summed over the ranks, such as ``xmcgan.distributed.sum_over_ranks``.
        """
        whole = FeatureStatistics(self.dim)
        whole.count = int(sum_over_ranks(torch.tensor(self.count)))
        if whole.count:
            whole.mean_F = sum_over_ranks(self.mean_F * (self.count / whole.count))
            step_F = self.mean_F - whole.mean_F
            whole.scatter_FF = sum_over_ranks(self.scatter_FF.addr(step_F, step_F, alpha=self.count))
        return whole

    def to_tensors(self) -> dict[str, Tensor]:
        """All that is known, for a safetensors file: ``count``, ``mean_F``, ``scatter_FF``."""
        return {"count": torch.tensor(self.count), "mean_F": self.mean_F, "scatter_FF": self.scatter_FF}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> "FeatureStatistics":
        """What ``to_tensors`` gave; it may be added to. Other entries are left alone.

        Raises:
            ValueError: naming the entry that is absent or of a shape that does not fit.
        """
        for name, ndim in (("count", 0), ("mean_F", 1), ("scatter_FF", 2)):
            if name not in tensors or tensors[name].ndim != ndim:
                actual = f"of shape {tuple(tensors[name].shape)}" if name in tensors else "absent"
                raise ValueError(f"{name} is {actual}; feature statistics are count, mean_F (F) and scatter_FF (F, F)")
        statistics = cls(len(tensors["mean_F"]))
        if tensors["scatter_FF"].shape != statistics.scatter_FF.shape:
            raise ValueError(f"scatter_FF is {tuple(tensors['scatter_FF'].shape)}, mean_F {statistics.dim} wide")
        statistics.count = int(tensors["count"])
        statistics.mean_F.copy_(tensors["mean_F"])
        statistics.scatter_FF.copy_(tensors["scatter_FF"])
        return statistics


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """Squared Fréchet distance of the normal distributions with two sets' means and covariances; at least 0.

        |mean_a - mean_b|^2 + tr A + tr B - 2 tr (A B)^(1/2)

    With A = S^T S and B = T^T T the last trace is the sum of the singular values of S T^T. S and T have as many
    rows as A and B have ranks, so that directions in which a set does not vary, as with fewer samples than
    dimensions, bring in no rounding noise, whose square root would not be small. The singular values' squares, as
    eigenvalues of the smaller Gram matrix, are had several times faster; where that would cost digits of the result,
    the singular values themselves are taken.

    Raises:
        ValueError: if the features differ in width, or a set has fewer than two.
    """
    if a.dim != b.dim:
        raise ValueError(f"features are {a.dim} and {b.dim} wide; they must be of the same network")
    trace = float(a.covariance_FF.trace() + b.covariance_FF.trace())
    apart = float((a.mean_F - b.mean_F).square().sum()) + trace
    shared_KL = factor(a.covariance_FF.numpy()) @ factor(b.covariance_FF.numpy()).T
    if not shared_KL.size:
        return apart
    if len(shared_KL) > shared_KL.shape[1]:
        shared_KL = shared_KL.T
    squares_K = np.linalg.eigvalsh(shared_KL @ shared_KL.T).clip(0)  # numpy's: torch's is slow with some BLAS
    distance = apart - 2 * float(np.sqrt(squares_K).sum())
    if 2 * doubt_of_roots(squares_K) > max(1e-7 * distance, 1e-10 * trace):
        distance = apart - 2 * float(np.linalg.svd(shared_KL, compute_uv=False).sum())
    return max(distance, 0.0)


def doubt_of_roots(squares_K: np.ndarray) -> float:
    """How wrong the sum of the roots of computed eigenvalues may be.

    All eigenvalues have about the same error, eps times the largest. So a small one has lost its digits, and its root
    is too large rather than too small; the errors of the others' roots are of either sign.
    """
    error = np.finfo(float).eps * squares_K.max()
    doubt_K = np.sqrt(squares_K + error) - np.sqrt(squares_K)
    lost_K = squares_K < 100 * error
    return float(doubt_K[lost_K].sum() + np.linalg.norm(doubt_K[~lost_K]))


BLOCK = 64
"""Rows of a factor after which the rest of the matrix is brought up to date, all of it by one matrix product."""


def factor(covariance_FF: np.ndarray) -> np.ndarray:
    """S of shape (rank, F) with S^T S = covariance: Cholesky's, the largest remaining diagonal entry first.

    The matrix is first scaled to correlations, so that a dimension of small variance is not taken for noise. The end
    is where only rounding is left, at F eps, as in LAPACK's pstrf; so many rows there are.
    """
    dim = len(covariance_FF)
    scale_F = np.sqrt(covariance_FF.diagonal())
    scale_F = np.where(scale_F > 0, scale_F, 1)
    rest = covariance_FF / scale_F / scale_F[:, None]
    left, variance = np.arange(dim), rest.diagonal().copy()  # the dimensions that rest is of, and its diagonal
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
