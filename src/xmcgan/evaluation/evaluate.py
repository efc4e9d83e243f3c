"""Evaluate a set of images: many metrics in one pass, each recorded with every choice that changes its value.

Images may come from this library, another system or a camera. Each of N ranks processes every N-th batch. Network
outputs are gathered in image order, so results depend neither on the batch size nor on the number of ranks.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from xmcgan.data.images import ImageTransform
from xmcgan.data.records import Record
from xmcgan.evaluation.asking import Asking, scenes_asking
from xmcgan.evaluation.chosen_networks import EvaluationNetworks, recognises_colours, required
from xmcgan.evaluation.features import ExtractedFeatures, Reference, extract_features, extract_reference_features
from xmcgan.evaluation.image_set import Request
from xmcgan.evaluation.inputs import DENSITY_NEIGHBOURS, NEIGHBOURS, Measured, MetricInputs
from xmcgan.evaluation.metric_names import CROPS, DISTRIBUTION, DIVERSITY, OBJECTS, TRAINING
from xmcgan.evaluation.peer_metrics import compute_peer_metric
from xmcgan.evaluation.results import Result, Setting
from xmcgan.evaluation.seen import NETWORKS_WITHIN, is_seen
from xmcgan.evaluation.soa_rules import classes_in
from xmcgan.metrics.frechet import frechet_distance
from xmcgan.metrics.inception_score import inception_score
from xmcgan.metrics.kernel import kernel_distance
from xmcgan.metrics.retrieval import clip_score, contrastive_accuracy, r_precision
from xmcgan.metrics.soa import semantic_object_accuracy

SEED = 0  # for splits, subsets, mismatched captions and batches

SPLITS, KID_SUBSETS, KID_SUBSET = 10, 100, 1000

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
    training: Reference | None = None,
    asking: Asking | None = None,
    batch_size: int = 50,
    progress: bool = True,
    done: Callable[[Result], None] = lambda _: None,
    inspect: Callable[[MetricInputs], None] = lambda _: None,
) -> list[Result]:
    """Compute metrics of a set of images, in the order of ``metrics``.

    Args:
        images: one per request, in the same order.
        requests: the captions the images were generated from.
        transform: crops or resizes each image to a square.
        networks: at least the networks that the metrics need.
        metrics: names from ``METRICS``.
        system: name of the system that generated the images.
        protocol: how captions were chosen and images generated; copied to every result.
        reference: real images, for metrics that compare distributions.
        training: real images that the system was trained on, for authenticity and ct-score.
        asking: how exact questions are asked; by default as for captions of Scenes, if the detector is for Scenes.
        done: called with each result as soon as it is known.
        inspect: called with everything that was extracted, once all metrics are computed.

    Raises:
        ValueError: on an unknown metric, a missing network or reference, or too few images for a metric.
    """
    networks = networks.select(metrics)
    if len(images) != len(requests):
        raise ValueError(f"{len(images)} images but {len(requests)} requests; give one image per request")
    check_references(metrics, reference, training)
    if asking is None and recognises_colours(networks.boxes):
        asking = scenes_asking()
    extracted = extract_features(
        images,
        transform,
        networks,
        rows=needs_rows(metrics),
        batch_size=batch_size,
        label=system if progress else None,
        crops=any(name in CROPS for name in metrics),
    )
    real, trained = extract_references(metrics, networks, reference, training, batch_size, progress)
    inputs = MetricInputs(extracted, real, trained, images, transform, requests, networks, asking)

    common, results = {**protocol, **image_settings(transform, networks)}, []
    for metric in metrics:
        results.append(make_result(metric, inputs, system, common, reference, training))
        done(results[-1])
    inspect(inputs)
    return results


def image_settings(transform: ImageTransform, networks: EvaluationNetworks) -> dict[str, Setting]:
    """How images are prepared for the networks."""
    half: dict[str, Setting] = {} if networks.precision == "float32" else {"precision": networks.precision}
    return {"image_size": transform.size, "fit": transform.fit, "pixels": "uint8", **half}


def extract_references(
    metrics: Sequence[str],
    networks: EvaluationNetworks,
    reference: Reference | None,
    training: Reference | None,
    batch_size: int,
    progress: bool,
) -> tuple[ExtractedFeatures, ExtractedFeatures]:
    """Features of the reference images and of the training images, as far as metrics need them."""
    real = trained = ExtractedFeatures()
    if reference is not None and needs_reference(metrics):
        rows, crops = needs_reference_rows(metrics), "o-fid" in metrics
        real = extract_reference_features(
            reference, networks, rows=rows, batch_size=batch_size, progress=progress, crops=crops
        )
    if training is not None and any(name in TRAINING for name in metrics):
        extractor = replace(networks, second=None)
        trained = extract_reference_features(training, extractor, rows=True, batch_size=batch_size, progress=progress)
    return real, trained


def check_references(metrics: Sequence[str], reference: Reference | None, training: Reference | None) -> None:
    """Raise ValueError if a metric compares with real images that are not given."""
    distribution = [name for name in metrics if name in DISTRIBUTION or name == "ct-score"]
    if distribution and reference is None:
        raise ValueError(f"{', '.join(distribution)}: reference is missing; these metrics compare with real images")
    memory = [name for name in metrics if name in TRAINING]
    if memory and training is None:
        raise ValueError(
            f"{', '.join(memory)}: training is missing; it should be the images that the system was trained on"
        )


def needs_reference(metrics: Sequence[str]) -> bool:
    """Whether a metric compares with the reference images."""
    return any(name in DISTRIBUTION or name == "ct-score" for name in metrics)


def needs_rows(metrics: Sequence[str]) -> bool:
    """Whether a metric needs every image's features, not only their statistics."""
    few = ("fid", "fd-dinov2", "o-fid")
    return any(name in (*TRAINING, *DIVERSITY) or (name in DISTRIBUTION and name not in few) for name in metrics)


