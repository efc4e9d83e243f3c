"""Metrics of TISE for captions of several objects: counting and positional alignment, IS*, and the ranking score.

Dinh, Nguyen and Hua 2022, "TISE: Bag of Metrics for Text-to-Image Synthesis Evaluation" (arXiv 2112.01398), and its
public code. O-IS and O-FID are the Inception Score and the Fréchet distance of crops of detected objects; see
evaluation/object_crops.py.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from xmcgan.metrics.estimate import Estimate
from xmcgan.metrics.inception_score import inception_score

SURE = 0.6
"""Least probability of the true caption at which a position counts as right."""

CLIP_SCALE = 100.0
"""CLIP's factor on cosines before the softmax."""

COCO_TEMPERATURE, OBJECT_TEMPERATURE = 0.9091363549232483, 2.1737587451934814
"""Temperatures of TISE's classifiers on COCO: of Inception-v3 (TF) for IS*, and of its 80-class network for O-IS."""


def counting_alignment(wanted: Sequence[Mapping[int, int]], found: Sequence[Mapping[int, int]]) -> Estimate:
    """CA: root mean squared error of the counts of the objects that a caption counts, averaged over captions.

    Args:
        wanted: for each caption, numbers by category; captions without any do not belong here.
        found: for each image, numbers of objects by category; a missing one is 0, others do not matter.

    Returns:
        the mean over images, 0 at best, and its standard error.

    Raises:
        ValueError: if there are no captions, the lengths differ, or a caption counts nothing.
    """
    if len(wanted) != len(found) or not wanted:
        raise ValueError(f"{len(wanted)} captions and {len(found)} images; give an image a caption, at least one")
    if not all(wanted):
        raise ValueError("a caption counts no object; leave it out")
    errors = [
        math.sqrt(sum((counts.get(name, 0) - number) ** 2 for name, number in numbers.items()) / len(numbers))
        for numbers, counts in zip(wanted, found, strict=True)
    ]
    return mean_with_error(errors)


def positional_alignment(
    images_NF: Tensor,
    captions_NF: Tensor,
    false_captions_NF: Tensor,
    words: Sequence[str],
    *,
    scale: float = CLIP_SCALE,
    sure: float = SURE,
) -> Estimate:
    """PA: share of images that match their caption better than the same with the opposite position, averaged over the
    words of position.

    An image counts if the softmax of the two scaled cosines gives its caption a probability above ``sure``.

    Args:
        images_NF, captions_NF, false_captions_NF: embeddings of a dual encoder; rows need not be normalised.
        words: the word of position in each caption, such as "left" or "behind".

    Returns:
        the mean over words, between 0 and 1, and its standard error.

    Raises:
        ValueError: if shapes differ or there are no rows.
    """
    shapes = {tuple(each.shape) for each in (images_NF, captions_NF, false_captions_NF)}
    if len(shapes) != 1 or not words or len(words) != len(images_NF):
        raise ValueError(f"embeddings have shapes {shapes} and there are {len(words)} words; all should be N rows")
    images, true, false = (F.normalize(each.double(), dim=1) for each in (images_NF, captions_NF, false_captions_NF))
    chance_N = torch.sigmoid(scale * ((images * true).sum(1) - (images * false).sum(1)))
    right: dict[str, list[bool]] = {}
    for word, chance in zip(words, chance_N.tolist(), strict=True):
        right.setdefault(word, []).append(chance > sure)
    shares = [(sum(each) / len(each), len(each)) for each in right.values()]
    variance = sum(share * (1 - share) / count for share, count in shares) / len(shares) ** 2
    return Estimate(sum(share for share, _ in shares) / len(shares), math.sqrt(variance))


def calibrated_inception_score(
    logits_NC: Tensor, *, temperature: float, splits: int = 10, seed: int | None = 0
) -> Estimate:
    """IS*: the Inception Score of logits divided by a temperature that calibrates the classifier's confidence.

    Raises:
        ValueError: if the temperature is not above 0, or as :func:`inception_score`.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature is {temperature}; it should be above 0")
    return inception_score(logits_NC.double() / temperature, splits=splits, seed=seed)


def calibrating_temperature(logits_NC: Tensor, classes_N: Tensor) -> float:
    """The temperature at which a classifier's negative log-likelihood of labelled images is least (Guo et al. 2017,
    "On Calibration of Modern Neural Networks").

    Found by golden section on the log of the temperature, between 0.01 and 100: the loss has one minimum, since it is
    convex in the inverse temperature.

    Raises:
        ValueError: if shapes differ, or the least loss is at an end of that range.
    """
    if logits_NC.ndim != 2 or classes_N.shape != logits_NC.shape[:1]:
        raise ValueError(f"logits have shape {tuple(logits_NC.shape)}, classes {tuple(classes_N.shape)}; both need N")

    def loss(log_temperature: float) -> float:
        return float(F.cross_entropy(logits_NC.double() / math.exp(log_temperature), classes_N))

    low, high, ratio = math.log(0.01), math.log(100.0), (math.sqrt(5) - 1) / 2
    ends = loss(low), loss(high)
    while high - low > 1e-7:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    best = (low + high) / 2
    if min(ends) <= loss(best):
        raise ValueError("no temperature from 0.01 to 100 calibrates these logits: they are always right, or by chance")
    return math.exp(best)


RANKED = ("IS*", "FID", "RP", "SOA-C", "SOA-I", "O-IS", "O-FID", "CA", "PA")
"""Metrics of the ranking score, by TISE's names."""

LOWER_IS_BETTER = ("FID", "O-FID", "CA")

ASPECTS = (("IS*", "FID"), ("RP",), ("SOA-C", "SOA-I"), ("O-IS", "O-FID"), ("CA",), ("PA",))
"""Image realism, text relevance, object accuracy, object fidelity, counting, position."""


def ranking_score(systems: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """TISE's ranking score: the ranks of a system in each aspect, summed; the higher the better.

    The worst of N systems has rank 1 in a metric and the best rank N; ranks of one aspect are averaged. Equal values
    share their mean rank, where TISE's code ranks them by chance. Scores depend on which systems are compared.

    Args:
        systems: values of the metrics in RANKED, by system.

    Raises:
        ValueError: naming a system and the metric that it lacks.
    """
    for system, values in systems.items():
        for metric in RANKED:
            if metric not in values or not math.isfinite(values[metric]):
                raise ValueError(f"{system} has no {metric}; a ranking score needs {', '.join(RANKED)}")
    ranks: dict[str, dict[str, float]] = {system: {} for system in systems}
    for metric in RANKED:
        sign = -1 if metric in LOWER_IS_BETTER else 1
        values = {system: sign * values[metric] for system, values in systems.items()}
        for system, value in values.items():
            below = sum(other < value for other in values.values())
            equal = sum(other == value for other in values.values())
            ranks[system][metric] = below + (equal + 1) / 2
    return {
        system: sum(float(np.mean([own[metric] for metric in aspect])) for aspect in ASPECTS)
        for system, own in ranks.items()
    }


def mean_with_error(values: Sequence[float]) -> Estimate:
    """Mean and its standard error; the error of a single value is 0."""
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return Estimate(float(np.mean(values)), error)
