"""Run the evaluation networks over images once; each rank takes every N-th batch."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from xmcgan.data.images import ImageTransform
from xmcgan.data.records import Crop, Record, Slice
from xmcgan.data.remote import SourcePath, read_part
from xmcgan.data.stream import prepared_otherwise
from xmcgan.evaluation.chosen_networks import EvaluationNetworks
from xmcgan.evaluation.networks.detections import Detections
from xmcgan.evaluation.networks.preparation import network_precision
from xmcgan.evaluation.networks.protocols import ImageFeatures
from xmcgan.evaluation.object_crops import object_crops
from xmcgan.evaluation.remaining import begin, report, skip
from xmcgan.evaluation.results import Setting
from xmcgan.inference.model_files import read_tensors, save_tensors
from xmcgan.metrics.frechet import FeatureStatistics
from xmcgan.runtime.distributed import gather_objects, is_main, rank, world_size
from xmcgan.runtime.locks import locked_folder
from xmcgan.runtime.progress import ProgressBar, say

READING_THREADS = 4


class ExtractedFeatures(NamedTuple):
    """Outputs of the evaluation networks for a set of images, in order, on every rank."""

    statistics: FeatureStatistics | None = None
    features_NF: Tensor | None = None  # only if a metric needs every feature, not just their statistics
    logits_NC: Tensor | None = None
    embeddings_NF: Tensor | None = None
    detected: list[set[int]] | None = None
    detections: list[Detections] | None = None  # if the detector gives boxes
    second: FeatureStatistics | None = None  # of the second extractor
    crops: FeatureStatistics | None = None  # of the objects' crops, if asked for
    crop_logits_NC: Tensor | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Reference:
    """Real images for metrics that compare distributions.

    Args:
        images: the real images.
        transform: crops or resizes each image to a square, before the extractor's own resizing.
        cache: folder for their cached features.
        name: name of the split, recorded in results.
    """

    images: Sequence[Record]
    transform: ImageTransform
    cache: Path
    name: str

    def protocol(self) -> dict[str, Setting]:
        """The settings recorded in a result; also how the images were prepared, if for another size or fit."""
        otherwise = prepared_otherwise(self.images, self.transform)
        return {
            "reference": self.name,
            "reference_images": len(self.images),
            "reference_fit": self.transform.fit,
            "reference_size": self.transform.size,
            **{f"reference_prepared_{name}": found for name, (found, _) in otherwise.items()},
        }


# One pass over images


def extract_features(
    images: Sequence[Record],
    transform: ImageTransform,
    networks: EvaluationNetworks,
    *,
    rows: bool,
    batch_size: int,
    label: str | None,
    crops: bool = False,
    kind: str = "evaluating",
) -> ExtractedFeatures:
    """Run the networks over images, reading each image once; batches alternate between ranks.

    Args:
        rows: keep the features of every image, not only their mean and covariance.
        label: label of the progress bar; None hides it.
        crops: also run the extractor over crops of the detected objects.
        kind: kind of work, for the estimate of the remaining time.
    """
    begin()
    began = time.perf_counter()
    collected = Collected(networks, rows=rows, crops=crops)
    shown = label is not None and is_main()
    with ProgressBar(total=len(images), unit="image", desc=label or "", disable=not shown) as bar:
        for pixels in rank_batches(images, transform, batch_size):
            # Update in image order on every rank: the last bits of a sum depend on the order.
            for outputs in gather_objects(None if pixels is None else run_networks(networks, pixels, crops=crops)):
                if outputs is not None:
                    collected.add(outputs)
                    bar.update(outputs.count)
                    report(kind, outputs.count, bar)
    return collected.features(time.perf_counter() - began)


class NetworkOutputs(NamedTuple):
    """Outputs of the networks for one batch."""

    count: int
    extracted: ImageFeatures | None
    embeddings_BF: Tensor | None
    detected: list[set[int]] | None
    detections: list[Detections] | None
    second_BF: Tensor | None
    crops: ImageFeatures | None  # of all objects of the batch; None if there are none


class Collected:
    """What the networks returned so far."""

    def __init__(self, networks: EvaluationNetworks, *, rows: bool, crops: bool):
        extractor, second = networks.extractor, networks.second
        self.statistics = FeatureStatistics(extractor.dim) if extractor is not None else None
        self.second = FeatureStatistics(second.dim) if second is not None else None
        self.crops = FeatureStatistics(extractor.dim) if crops and extractor is not None else None
        self.rows, self.detects, self.boxes = rows, networks.detector is not None, networks.boxes is not None
        self.features_: list[Tensor] = []
        self.logits: list[Tensor] = []
        self.embeddings: list[Tensor] = []
        self.crop_logits: list[Tensor] = []
        self.detected: list[set[int]] = []
        self.detections: list[Detections] = []

    def add(self, outputs: NetworkOutputs) -> None:
        """Adds a batch."""
        if outputs.extracted is not None and self.statistics is not None:
            self.statistics.update(outputs.extracted.features_BF)
            self.features_ += [outputs.extracted.features_BF] if self.rows else []
            self.logits += [] if outputs.extracted.logits_BC is None else [outputs.extracted.logits_BC]
        if outputs.second_BF is not None and self.second is not None:
            self.second.update(outputs.second_BF)
        if outputs.crops is not None and self.crops is not None:
            self.crops.update(outputs.crops.features_BF)
            self.crop_logits += [] if outputs.crops.logits_BC is None else [outputs.crops.logits_BC]
        self.embeddings += [] if outputs.embeddings_BF is None else [outputs.embeddings_BF]
        self.detected += outputs.detected or []
        self.detections += outputs.detections or []

    def features(self, seconds: float) -> ExtractedFeatures:
        """All batches together."""

        def joined(parts: list[Tensor]) -> Tensor | None:
            return torch.cat(parts) if parts else None

        return ExtractedFeatures(
            self.statistics,
            joined(self.features_),
            joined(self.logits),
            joined(self.embeddings),
            self.detected if self.detects else None,
            self.detections if self.boxes else None,
            self.second,
            self.crops,
            joined(self.crop_logits),
            seconds,
        )


def run_networks(networks: EvaluationNetworks, pixels_B3HW: Tensor, *, crops: bool = False) -> NetworkOutputs:
    """Run every network on a batch of uint8 pixels; outputs are float32 whatever the precision."""
    extractor, encoder, second = networks.extractor, networks.encoder, networks.second
    with network_precision(networks.precision):
        detected, detections = run_detectors(networks, pixels_B3HW)
        cut = None
        if crops and detections is not None and extractor is not None:
            objects = object_crops(pixels_B3HW, detections, size=pixels_B3HW.shape[-1])
            cut = as_float32(extractor(objects)) if len(objects) else None
        outputs = NetworkOutputs(
            len(pixels_B3HW),
            as_float32(extractor(pixels_B3HW)) if extractor is not None else None,
            encoder.encode_images(pixels_B3HW).float() if encoder is not None else None,
            detected,
            detections,
            second(pixels_B3HW).features_BF.float() if second is not None else None,
            cut,
        )
    check_finite(extractor, None if outputs.extracted is None else outputs.extracted.features_BF)
    check_finite(encoder, outputs.embeddings_BF)
    check_finite(second, outputs.second_BF)
    return outputs


def check_finite(network: Any, features_BF: Tensor | None) -> None:
    """Refuses features that are NaN or infinite: a metric computed from them could pass for a valid number.

    Raises:
        ValueError: naming the network.
    """
    if features_BF is not None and not features_BF.isfinite().all():
        raise ValueError(f"{network.name} gives NaN or infinite features: its weights are damaged, or half precision")


def run_detectors(
    networks: EvaluationNetworks, pixels_B3HW: Tensor
) -> tuple[list[set[int]] | None, list[Detections] | None]:
    """The categories detected in each image, and the objects; one pass if one detector gives both."""
    detector, boxes = networks.detector, networks.boxes
    detections = boxes.detect_objects(pixels_B3HW) if boxes is not None else None
    if detector is None:
        return None, detections
    if boxes is detector and boxes is not None and detections is not None:
        return boxes.categories(detections), detections
    return detector(pixels_B3HW), detections


def as_float32(features: ImageFeatures) -> ImageFeatures:
    """Features and logits in float32."""
    logits = features.logits_BC
    return ImageFeatures(features.features_BF.float(), None if logits is None else logits.float())


def rank_batches(images: Sequence[Record], transform: ImageTransform, batch_size: int) -> Iterator[Tensor | None]:
    """This rank's batches, one per round of N; None if the last round has no batch left for it."""
    starts = list(range(0, len(images), batch_size))
    rounds = -(-len(starts) // world_size())
    own: list[int | None] = [*starts[rank() :: world_size()]]
    with ThreadPoolExecutor(READING_THREADS) as pool:

        def read(start: int | None) -> list[Future[Tensor]]:
            if start is None:
                return []
            return [pool.submit(transform, image) for image in images[start : start + batch_size]]

        own += [None] * (rounds - len(own))
        ahead = read(own[0]) if own else []
        for following in [*own[1:], None]:
            current, ahead = ahead, read(following)
            yield torch.stack([each.result() for each in current]) if current else None


# Features of real images, cached


def extract_reference_features(
    reference: Reference,
    networks: EvaluationNetworks,
    *,
    rows: bool,
    batch_size: int,
    progress: bool,
    crops: bool = False,
) -> ExtractedFeatures:
    """Features of the real images, read from the cache if the same images were processed in the same way before.

    Args:
        networks: the extractors; with ``crops`` also the detector of boxes. Other networks are not run.
    """
    chosen = EvaluationNetworks(
        extractor=networks.extractor,
        second=networks.second,
        boxes=networks.boxes if crops else None,
        precision=networks.precision,
    )
    path = reference.cache / f"{reference_key(reference, chosen, rows)}.safetensors"
    stored = read_cached(path)
    # If the cache is damaged on one rank, all ranks compute, because they gather each batch.
    if all(gather_objects(stored is not None)) and stored is not None:
        skip("real images", len(reference.images))
        return stored
    extracted = extract_features(
        reference.images,
        reference.transform,
        chosen,
        rows=rows,
        batch_size=batch_size,
        label=f"real images of {reference.name}" if progress else None,
        crops=crops,
        kind="real images",
    )
    if is_main():
        with locked_folder(reference.cache, "written into", wait=True):  # evaluations share it
            save_tensors(cached_tensors(extracted), path)
    return extracted


STATISTICS = ("statistics", "second", "crops")
"""The fields of ExtractedFeatures that are statistics."""


def cached_tensors(extracted: ExtractedFeatures) -> dict[str, Tensor]:
    """The tensors of reference features that the cache keeps."""
    tensors = {}
    for field in STATISTICS:
        statistics = getattr(extracted, field)
        if statistics is not None:
            tensors |= {f"{field}.{name}": tensor for name, tensor in statistics.to_tensors().items()}
    if extracted.features_NF is not None:
        tensors["features_NF"] = extracted.features_NF
    return tensors


def read_cached(path: Path) -> ExtractedFeatures | None:
    """The features in a cache file; None if the file is missing or damaged: then they are computed again.

    Raises:
        PermissionError: if the folder cannot be entered: new features could not be stored there either.
    """
    if not path.is_file():
        return None
    try:
        stored = read_tensors(path)
        features = stored.pop("features_NF", None)
        found: dict[str, Any] = {}
        for field in STATISTICS:
            own = {
                name.removeprefix(f"{field}."): each for name, each in stored.items() if name.startswith(f"{field}.")
            }
            found[field] = FeatureStatistics.from_tensors(own) if own else None
        return ExtractedFeatures(features_NF=features, **found)
    except (ValueError, RuntimeError, OSError, KeyError) as error:
        say(f"computing the features of real images again: {error}")
        return None


def reference_key(reference: Reference, networks: EvaluationNetworks, rows: bool) -> str:
    """A cache key that changes with the images, their processing and the networks."""
    used = [each for each in (networks.extractor, networks.second, networks.boxes) if each is not None]
    key = {
        "images": fingerprint(reference.images),
        "size": reference.transform.size,
        "fit": reference.transform.fit,
        "networks": [[each.name, each.weights_sha256, each.protocol] for each in used],
        "precision": networks.precision,
        "rows": rows,
    }
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]


def fingerprint(images: Sequence[Record]) -> str:
    """A fast hash of images: for files it covers name, size, modification time, and their first and last bytes."""
    digest = hashlib.sha256()
    for record in images:
        match record.image:
            case bytes(content):
                identity = hashlib.sha256(content).hexdigest()
            case Slice(file, offset, length):
                identity = f"{file.name} {offset} {length} {file.stat().st_mtime_ns} {ends(file, offset, length)}"
            case Crop(file):
                identity = f"{record.image[1:]} {file_identity(file)}"
            case path:
                identity = file_identity(path)
        digest.update(f"{record.id} {identity}\n".encode())
    return digest.hexdigest()


def file_identity(path: SourcePath) -> str:
    """Name, size, time and ends of a file."""
    state = path.stat()
    return f"{path.name} {state.st_size} {state.st_mtime_ns} {ends(path, 0, state.st_size)}"


def ends(path: SourcePath, offset: int, length: int, most: int = 4096) -> str:
    """A hash of the first and last bytes of a part of a file: pictures of the same size and time differ there."""
    first, last = (read_part(path, start, min(length, most)) for start in (offset, offset + max(0, length - most)))
    return hashlib.sha256(first + last).hexdigest()
