"""Names of all metrics, the networks that each needs, and whether higher or lower is better."""

from xmcgan.config import suggestion
from xmcgan.metrics.exact_questions import TASKS

DISTRIBUTION = ("fid", "kid", "precision", "recall", "density", "coverage", "fid-infinity", "fd-dinov2", "o-fid")
"""Metrics that compare with real images."""

TRAINING = ("authenticity", "ct-score")
"""Metrics that compare with the images that the system was trained on."""

CLASSIFIER = ("is", "is-star", "o-is")

RETRIEVAL = ("r-precision", "contrastive-accuracy", "clip-score")

POSITIONS = ("positional-alignment",)

OBJECTS = ("soa-c", "soa-i")

EXACT = ("exact", *(f"exact-{task}" for task in TASKS))
"""Exact questions about objects: their mean over tasks, and each task."""

CROPS = ("o-is", "o-fid")
"""Metrics on crops of the detected objects."""

DETECTIONS = (*EXACT, "counting-alignment", *CROPS)
"""Metrics that need boxes, not only the set of categories in an image."""

DIVERSITY = ("diversity",)
"""Metrics on several images of each caption."""

METRICS = (
    *DISTRIBUTION,
    "is",
    "is-star",
    "o-is",
    *TRAINING,
    *DIVERSITY,
    *RETRIEVAL,
    *POSITIONS,
    *OBJECTS,
    *EXACT,
    "counting-alignment",
)
"""All metrics, by their names in results."""

LOWER_IS_BETTER = ("fid", "kid", "fid-infinity", "fd-dinov2", "o-fid", "counting-alignment")

STANDARD_ERRORS = (*EXACT, "counting-alignment", *POSITIONS, "authenticity", *DIVERSITY, "fid-infinity")
"""Metrics whose uncertainty is the standard error of their value, not a deviation over parts of the images."""

GROUPS = {
    "soa": OBJECTS,
    "prdc": ("precision", "recall", "density", "coverage"),
    "questions": EXACT,
    "memorization": TRAINING,
    "tise": ("is-star", "o-is", "o-fid", "counting-alignment", "positional-alignment"),
}
"""Short names for several metrics."""

METRICS_OF = {
    "extractor": (
        *(name for name in DISTRIBUTION if name != "fd-dinov2"),
        *CLASSIFIER,
        *TRAINING,
        *DIVERSITY,
    ),
    "encoder": (*RETRIEVAL, *POSITIONS),
    "detector": OBJECTS,
    "boxes": DETECTIONS,
    "second": ("fd-dinov2",),
}
"""The metrics that need each network; if a metric needs two, its value is named after the first."""


def metric_names(text: str) -> list[str]:
    """Parse a comma-separated list such as ``fid,is,soa``; duplicates are dropped.

    Raises:
        ValueError: on an unknown name.
    """
    names = [name for each in text.split(",") for name in GROUPS.get(each.strip(), (each.strip(),))]
    for name in names:
        if name not in METRICS:
            raise ValueError(f"unknown metric {name!r}{suggestion(name, [*METRICS, *GROUPS])}")
    return list(dict.fromkeys(names))
