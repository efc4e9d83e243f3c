"""The Inception Score: how sure a classifier is of each image, and how much its classes differ between them."""

from torch import Tensor
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

from xmcgan.metrics.estimate import Estimate


def inception_score(logits_NC: Tensor, *, splits: int = 10, seed: int | None = 0) -> Estimate:
    """exp of the mean of KL(p(y | x) || p(y)); computed by torch-fidelity, in float64.

    Salimans et al. 2016, "Improved Techniques for Training GANs". It grows with the size of a split, so that scores
    compare only at the same number of images and splits.

    Args:
        logits_NC: a classifier's, before the softmax.
        splits: parts that the images are divided into, as evenly as can be; each has its own p(y).
        seed: of the order in which images are dealt out to the splits. None keeps the order given, as the paper's
            code does: for images in random order only, as splits of sorted images hold fewer classes.

    Returns:
        mean and standard deviation over the splits; 1 at the least, the number of classes at the most.

    Raises:
        ValueError: if there are fewer images than splits, or logits that are not finite.
    """
    if logits_NC.ndim != 2:
        raise ValueError(f"logits are of shape {tuple(logits_NC.shape)}; it should be (N, C)")
    if not logits_NC.isfinite().all():
        raise ValueError("logits are not finite (NaN or infinite)")
    if not 1 <= splits <= len(logits_NC):
        raise ValueError(f"splits is {splits}; it should be 1 to {len(logits_NC)}, the number of images")
    # Far below -700 a probability is 0 in float64, of which torch-fidelity would take the logarithm.
    log_probability_NC = logits_NC.detach().double().log_softmax(1).clamp_min(-700)
    found = isc_features_to_metric(log_probability_NC, splits, shuffle=seed is not None, rng_seed=seed)
    return Estimate(found[KEY_METRIC_ISC_MEAN], found[KEY_METRIC_ISC_STD])
