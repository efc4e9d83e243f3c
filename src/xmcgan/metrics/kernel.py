"""The kernel distance between two sets of features (KID, KD-DINOv2, ...)."""

from torch import Tensor
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

from xmcgan.metrics.estimate import Estimate


def kernel_distance(
    a_NF: Tensor, b_MF: Tensor, *, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> Estimate:
    """Squared maximum mean discrepancy with the kernel (x . y / F + 1)^3; computed by torch-fidelity, in float64.

    Bińkowski et al. 2018, "Demystifying MMD GANs". The estimator is unbiased, so that sets of one distribution give
    about 0, a little below it as often as above.

    Args:
        a_NF: features of one set.
        b_MF: features of the other, by the same network.
        subsets: times that ``subset_size`` features of each set are drawn, without replacement within a subset.
        subset_size: features of each set in a subset. The value does not depend on it in the mean, the deviation does.
        seed: of the drawing.

    Returns:
        mean and standard deviation over the subsets.

    Raises:
        ValueError: if the features differ in width, are not finite, or a set is smaller than a subset.
    """
    if a_NF.ndim != 2 or b_MF.ndim != 2 or a_NF.shape[1] != b_MF.shape[1]:
        raise ValueError(f"features are of shapes {tuple(a_NF.shape)} and {tuple(b_MF.shape)}; both should be (N, F)")
    if not (a_NF.isfinite().all() and b_MF.isfinite().all()):
        raise ValueError("features are not finite (NaN or infinite)")
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
