"""Evaluate a set of images: many metrics in one pass, each recorded with every choice that changes its value.

Images may come from this library, another system or a camera. Each of N ranks processes every N-th batch. Network
outputs are gathered in image order, so results depend neither on the batch size nor on the number of ranks.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from xmcgan.data.images import ImageTransform
from xmcgan.data.records import Record
from xmcgan.evaluation.features import (
    DISTRIBUTION,
    EvaluationNetworks,
    ExtractedFeatures,
    Reference,
    extract_features,
    extract_reference_features,
    required,
)
from xmcgan.evaluation.image_set import Request
from xmcgan.evaluation.networks.protocols import Detector, DualEncoder
from xmcgan.evaluation.results import Result, Setting
from xmcgan.evaluation.soa_rules import classes_in
from xmcgan.metrics.frechet import frechet_distance
from xmcgan.metrics.inception_score import inception_score
from xmcgan.metrics.kernel import kernel_distance
from xmcgan.metrics.precision_recall import PrecisionRecall, precision_recall_density_coverage
from xmcgan.metrics.retrieval import clip_score, contrastive_accuracy, r_precision
from xmcgan.metrics.soa import semantic_object_accuracy

SEED = 0  # for splits, subsets, mismatched captions and batches

SPLITS, NEIGHBOURS, DENSITY_NEIGHBOURS, KID_SUBSETS, KID_SUBSET = 10, 3, 5, 100, 1000

MISMATCHED, FOLDS, CONTRASTIVE_BATCH = 99, 10, 100

CLIP_WEIGHT, CLIP_PROMPT = 2.5, "A photo depicts "


def evaluate(
    images: Sequence[Record],
    requests: Sequence[Request],
    *,
    transform: ImageTransform,
    networks: EvaluationNetworks,
    metrics: Sequence[str],
    system: str,
    protocol: dict[str, Setting],
    reference: Reference | None = None,
    batch_size: int = 50,
    progress: bool = True,
    done: Callable[[Result], None] = lambda _: None,
) -> list[Result]:
    """Compute metrics of a set of images; results are in the order of ``metrics``.

    Args:
        images: one per request, in the same order.
        requests: the captions the images were generated from.
        transform: crops or resizes each image to a square.
        networks: at least those that the metrics need.
        metrics: names from ``METRICS``.
        system: name of the system that generated the images.
        protocol: how captions were chosen and images generated; copied into every result.
        reference: real images, for metrics that compare distributions.
        done: called with each result as soon as it is known, so that an error in a later one loses none.

    Raises:
        ValueError: on an unknown metric, a missing network or reference, or too few images for a metric.
    """
    networks = networks.select(metrics)
    if len(images) != len(requests):
        raise ValueError(f"{len(images)} images but {len(requests)} requests; give one image per request")
    distribution = [name for name in metrics if name in DISTRIBUTION]
    if distribution and reference is None:
        raise ValueError(f"{', '.join(distribution)}: reference is missing; these metrics compare with real images")
    rows = any(name != "fid" for name in distribution)
    extracted = extract_features(
        images, transform, networks, rows=rows, batch_size=batch_size, label=system if progress else None
    )
    real = ExtractedFeatures()
    if distribution and reference is not None and networks.extractor is not None:
        real = extract_reference_features(
            reference, networks.extractor, rows=rows, batch_size=batch_size, progress=progress
        )
    inputs = MetricInputs(extracted, real, requests, networks.encoder, networks.detector)

    common = {**protocol, "image_size": transform.size, "fit": transform.fit, "pixels": "uint8"}
    results = []
    for metric in metrics:
        results.append(make_result(metric, inputs, networks, system, common, reference))
        done(results[-1])
    return results


def make_result(
    metric: str,
    inputs: "MetricInputs",
    networks: EvaluationNetworks,
    system: str,
    protocol: dict[str, Setting],
    reference: Reference | None,
) -> Result:
    """Compute one metric and record every choice that its value depends on."""
    began = time.perf_counter()
    measured = compute_metric(metric, inputs)
    network = networks.for_metric(metric)
    choices: dict[str, Setting] = {"network": network.name, "weights_sha256": network.weights_sha256}
    if metric in DISTRIBUTION and reference is not None:
        choices |= reference.protocol()
    return Result(
        metric=metric,
        value=measured.value,
        uncertainty=measured.uncertainty,
        samples=len(inputs.requests),
        system=system,
        protocol={**protocol, **network.protocol, **choices, **measured.settings},
        seconds=round(inputs.extracted.seconds + time.perf_counter() - began, 2),
    )


@dataclass(frozen=True)
class MetricInputs:
    """Inputs of all metrics; values that several metrics share are computed once, on first use."""

    extracted: ExtractedFeatures
    real: ExtractedFeatures
    requests: Sequence[Request]
    encoder: DualEncoder | None
    detector: Detector | None

    @cached_property
    def pairs(self) -> tuple[Tensor, Tensor]:
        """Image and caption embeddings."""
        return required(self.extracted.embeddings_NF), self.captions_NF("")

    def captions_NF(self, prompt: str) -> Tensor:
        """Embeddings of the captions, each prefixed with a prompt."""
        captions = [prompt + request.caption for request in self.requests]
        parts = [required(self.encoder).encode_captions(captions[k : k + 256]) for k in range(0, len(captions), 256)]
        return torch.cat(parts)

    @cached_property
    def precision_recall(self) -> PrecisionRecall:
        """Precision, recall, density and coverage."""
        return precision_recall_density_coverage(
            required(self.real.features_NF),
            required(self.extracted.features_NF),
            neighbours=NEIGHBOURS,
            density_neighbours=DENSITY_NEIGHBOURS,
        )


class Measured(NamedTuple):
    """A metric's value, its uncertainty if it has one, and its own settings."""

    value: float
    uncertainty: float | None
    settings: Mapping[str, Setting]


