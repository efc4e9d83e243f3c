"""Run the evaluation networks over images once; each rank takes every N-th batch."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from xmcgan.data.images import ImageTransform
from xmcgan.data.records import Crop, Record, Slice
from xmcgan.evaluation.networks.load import load_detector, load_dual_encoder, load_feature_extractor
from xmcgan.evaluation.networks.protocols import Detector, DualEncoder, FeatureExtractor, ImageFeatures
from xmcgan.evaluation.results import Setting
from xmcgan.inference.model_files import read_tensors, save_tensors
from xmcgan.metrics.frechet import FeatureStatistics
from xmcgan.runtime.distributed import gather_objects, is_main, rank, world_size
from xmcgan.runtime.files import make_folder
from xmcgan.runtime.progress import ProgressBar, say

DISTRIBUTION = ("fid", "kid", "precision", "recall", "density", "coverage")

RETRIEVAL = ("r-precision", "contrastive-accuracy", "clip-score")

OBJECTS = ("soa-c", "soa-i")

METRICS = (*DISTRIBUTION, "is", *RETRIEVAL, *OBJECTS)
"""All metrics, by their names in results."""

LOWER_IS_BETTER = ("fid", "kid")

GROUPS = {"soa": OBJECTS, "prdc": ("precision", "recall", "density", "coverage")}
"""Short names for several metrics."""

METRICS_OF = {"extractor": (*DISTRIBUTION, "is"), "encoder": RETRIEVAL, "detector": OBJECTS}
"""The metrics that need each network."""

READING_THREADS = 4

Value = TypeVar("Value")


@dataclass(frozen=True)
class EvaluationNetworks:
    """Feature extractor, dual encoder and detector; each is needed only by its own metrics.

    Args:
        extractor: for fid, kid, precision, recall, density, coverage and is.
        encoder: for r-precision, contrastive-accuracy and clip-score.
        detector: for soa-c and soa-i.
    """

    extractor: FeatureExtractor | None = None
    encoder: DualEncoder | None = None
    detector: Detector | None = None

    def select(self, metrics: Sequence[str]) -> "EvaluationNetworks":
        """Only the networks that the metrics need.

        Raises:
            ValueError: on an unknown metric, or one whose network is missing.
        """
        unknown = [name for name in metrics if name not in METRICS]
        if unknown:
            raise ValueError(f"unknown metric {', '.join(unknown)}; it can be {', '.join(METRICS)}")
        selected = {}
        for role, role_metrics in METRICS_OF.items():
            dependent = [name for name in metrics if name in role_metrics]
            if dependent and getattr(self, role) is None:
                raise ValueError(f"{', '.join(dependent)}: EvaluationNetworks.{role} is None; give the {role}")
            selected[role] = getattr(self, role) if dependent else None
        return EvaluationNetworks(**selected)

    def for_metric(self, metric: str) -> FeatureExtractor | DualEncoder | Detector:
        """The network that a metric needs."""
        return required(next(getattr(self, role) for role, metrics in METRICS_OF.items() if metric in metrics))


SCENES_NETWORKS = {"extractor": "scenes-dual-encoder", "encoder": "scenes-dual-encoder", "detector": "scenes-presence"}

PHOTOGRAPH_NETWORKS = {"extractor": "inception-v3-tf", "encoder": "clip", "detector": "fasterrcnn_resnet50_fpn_v2"}


def load_evaluation_networks(
    metrics: Sequence[str],
    names: Mapping[str, str | None],
    weights: Mapping[str, str | None],
    *,
    scenes: bool,
    device: torch.device | str,
) -> EvaluationNetworks:
    """Load the networks that the metrics need.

    Args:
        names: names in ``networks.load`` for ``extractor``, ``encoder`` and ``detector``; None or missing selects the
            default for the data.
        weights: a file, folder or hub name for each role; None selects the default weights of the network.
        scenes: whether the data are Scenes, with networks shipped in the package, or photographs.

    Raises:
        ValueError: on an unknown name, or weights that are missing or belong to another network.
        FileNotFoundError: if a weight file does not exist.
    """
    defaults = SCENES_NETWORKS if scenes else PHOTOGRAPH_NETWORKS

    def load_role(role: str, load: Callable[..., Value]) -> Value | None:
        if not any(name in METRICS_OF[role] for name in metrics):
            return None
        return load(names.get(role) or defaults[role], weights.get(role), device=device)

    return EvaluationNetworks(
        extractor=load_role("extractor", load_feature_extractor),
        encoder=load_role("encoder", load_dual_encoder),
        detector=load_role("detector", load_detector),
    )


def metric_names(text: str) -> list[str]:
    """Parse a comma-separated list such as ``fid,is,soa``; duplicates are dropped.

    Raises:
        ValueError: on an unknown name.
    """
    names = [name for each in text.split(",") for name in GROUPS.get(each.strip(), (each.strip(),))]
    for name in names:
        if name not in METRICS:
            raise ValueError(f"unknown metric {name!r}; it can be {', '.join([*METRICS, *GROUPS])}")
    return list(dict.fromkeys(names))


class ExtractedFeatures(NamedTuple):
    """Outputs of the evaluation networks for a set of images, in order, on every rank."""

    statistics: FeatureStatistics | None = None
    features_NF: Tensor | None = None  # only if a metric needs every feature, not just their statistics
    logits_NC: Tensor | None = None
    embeddings_NF: Tensor | None = None
    detected: list[set[int]] | None = None
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
        """The settings recorded in a result."""
        return {
            "reference": self.name,
            "reference_images": len(self.images),
            "reference_fit": self.transform.fit,
            "reference_size": self.transform.size,
        }


def required(value: Value | None) -> Value:
    """Narrow an optional value that ``EvaluationNetworks.select`` has guaranteed."""
    assert value is not None
    return value


# One pass over images


def extract_features(
    images: Sequence[Record],
    transform: ImageTransform,
    networks: EvaluationNetworks,
    *,
    rows: bool,
    batch_size: int,
    label: str | None,
) -> ExtractedFeatures:
    """Run the networks over images, reading each image once; batches alternate between ranks.

    Args:
        rows: keep the features of every image, not only their mean and covariance.
        label: label of the progress bar; None hides it.
    """
    began = time.perf_counter()
    statistics = FeatureStatistics(networks.extractor.dim) if networks.extractor is not None else None
    features: list[Tensor] = []
    logits: list[Tensor] = []
    embeddings: list[Tensor] = []
    detected: list[set[int]] = []
    shown = label is not None and is_main()
    with ProgressBar(total=len(images), unit="image", desc=label or "", disable=not shown) as bar:
        for pixels in rank_batches(images, transform, batch_size):
            # Update in image order on every rank: the last bits of a sum depend on the order.
            for outputs in gather_objects(None if pixels is None else run_networks(networks, pixels)):
                if outputs is None:
                    continue
                if outputs.extracted is not None and statistics is not None:
                    statistics.update(outputs.extracted.features_BF)
                    features += [outputs.extracted.features_BF] if rows else []
                    logits += [outputs.extracted.logits_BC] if outputs.extracted.logits_BC is not None else []
                embeddings += [outputs.embeddings_BF] if outputs.embeddings_BF is not None else []
                detected += outputs.detected or []
                bar.update(outputs.count)
    return ExtractedFeatures(
        statistics,
        torch.cat(features) if features else None,
        torch.cat(logits) if logits else None,
        torch.cat(embeddings) if embeddings else None,
        detected if networks.detector is not None else None,
        time.perf_counter() - began,
    )


class NetworkOutputs(NamedTuple):
    """Outputs of the networks for one batch."""

    count: int
    extracted: ImageFeatures | None
    embeddings_BF: Tensor | None
    detected: list[set[int]] | None


def run_networks(networks: EvaluationNetworks, pixels_B3HW: Tensor) -> NetworkOutputs:
    """Run every network on a batch of uint8 pixels."""
    return NetworkOutputs(
        len(pixels_B3HW),
        networks.extractor(pixels_B3HW) if networks.extractor is not None else None,
        networks.encoder.encode_images(pixels_B3HW) if networks.encoder is not None else None,
        networks.detector(pixels_B3HW) if networks.detector is not None else None,
    )


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
    reference: Reference, extractor: FeatureExtractor, *, rows: bool, batch_size: int, progress: bool
) -> ExtractedFeatures:
    """Features of the real images, read from the cache if the same images were processed in the same way before."""
    path = reference.cache / f"{reference_key(reference, extractor, rows)}.safetensors"
    stored = read_cached(path)
    # One rank's cache may be damaged where another's is not: then all compute, since they gather each batch.
    if all(gather_objects(stored is not None)) and stored is not None:
        return stored
    extracted = extract_features(
        reference.images,
        reference.transform,
        EvaluationNetworks(extractor=extractor),
        rows=rows,
        batch_size=batch_size,
        label=f"real images of {reference.name}" if progress else None,
    )
    if is_main() and extracted.statistics is not None:
        stored = extracted.statistics.to_tensors()
        if extracted.features_NF is not None:
            stored["features_NF"] = extracted.features_NF
        make_folder(reference.cache)
        save_tensors(stored, path)
    return extracted


def read_cached(path: Path) -> ExtractedFeatures | None:
    """The features in a cache file; None if there is none, or it is damaged: then they are computed anew."""
    if not path.is_file():
        return None
    try:
        stored = read_tensors(path)
        features = stored.pop("features_NF", None)
        return ExtractedFeatures(FeatureStatistics.from_tensors(stored), features)
    except (ValueError, RuntimeError, OSError) as error:
        say(f"computing the features of real images again: {error}")
        return None


def reference_key(reference: Reference, extractor: FeatureExtractor, rows: bool) -> str:
    """A cache key that changes with the images, their processing and the network."""
    key = {
        "images": fingerprint(reference.images),
        "size": reference.transform.size,
        "fit": reference.transform.fit,
        "network": extractor.name,
        "weights": extractor.weights_sha256,
        "protocol": extractor.protocol,
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


def file_identity(path: Path) -> str:
    """Name, size, time and ends of a file."""
    state = path.stat()
    return f"{path.name} {state.st_size} {state.st_mtime_ns} {ends(path, 0, state.st_size)}"


def ends(path: Path, offset: int, length: int, most: int = 4096) -> str:
    """A hash of the first and the last bytes of a part of a file: two pictures of one size and time differ there."""
    with path.open("rb") as file:
        file.seek(offset)
        content = file.read(min(length, most))
        file.seek(offset + max(0, length - most))
        return hashlib.sha256(content + file.read(min(length, most))).hexdigest()
