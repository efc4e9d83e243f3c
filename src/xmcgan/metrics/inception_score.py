"""Inception Score: confident classes for each image, diverse classes over all images."""

from torch import Tensor
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

from xmcgan.metrics.estimate import Estimate


def inception_score(logits_NC: Tensor, *, splits: int = 10, seed: int | None = 0) -> Estimate:
    """exp(mean KL(p(y | x) || p(y))), computed by torch-fidelity in float64.

    Salimans et al. 2016, "Improved Techniques for Training GANs". The score grows with the size of a split: compare
    scores only at the same number of images and splits.

    Args:
        logits_NC: logits of a classifier.
        splits: near-equal parts of the images; each has its own p(y).
        seed: shuffles the images before they are split. None keeps their order, as the paper's code does; use it only
            for images in random order, since splits of sorted images hold fewer classes.

    Returns:
        mean and standard deviation over the splits; the score is between 1 and C.

    Raises:
        ValueError: if there are fewer images than splits, or a logit is not finite.
    """
    if logits_NC.ndim != 2:
        raise ValueError(f"logits have shape {tuple(logits_NC.shape)}; it should be (N, C)")
    if not logits_NC.isfinite().all():
        raise ValueError("logits contain NaN or infinity")
    if not 1 <= splits <= len(logits_NC):
        raise ValueError(f"splits is {splits}; it should be 1 to {len(logits_NC)}, the number of images")
    # torch-fidelity exponentiates and takes the logarithm again: far below -700 exp is 0 in float64.
    log_probability_NC = logits_NC.detach().double().log_softmax(1).clamp_min(-700)
    found = isc_features_to_metric(log_probability_NC, splits, shuffle=seed is not None, rng_seed=seed)
    return Estimate(found[KEY_METRIC_ISC_MEAN], found[KEY_METRIC_ISC_STD])
