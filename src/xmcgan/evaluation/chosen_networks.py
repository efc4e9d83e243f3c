"""The networks that an evaluation uses: the named ones, or defaults for the data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from xmcgan.evaluation.metric_names import DETECTIONS, EXACT, METRICS, METRICS_OF
from xmcgan.evaluation.networks.detections import ObjectDetector
from xmcgan.evaluation.networks.load import load_detector, load_dual_encoder, load_feature_extractor
from xmcgan.evaluation.networks.protocols import Detector, DualEncoder, FeatureExtractor

Value = TypeVar("Value")

ROLES = tuple(METRICS_OF)


@dataclass(frozen=True)
class EvaluationNetworks:
    """Feature extractors, dual encoder and detector; each is needed only by its own metrics.

    Args:
        extractor: used for fid, kid, precision, recall, density, coverage, is, authenticity, diversity and the like.
        encoder: used for r-precision, contrastive-accuracy, clip-score and positional-alignment; for exact questions of
            colour if the detector recognises none.
        detector: used for soa-c and soa-i.
        boxes: a detector with boxes, for exact questions, counting-alignment, o-is and o-fid; may be the same one.
        second: another feature extractor, for fd-dinov2.
        precision: float32, bfloat16 or float16, the precision in which the networks run.
    """

    extractor: FeatureExtractor | None = None
    encoder: DualEncoder | None = None
    detector: Detector | None = None
    boxes: ObjectDetector | None = None
    second: FeatureExtractor | None = None
    precision: str = "float32"

    def select(self, metrics: Sequence[str]) -> "EvaluationNetworks":
        """Only the networks that the metrics need.

        Raises:
            ValueError: on an unknown metric, or one whose network is missing or gives no boxes.
        """
        unknown = [name for name in metrics if name not in METRICS]
        if unknown:
            raise ValueError(f"unknown metric {', '.join(unknown)}; it can be {', '.join(METRICS)}")
        selected: dict[str, Any] = {}
        for role, role_metrics in METRICS_OF.items():
            dependent = [name for name in metrics if name in role_metrics]
            if dependent and getattr(self, role) is None:
                raise ValueError(f"{', '.join(dependent)}: EvaluationNetworks.{role} is None; give the {role}")
            selected[role] = getattr(self, role) if dependent else None
        boxed = [name for name in metrics if name in DETECTIONS]
        if boxed and not hasattr(self.boxes, "detect_objects"):
            raise ValueError(
                f"{', '.join(boxed)}: {required(self.boxes).name} gives no boxes; it should be a detector such as "
                "fasterrcnn_resnet50_fpn_v2 or scenes-detector"
            )
        if any(name in EXACT for name in metrics) and not recognises_colours(self.boxes):
            if self.encoder is None:
                raise ValueError("exact: the detector recognises no colours; give a dual encoder for them")
            selected["encoder"] = self.encoder
        return EvaluationNetworks(**selected, precision=self.precision)

    def for_metric(self, metric: str) -> FeatureExtractor | DualEncoder | Detector | ObjectDetector:
        """The network that a metric's value is named after."""
        return required(next(getattr(self, role) for role, metrics in METRICS_OF.items() if metric in metrics))


def recognises_colours(detector: ObjectDetector | None) -> bool:
    """Whether a detector gives the colours of objects, as the detector of Scenes does."""
    return bool(getattr(getattr(detector, "shape", None), "colours", ()))


SCENES_NETWORKS = {
    "extractor": "scenes-dual-encoder",
    "encoder": "scenes-dual-encoder",
    "detector": "scenes-presence",
    "boxes": "scenes-detector",
    "second": None,
}

PHOTOGRAPH_NETWORKS = {
    "extractor": "inception-v3-tf",
    "encoder": "clip",
    "detector": "fasterrcnn_resnet50_fpn_v2",
    "boxes": "fasterrcnn_resnet50_fpn_v2",
    "second": "dinov2",
}

PRECISIONS = ("float32", "bfloat16", "float16")


def load_evaluation_networks(
    metrics: Sequence[str],
    names: Mapping[str, str | None],
    weights: Mapping[str, str | None],
    *,
    scenes: bool,
    device: torch.device | str,
    precision: str = "float32",
) -> EvaluationNetworks:
    """Load the networks that the metrics need.

    Args:
        names: names in ``networks.load`` by role, the fields of EvaluationNetworks; None or missing selects the default
            for the data. On photographs the detector gives the boxes too, unless another is named.
        weights: a file, folder or hub name for each role; None selects the default weights of the network.
        scenes: whether the data are Scenes, with networks shipped in the package, or photographs.
        precision: one of PRECISIONS.

    Raises:
        ValueError: on an unknown name, or weights that are missing or belong to another network.
        FileNotFoundError: if a weight file does not exist.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; it should be one of {', '.join(PRECISIONS)}")
    shared = not scenes and names.get("boxes") is None and weights.get("boxes") is None
    defaults = SCENES_NETWORKS if scenes else PHOTOGRAPH_NETWORKS

    def load_role(role: str, load: Callable[..., Value], *, needed: bool) -> Value | None:
        if not needed:
            return None
        name = names.get(role) or defaults[role]
        if name is None:
            raise ValueError(f"{METRICS_OF[role][0]} has no network for Scenes; name one, or leave the metric out")
        return load(name, weights.get(role), device=device)

    def needs(role: str) -> bool:
        return any(name in METRICS_OF[role] for name in metrics)

    detector = load_role("detector", load_detector, needed=needs("detector") or (needs("boxes") and shared))
    boxes: Any = detector if shared else load_role("boxes", load_detector, needed=needs("boxes"))
    colours = any(name in EXACT for name in metrics) and not recognises_colours(boxes)
    return EvaluationNetworks(
        extractor=load_role("extractor", load_feature_extractor, needed=needs("extractor")),
        encoder=load_role("encoder", load_dual_encoder, needed=needs("encoder") or colours),
        detector=detector,
        boxes=boxes,
        second=load_role("second", load_feature_extractor, needed=needs("second")),
        precision=precision,
    )


def required(value: Value | None) -> Value:
    """Narrow an optional value that ``EvaluationNetworks.select`` has guaranteed."""
    assert value is not None
    return value
