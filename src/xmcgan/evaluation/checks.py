"""What a metric needs, checked before images are generated: an evaluation should not fail after hours."""

from collections import Counter
from collections.abc import Sequence

import torch

from xmcgan.evaluation.chosen_networks import EvaluationNetworks
from xmcgan.evaluation.evaluate import CONTRASTIVE_BATCH, FOLDS, MISMATCHED, SPLITS
from xmcgan.evaluation.image_set import Request
from xmcgan.evaluation.inputs import DENSITY_NEIGHBOURS, NEIGHBOURS
from xmcgan.evaluation.metric_names import DISTRIBUTION, OBJECTS
from xmcgan.evaluation.soa_rules import classes_in

FEWEST_REAL = {
    "fid": 2,
    "fid-infinity": 2,
    "fd-dinov2": 2,
    "o-fid": 2,
    "kid": 2,
    "precision": NEIGHBOURS + 1,
    "recall": NEIGHBOURS + 1,
    "density": DENSITY_NEIGHBOURS + 1,
    "coverage": DENSITY_NEIGHBOURS + 1,
}
"""The fewest real images that each metric needs to compare with."""

FEWEST = {
    **FEWEST_REAL,
    "density": NEIGHBOURS + 1,
    "coverage": NEIGHBOURS + 1,
    "fid-infinity": 4,
    "is": SPLITS,
    "is-star": SPLITS,
    "r-precision": FOLDS,
    "contrastive-accuracy": CONTRASTIVE_BATCH,
}
"""The fewest evaluated images that each metric needs."""


def check_metrics(
    metrics: Sequence[str], requests: Sequence[Request], references: int, networks: EvaluationNetworks
) -> None:
    """Refuses a metric that has too few images or captions, or whose network lacks an output that it needs.

    Args:
        requests: the captions of the images.
        references: number of real images.

    Raises:
        ValueError: naming the metric, what was given, and what would be right.
    """
    for metric in metrics:
        least, count = FEWEST.get(metric, 1), len(requests)
        if count < least:
            raise ValueError(
                f"{metric} needs at least {least} images, but there are {count}; give a higher count, or leave it out"
            )
        if metric in DISTRIBUTION and references < FEWEST_REAL.get(metric, 1):
            raise ValueError(
                f"{metric} needs at least {FEWEST_REAL[metric]} real images, but the reference split has {references}"
            )
    if "r-precision" in metrics:
        check_mismatched(requests)
    if "is" in metrics and networks.extractor is not None:
        small = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
        if networks.extractor(small).logits_BC is None:
            raise ValueError(
                f"is: the extractor gives no logits; it should be a classifier such as inception-v3-tf, but it is "
                f"{networks.extractor.name}. Give another, or leave it out"
            )
    if any(metric in OBJECTS for metric in metrics) and networks.detector is not None:
        detectable = networks.detector.detectable
        if not any(request.category is not None or classes_in(request.caption) & detectable for request in requests):
            raise ValueError("soa: no caption names a category that the detector knows; leave it out")


def check_mismatched(requests: Sequence[Request]) -> None:
    """Refuses captions that come from too few images for R-precision.

    Raises:
        ValueError: with the smallest number of captions of other images that an image has.
    """
    most = max(Counter(request.image_id for request in requests).values())
    if len(requests) - most < MISMATCHED:
        raise ValueError(
            f"r-precision compares each image with {MISMATCHED} captions of other images, but some have "
            f"{len(requests) - most}; give a count of at least {MISMATCHED + most}, or leave it out"
        )
