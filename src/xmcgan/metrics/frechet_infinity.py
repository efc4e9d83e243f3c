"""The Fréchet distance extrapolated to infinitely many images, which removes its bias of small samples."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from xmcgan.metrics.estimate import Estimate
from xmcgan.metrics.frechet import FeatureStatistics, frechet_distance

POINTS, LEAST_SHARE = 15, 0.1


def frechet_distance_infinity(
    generated_NF: Tensor, reference: FeatureStatistics, *, points: int = POINTS, least: int | None = None, seed: int = 0
) -> Estimate:
    """FD-infinity: where the line through (1 / images, distance) meets 1 / images = 0.

    Chong and Forsyth 2020, "Effectively Unbiased FID and Inception Score and where to find them" (arXiv 1911.07023).
    The distances of ``points`` random subsets are fitted by least squares; the largest subset is all images. As in the
    authors' code, only the generated set varies: the reference's own bias remains.

    Args:
        generated_NF: features of generated images.
        reference: statistics of the real images' features.
        points: subsets, at least 3.
        least: size of the smallest; by default a tenth of the images, and at least 2.

    Returns:
        the intercept and its standard error from the fit.

    Raises:
        ValueError: if there are too few images or points.
    """
    count = len(generated_NF)
    smallest = max(2, int(LEAST_SHARE * count)) if least is None else least
    if points < 3 or not 2 <= smallest < count:
        raise ValueError(
            f"points is {points} and least {smallest} of {count} images; there should be at least 3 points, and fewer "
            "images in the smallest"
        )
    generator = np.random.default_rng(seed)
    sizes = np.unique(np.linspace(smallest, count, points).round().astype(int))
    distances = []
    for size in sizes:
        chosen = generator.permutation(count)[:size]
        statistics = FeatureStatistics(generated_NF.shape[1])
        statistics.update(generated_NF[chosen])
        distances.append(frechet_distance(statistics, reference))
    return intercept(1 / sizes, distances)


def intercept(x: Sequence[float] | np.ndarray, y: Sequence[float]) -> Estimate:
    """Where the least-squares line through points meets x = 0, and the standard error of that value."""
    x, y_ = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    design = np.stack([np.ones_like(x), x], 1)
    coefficients, *_ = np.linalg.lstsq(design, y_, rcond=None)
    freedom = len(x) - 2
    residual = float(((y_ - design @ coefficients) ** 2).sum()) / freedom if freedom > 0 else 0.0
    error = float(np.sqrt(residual * np.linalg.inv(design.T @ design)[0, 0]))
    return Estimate(float(coefficients[0]), error)