def compute_metric(metric: str, inputs: MetricInputs) -> Measured:
    """Compute one metric from the extracted features."""
    extracted, real = inputs.extracted, inputs.real
    match metric:
        case "fid":
            return Measured(frechet_distance(required(extracted.statistics), required(real.statistics)), None, {})
        case "kid":
            generated, real_features = required(extracted.features_NF), required(real.features_NF)
            subset = min(KID_SUBSET, len(generated), len(real_features))
            return Measured(
                *kernel_distance(generated, real_features, subsets=KID_SUBSETS, subset_size=subset, seed=SEED),
                {"subsets": KID_SUBSETS, "subset_size": subset, "draw": SEED},
            )
        case "precision" | "recall":
            return Measured(getattr(inputs.precision_recall, metric), None, {"neighbours": NEIGHBOURS})
        case "density" | "coverage":
            return Measured(getattr(inputs.precision_recall, metric), None, {"neighbours": DENSITY_NEIGHBOURS})
        case "is":
            if extracted.logits_NC is None:
                raise ValueError("is: the extractor gives no logits; it should be a classifier such as inception-v3-tf")
            return Measured(
                *inception_score(extracted.logits_NC, splits=SPLITS, seed=SEED), {"splits": SPLITS, "draw": SEED}
            )
        case "r-precision":
            ids = [request.image_id for request in inputs.requests]
            found = r_precision(*inputs.pairs, image_ids=ids, mismatched=MISMATCHED, folds=FOLDS, seed=SEED)
            return Measured(*found, {"mismatched": MISMATCHED, "folds": FOLDS, "draw": SEED})
        case "contrastive-accuracy":
            found = contrastive_accuracy(*inputs.pairs, batch_size=CONTRASTIVE_BATCH, seed=SEED)
            return Measured(*found, {"contrastive_batch": CONTRASTIVE_BATCH, "draw": SEED})
        case "clip-score":
            # The prompt is CLIPScore's; other encoders were not trained with prompts.
            prompt = CLIP_PROMPT if required(inputs.encoder).name == "clip" else ""
            score = clip_score(required(extracted.embeddings_NF), inputs.captions_NF(prompt), weight=CLIP_WEIGHT)
            return Measured(score, None, {"weight": CLIP_WEIGHT, "prompt": prompt})
        case _:
            return compute_soa(metric, inputs)


def compute_soa(metric: str, inputs: MetricInputs) -> Measured:
    """SOA-C or SOA-I over the category each caption is listed under, or over all detectable categories it names.

    Categories that the detector does not know are left out: "a wooden table" names COCO's dining table, but tables
    are part of the background in Scenes.
    """
    requests, detectable = inputs.requests, required(inputs.detector).detectable
    listed = all(request.category is not None for request in requests)
    detected, wanted = [], []
    for found, request in zip(required(inputs.extracted.detected), requests, strict=True):
        for category in [request.category] if listed else sorted(classes_in(request.caption) & detectable):
            detected.append(found)
            wanted.append(category)
    if not wanted:
        raise ValueError(f"{metric}: no caption names a category that the detector knows")
    soa = semantic_object_accuracy(detected, wanted)
    rule = "official lists" if listed else "word rules that follow the lists"
    settings = {"objects": rule, "objects_wanted": len(wanted), "categories": len(soa.counts)}
    return Measured(soa.c if metric == "soa-c" else soa.i, None, settings)
