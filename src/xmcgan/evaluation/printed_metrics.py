"""How metrics are printed in tables: name, direction, digits."""

from typing import NamedTuple


class Metric(NamedTuple):
    """How a metric is printed."""

    name: str
    better: str  # higher, lower, or empty if unknown
    digits: int
    share: bool = False  # a fraction between 0 and 1 in results, printed in per cent as in the paper


METRICS = {
    "is": Metric("IS", "higher", 2),
    "fid": Metric("FID", "lower", 2),
    "r-precision": Metric("R-precision", "higher", 2, share=True),
    "soa-c": Metric("SOA-C", "higher", 2, share=True),
    "soa-i": Metric("SOA-I", "higher", 2, share=True),
    "contrastive-accuracy": Metric("Contrastive accuracy", "higher", 2, share=True),
    "clip-score": Metric("CLIPScore", "higher", 3),
    "kid": Metric("KID", "lower", 4),
    "precision": Metric("Precision", "higher", 3),
    "recall": Metric("Recall", "higher", 3),
    "density": Metric("Density", "higher", 3),
    "coverage": Metric("Coverage", "higher", 3),
    "fid-infinity": Metric("FD-infinity", "lower", 2),
    "fd-dinov2": Metric("FD (DINOv2)", "lower", 2),
    "exact": Metric("Exact questions", "higher", 1, share=True),
    "exact-single-object": Metric("One object", "higher", 1, share=True),
    "exact-two-objects": Metric("Two objects", "higher", 1, share=True),
    "exact-counting": Metric("Counting", "higher", 1, share=True),
    "exact-colour": Metric("Colour", "higher", 1, share=True),
    "exact-position": Metric("Position", "higher", 1, share=True),
    "exact-colour-attribution": Metric("Colour attribution", "higher", 1, share=True),
    "is-star": Metric("IS*", "higher", 2),
    "o-is": Metric("O-IS", "higher", 2),
    "o-fid": Metric("O-FID", "lower", 2),
    "counting-alignment": Metric("CA", "lower", 2),
    "positional-alignment": Metric("PA", "higher", 2, share=True),
    "authenticity": Metric("Authenticity", "higher", 2, share=True),
    "ct-score": Metric("C_T", "", 2),
    "diversity": Metric("Diversity", "higher", 4),
    "human-realism": Metric("Ranked best, realism", "higher", 1, share=True),
    "human-alignment": Metric("Ranked best, alignment", "higher", 1, share=True),
}
"""Known metrics in column order; other metrics follow under their own names."""


def metric_of(name: str) -> Metric:
    """How a metric is printed."""
    return METRICS.get(name, Metric(name, "", 4))


def printed(value: float, metric: Metric) -> str:
    """Format a value for a table."""
    return f"{100 * value if metric.share else value:.{metric.digits}f}"
