"""Kernel distance between two sets of features (KID, KD-DINOv2, ...)."""

from torch import Tensor
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

from xmcgan.metrics.estimate import Estimate


def kernel_distance(
    a_NF: Tensor, b_MF: Tensor, *, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> Estimate:
    """Squared maximum mean discrepancy with kernel (x . y / F + 1)^3, computed by torch-fidelity in float64.

    Bińkowski et al. 2018, "Demystifying MMD GANs". The estimator is unbiased: two samples of one distribution give
    values around 0, negative ones included.

    Args:
        a_NF: features of one set.
        b_MF: features of the other set, from the same network.
        subsets: random subsets to draw.
        subset_size: features drawn from each set for a subset, without replacement. It changes the deviation but not
            the expected value.
        seed: of the random subsets.

    Returns:
        mean and standard deviation over the subsets.

    Raises:
        ValueError: if the features differ in width, are not finite, or a set is smaller than a subset.
    """
    if a_NF.ndim != 2 or b_MF.ndim != 2 or a_NF.shape[1] != b_MF.shape[1]:
        raise ValueError(f"features have shapes {tuple(a_NF.shape)} and {tuple(b_MF.shape)}; both should be (N, F)")
    if not (a_NF.isfinite().all() and b_MF.isfinite().all()):
        raise ValueError("features contain NaN or infinity")
    smaller = min(len(a_NF), len(b_MF))
    if not 2 <= subset_size <= smaller:
        raise ValueError(f"subset_size is {subset_size}; it should be 2 to {smaller}, the size of the smaller set")
    if subsets < 1:
        raise ValueError(f"subsets is {subsets}; it should be at least 1")
    found = kid_features_to_metric(
        a_NF.detach().double(),
        b_MF.detach().double(),
        kid_subsets=subsets,
        kid_subset_size=subset_size,
        kid_kernel="poly",
        kid_kernel_poly_degree=3,
        kid_kernel_poly_gamma=1 / a_NF.shape[1],
        kid_kernel_poly_coef0=1,
        rng_seed=seed,
        verbose=False,
    )
    return Estimate(found[KEY_METRIC_KID_MEAN], found[KEY_METRIC_KID_STD])
