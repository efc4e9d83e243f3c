"""Metrics that comparable papers use: exact questions, TISE, memorisation, diversity, other Fréchet distances."""

import torch

from xmcgan.evaluation.caption_positions import COUNT_RULE, POSITION_RULE, counted_objects, opposite_position
from xmcgan.evaluation.chosen_networks import recognises_colours, required
from xmcgan.evaluation.crop_colours import COLOUR_PROTOCOL
from xmcgan.evaluation.inputs import Measured, MetricInputs
from xmcgan.evaluation.object_crops import CROP_CONFIDENCE
from xmcgan.evaluation.results import Setting
from xmcgan.metrics.diversity import diversity
from xmcgan.metrics.frechet import frechet_distance
from xmcgan.metrics.frechet_infinity import POINTS, frechet_distance_infinity
from xmcgan.metrics.inception_score import inception_score
from xmcgan.metrics.memorization import data_copying, nearest_neighbours
from xmcgan.metrics.tise import (
    CLIP_SCALE,
    COCO_TEMPERATURE,
    SURE,
    calibrated_inception_score,
    counting_alignment,
    positional_alignment,
)

SEED = 0

CELLS, LEAST_IN_CELL, DIMENSIONS = 3, 20, 64

COUNTING_CONFIDENCE = 0.5
"""Lowest score of an object that counting alignment counts."""


def compute_peer_metric(metric: str, inputs: MetricInputs) -> Measured:
    """Compute one of the metrics of this file.

    Raises:
        ValueError: if the images or captions do not have what the metric needs.
    """
    if metric == "exact" or metric.startswith("exact-"):
        return exact(metric, inputs)
    match metric:
        case "fid-infinity":
            found = frechet_distance_infinity(
                required(inputs.extracted.features_NF), required(inputs.real.statistics), seed=SEED
            )
            return Measured(*found, {"points": POINTS, "draw": SEED})
        case "fd-dinov2":
            distance = frechet_distance(required(inputs.extracted.second), required(inputs.real.second))
            return Measured(distance, None, {})
        case "is-star":
            return is_star(inputs)
        case "o-is" | "o-fid":
            return of_crops(metric, inputs)
        case "authenticity":
            own_N = nearest_neighbours(required(inputs.training.features_NF)).distances_M
            nearest = inputs.nearest
            share = float((nearest.distances_M > own_N[nearest.positions_M]).double().mean())
            return Measured(share, (share * (1 - share) / len(nearest.distances_M)) ** 0.5, {})
        case "ct-score":
            return ct_score(inputs)
        case "diversity":
            groups = [" ".join(request.caption.lower().split()).rstrip(".") for request in inputs.requests]
            found = diversity(required(inputs.extracted.features_NF), groups)
            several = {group for group in groups if groups.count(group) > 1} if len(groups) < 5000 else set(groups)
            return Measured(*found, {"distance": "cosine", "groups": len(several)})
        case "counting-alignment":
            return counting(inputs)
        case "positional-alignment":
            return positions(inputs)
    raise ValueError(f"unknown metric {metric!r}")


def exact(metric: str, inputs: MetricInputs) -> Measured:
    """The mean over the tasks of exact questions, or one task."""
    asking, answers = required(inputs.asking), inputs.answers
    settings = asking.protocol()
    if not recognises_colours(inputs.networks.boxes):
        encoder = required(inputs.networks.encoder)
        settings |= {"colours": f"{COLOUR_PROTOCOL} {encoder.name}", "colours_sha256": encoder.weights_sha256}
    if metric == "exact":
        return Measured(answers.mean, answers.deviation, {**settings, "tasks": ", ".join(answers.tasks)})
    task = metric.removeprefix("exact-")
    if task not in answers.tasks:
        raise ValueError(f"{metric}: no caption asks a question of this task; it can be {', '.join(answers.tasks)}")
    share = answers.tasks[task]
    return Measured(share.value, (share.high - share.low) / 2 / 1.959964, {**settings, "asked": share.asked})


