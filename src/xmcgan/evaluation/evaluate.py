"""One pass over images, many metrics, one result each, with every choice that changes the number beside it.

Images of any origin are judged alike: drawn by this library, by another system, or real. Each rank judges every
N-th batch; what the networks say is gathered and put together in the order of the images, so that a result depends
neither on the batch size nor on the number of ranks.
"""

import time
from collections.abc import Mapping, Sequence
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
    given,
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

SEED = 0  # of what the metrics draw: splits, subsets, mismatched captions, batches

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
) -> list[Result]:
    """Every metric of a set of images, in the order asked for.

    Args:
        images: one a request, in the same order.
        requests: what the images are to show.
        transform: how each image becomes a square of pixels.
        networks: at least those that the metrics need.
        metrics: of ``METRICS``.
        system: what made the images.
        protocol: how requests were chosen and images made, put into every result.
        reference: real images, for the metrics that compare distributions.

    Raises:
        ValueError: on an unknown metric, a metric whose network or reference is not given, or too few images for it.
    """
    networks = networks.needed(metrics)
    if len(images) != len(requests):
        raise ValueError(f"{len(images)} images but {len(requests)} requests; each image answers one")
    distribution = [name for name in metrics if name in DISTRIBUTION]
    if distribution and reference is None:
        raise ValueError(f"{', '.join(distribution)} compares with real images; give a reference")
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
    return [result_of(metric, inputs, networks, system, common, reference) for metric in metrics]


def result_of(
    metric: str,
    inputs: "MetricInputs",
    networks: EvaluationNetworks,
    system: str,
    protocol: dict[str, Setting],
    reference: Reference | None,
) -> Result:
    """One metric with every choice that its value depends on."""
    began = time.perf_counter()
    measured = measure(metric, inputs)
    network = networks.of(metric)
    choices: dict[str, Setting] = {"network": network.name, "weights_sha256": network.weights_sha256}
    if metric in DISTRIBUTION and reference is not None:
        choices |= reference.choices()
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
    """All that metrics are computed from; what several of them share is computed once, when first asked for."""

    extracted: ExtractedFeatures
    real: ExtractedFeatures
    requests: Sequence[Request]
    encoder: DualEncoder | None
    detector: Detector | None

    @cached_property
    def pairs(self) -> tuple[Tensor, Tensor]:
        """Embeddings of the images and of their captions."""
        return given(self.extracted.embeddings_NF), self.captions_NF("")

    def captions_NF(self, prompt: str) -> Tensor:
        """Embeddings of the captions, each behind a prompt."""
        captions = [prompt + request.caption for request in self.requests]
        parts = [given(self.encoder).encode_captions(captions[k : k + 256]) for k in range(0, len(captions), 256)]
        return torch.cat(parts)

    @cached_property
    def neighbourhoods(self) -> PrecisionRecall:
        """Four metrics at once."""
        return precision_recall_density_coverage(
            given(self.real.features_NF),
            given(self.extracted.features_NF),
            neighbours=NEIGHBOURS,
            density_neighbours=DENSITY_NEIGHBOURS,
        )


class Measured(NamedTuple):
    """A metric's value, its uncertainty where it has one, and the settings of its own."""

    value: float
    uncertainty: float | None
    settings: Mapping[str, Setting]


def measure(metric: str, inputs: MetricInputs) -> Measured:
    """One metric from what the judges said."""
    extracted, real = inputs.extracted, inputs.real
    match metric:
        case "fid":
            return Measured(frechet_distance(given(extracted.statistics), given(real.statistics)), None, {})
        case "kid":
            generated, real_features = given(extracted.features_NF), given(real.features_NF)
            subset = min(KID_SUBSET, len(generated), len(real_features))
            return Measured(
                *kernel_distance(generated, real_features, subsets=KID_SUBSETS, subset_size=subset, seed=SEED),
                {"subsets": KID_SUBSETS, "subset_size": subset, "draw": SEED},
            )
        case "precision" | "recall":
            return Measured(getattr(inputs.neighbourhoods, metric), None, {"neighbours": NEIGHBOURS})
        case "density" | "coverage":
            return Measured(getattr(inputs.neighbourhoods, metric), None, {"neighbours": DENSITY_NEIGHBOURS})
        case "is":
            if extracted.logits_NC is None:
                raise ValueError("is needs an extractor that is a classifier, such as inception-v3-tf")
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
            # CLIP is asked as its authors ask it; an encoder without prompts in its training has none here.
            prompt = CLIP_PROMPT if given(inputs.encoder).name == "clip" else ""
            score = clip_score(given(extracted.embeddings_NF), inputs.captions_NF(prompt), weight=CLIP_WEIGHT)
            return Measured(score, None, {"weight": CLIP_WEIGHT, "prompt": prompt})
        case _:
            return measure_objects(metric, inputs)


def measure_objects(metric: str, inputs: MetricInputs) -> Measured:
    """SOA-C or SOA-I: of the category each caption is listed for, or else of all that it names and the judge can see.

    "A wooden table" is a dining table to COCO; a judge of Scenes, whose tables are no objects, is not asked for it.
    """
    requests, sees = inputs.requests, given(inputs.detector).sees
    listed = all(request.category is not None for request in requests)
    detected, wanted = [], []
    for seen, request in zip(given(inputs.extracted.detected), requests, strict=True):
        for category in [request.category] if listed else sorted(classes_in(request.caption) & sees):
            detected.append(seen)
            wanted.append(category)
    if not wanted:
        raise ValueError(f"{metric}: no caption names a category that the detector can see")
    soa = semantic_object_accuracy(detected, wanted)
    rule = "official lists" if listed else "word rules that follow the lists"
    settings = {"objects": rule, "objects_wanted": len(wanted), "categories": len(soa.counts)}
    return Measured(soa.c if metric == "soa-c" else soa.i, None, settings)