def needs_reference_rows(metrics: Sequence[str]) -> bool:
    """Whether a metric needs every reference image's features, not only their statistics."""
    few = ("fid", "fd-dinov2", "o-fid", "fid-infinity")
    return any(name == "ct-score" or (name in DISTRIBUTION and name not in few) for name in metrics)


def make_result(
    metric: str,
    inputs: MetricInputs,
    system: str,
    protocol: dict[str, Setting],
    reference: Reference | None,
    training: Reference | None,
) -> Result:
    """Compute one metric and record every choice that its value depends on."""
    began = time.perf_counter()
    measured = compute_metric(metric, inputs)
    network = inputs.networks.for_metric(metric)
    choices: dict[str, Setting] = {"network": network.name, "weights_sha256": network.weights_sha256}
    if metric in (*DISTRIBUTION, "ct-score") and reference is not None:
        choices |= reference.protocol()
    parts = [network.protocol[role] for role in NETWORKS_WITHIN if role in network.protocol]
    if is_seen(network.name, str(protocol.get("trained_with", "")), parts):
        choices["seen_in_training"] = True
    if metric in TRAINING and training is not None:
        choices |= {"training": training.name, "training_images": len(training.images)}
    return Result(
        metric=metric,
        value=measured.value,
        uncertainty=measured.uncertainty,
        samples=len(inputs.requests),
        system=system,
        protocol={**protocol, **network.protocol, **choices, **measured.settings},
        seconds=round(inputs.extracted.seconds + time.perf_counter() - began, 2),
    )


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
            prompt = CLIP_PROMPT if required(inputs.networks.encoder).name == "clip" else ""
            score = clip_score(required(extracted.embeddings_NF), inputs.captions_NF(prompt), weight=CLIP_WEIGHT)
            return Measured(score, None, {"weight": CLIP_WEIGHT, "prompt": prompt})
        case _:
            return compute_soa(metric, inputs) if metric in OBJECTS else compute_peer_metric(metric, inputs)


def compute_soa(metric: str, inputs: MetricInputs) -> Measured:
    """SOA-C or SOA-I over the category each caption is listed under, or over all detectable categories it names.

    Categories that the detector does not know are left out: "a wooden table" names COCO's dining table, but tables
    are part of the background in Scenes.
    """
    requests, detectable = inputs.requests, required(inputs.networks.detector).detectable
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