def is_star(inputs: MetricInputs) -> Measured:
    """IS*: the Inception Score of calibrated logits."""
    extractor = required(inputs.networks.extractor)
    if inputs.extracted.logits_NC is None or not extractor.name.startswith("inception-v3-tf"):
        raise ValueError(
            f"is-star: no temperature is known that calibrates {extractor.name}; it should be inception-v3-tf"
        )
    found = calibrated_inception_score(inputs.extracted.logits_NC, temperature=COCO_TEMPERATURE, seed=SEED)
    return Measured(*found, {"temperature": COCO_TEMPERATURE, "splits": 10, "draw": SEED})


def of_crops(metric: str, inputs: MetricInputs) -> Measured:
    """O-IS or O-FID: the Inception Score or the Fréchet distance on crops of detected objects."""
    detector = required(inputs.networks.boxes)
    # Without their number: it depends on the system, and different settings keep numbers out of one column.
    settings: dict[str, Setting] = {
        "crops": f"objects of {detector.name} with confidence {CROP_CONFIDENCE}, squashed",
        "crops_sha256": detector.weights_sha256,
    }
    if metric == "o-fid":
        distance = frechet_distance(required(inputs.extracted.crops), required(inputs.real.crops))
        return Measured(distance, None, settings)
    if inputs.extracted.crop_logits_NC is None:
        raise ValueError("o-is: the extractor gives no logits, or no object was detected; use a classifier")
    return Measured(*inception_score(inputs.extracted.crop_logits_NC, seed=SEED), {**settings, "splits": 10})


def ct_score(inputs: MetricInputs) -> Measured:
    """The C_T test, with the reference images as held-out images."""
    found = data_copying(
        required(inputs.training.features_NF),
        required(inputs.real.features_NF),
        required(inputs.extracted.features_NF),
        cells=CELLS,
        least=LEAST_IN_CELL,
        dimensions=DIMENSIONS,
        seed=SEED,
    )
    settings: dict[str, Setting] = {"cells": CELLS, "least_in_cell": LEAST_IN_CELL, "dimensions": DIMENSIONS}
    return Measured(found.value, None, {**settings, "draw": SEED})


def counting(inputs: MetricInputs) -> Measured:
    """CA: root mean squared error of the counts that captions state."""
    detectable = required(inputs.networks.boxes).detectable
    wanted, found = [], []
    for request, detections in zip(inputs.requests, required(inputs.extracted.detections), strict=True):
        counts = {id: number for id, number in counted_objects(request.caption).items() if id in detectable}
        if counts:
            sure = detections.categories_N[detections.scores_N >= COUNTING_CONFIDENCE].tolist()
            wanted.append(counts)
            found.append({id: sure.count(id) for id in counts})
    if not wanted:
        raise ValueError("counting-alignment: no caption counts objects that the detector knows")
    settings: dict[str, Setting] = {
        "counting": COUNT_RULE,
        "counted_captions": len(wanted),
        "counting_confidence": COUNTING_CONFIDENCE,
    }
    return Measured(*counting_alignment(wanted, found), settings)


def positions(inputs: MetricInputs) -> Measured:
    """PA: share of images closer to their caption than to the caption with the opposite position."""
    exchanged = [opposite_position(request.caption) for request in inputs.requests]
    places = [place for place, each in enumerate(exchanged) if each is not None]
    if not places:
        raise ValueError("positional-alignment: no caption has a word of position")
    words, false = zip(*(required(exchanged[place]) for place in places), strict=True)
    images_NF, captions_NF = (rows[torch.tensor(places)] for rows in inputs.pairs)
    found = positional_alignment(images_NF, captions_NF, inputs.encode(false), words)
    settings: dict[str, Setting] = {
        "positions": POSITION_RULE,
        "position_captions": len(places),
        "words": ", ".join(sorted(set(words))),
        "scale": CLIP_SCALE,
        "sure": SURE,
    }
    return Measured(*found, settings)
