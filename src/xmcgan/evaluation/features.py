"""One pass of the evaluation networks over images; each rank takes every N-th batch."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from xmcgan.data.images import ImageTransform
from xmcgan.data.records import Record, Slice
from xmcgan.evaluation.networks.load import load_detector, load_dual_encoder, load_feature_extractor
from xmcgan.evaluation.networks.protocols import Detector, DualEncoder, FeatureExtractor, ImageFeatures
from xmcgan.evaluation.results import Setting
from xmcgan.metrics.frechet import FeatureStatistics
from xmcgan.runtime.distributed import gather_objects, is_main, rank, world_size
from xmcgan.runtime.files import atomic_file

DISTRIBUTION = ("fid", "kid", "precision", "recall", "density", "coverage")

RETRIEVAL = ("r-precision", "contrastive-accuracy", "clip-score")

OBJECTS = ("soa-c", "soa-i")

METRICS = (*DISTRIBUTION, "is", *RETRIEVAL, *OBJECTS)
"""Every metric, by its name in a result."""

LOWER_IS_BETTER = ("fid", "kid")

GROUPS = {"soa": OBJECTS, "prdc": ("precision", "recall", "density", "coverage")}
"""Names that ask for several metrics."""

METRICS_OF = {"extractor": (*DISTRIBUTION, "is"), "encoder": RETRIEVAL, "detector": OBJECTS}
"""The metrics that each judge serves."""

READING_THREADS = 4

Value = TypeVar("Value")


@dataclass(frozen=True)
class EvaluationNetworks:
    """The networks that judge images; each is needed only by its metrics.

    Args:
        extractor: of fid, kid, precision, recall, density, coverage and is.
        encoder: of r-precision, contrastive-accuracy and clip-score.
        detector: of soa-c and soa-i.
    """

    extractor: FeatureExtractor | None = None
    encoder: DualEncoder | None = None
    detector: Detector | None = None

    def needed(self, metrics: Sequence[str]) -> "EvaluationNetworks":
        """Those that some metrics need.

        Raises:
            ValueError: on an unknown metric, or one whose judge is not there.
        """
        unknown = [name for name in metrics if name not in METRICS]
        if unknown:
            raise ValueError(f"unknown metric {', '.join(unknown)}; there is {', '.join(METRICS)}")
        kept = {}
        for role, served in METRICS_OF.items():
            asked = [name for name in metrics if name in served]
            if asked and getattr(self, role) is None:
                raise ValueError(f"{', '.join(asked)} needs the {role} of EvaluationNetworks, and there is none")
            kept[role] = getattr(self, role) if asked else None
        return EvaluationNetworks(**kept)

    def of(self, metric: str) -> FeatureExtractor | DualEncoder | Detector:
        """The judge that serves a metric."""
        return given(next(getattr(self, role) for role, served in METRICS_OF.items() if metric in served))


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
    """The networks that some metrics need: those named, or else those that go with the data.

    Args:
        names: of ``extractor``, ``encoder`` and ``detector``, as ``evaluators.load`` knows them; None is the usual one.
        weights: of the same, a file, a folder or a hub name; None is what comes with the name.
        scenes: whether the data are Scenes, whose judges are in the package, or photographs.

    Raises:
        ValueError: on an unknown name, or weights that are missing or not those of the network.
        FileNotFoundError: if there is no such file of weights.
    """
    usual = SCENES_NETWORKS if scenes else PHOTOGRAPH_NETWORKS

    def loaded(role: str, load: Callable[..., Value]) -> Value | None:
        if not any(name in METRICS_OF[role] for name in metrics):
            return None
        return load(names.get(role) or usual[role], weights.get(role), device=device)

    return EvaluationNetworks(
        extractor=loaded("extractor", load_feature_extractor),
        encoder=loaded("encoder", load_dual_encoder),
        detector=loaded("detector", load_detector),
    )


def metric_names(text: str) -> list[str]:
    """The metrics that a text such as ``fid,is,soa`` asks for, each once.

    Raises:
        ValueError: on an unknown name.
    """
    names = [name for each in text.split(",") for name in GROUPS.get(each.strip(), (each.strip(),))]
    for name in names:
        if name not in METRICS:
            raise ValueError(f"unknown metric {name!r}; there is {', '.join([*METRICS, *GROUPS])}")
    return list(dict.fromkeys(names))


class ExtractedFeatures(NamedTuple):
    """What the judges say of a set of images, in its order; on every rank."""

    statistics: FeatureStatistics | None = None
    features_NF: Tensor | None = None  # only where a metric needs every row
    logits_NC: Tensor | None = None
    embeddings_NF: Tensor | None = None
    detected: list[set[int]] | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Reference:
    """Real images that drawn ones are compared with as a distribution.

    Args:
        images: the real images.
        transform: how each becomes a square, before the extractor's own resizing.
        cache: folder in which their features are kept.
        name: of the split, for the result.
    """

    images: Sequence[Record]
    transform: ImageTransform
    cache: Path
    name: str

    def choices(self) -> dict[str, Setting]:
        """What a result says of it."""
        return {
            "reference": self.name,
            "reference_images": len(self.images),
            "reference_fit": self.transform.fit,
            "reference_size": self.transform.size,
        }


def given(value: Value | None) -> Value:
    """What the judges that a metric needs are sure to have given."""
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
    """What the judges say of images, each read once; the ranks take turns at the batches.

    Args:
        rows: whether every image's features are kept, or only their mean and covariance.
        label: of the progress bar; None shows none.
    """
    began = time.perf_counter()
    statistics = FeatureStatistics(networks.extractor.dim) if networks.extractor is not None else None
    features: list[Tensor] = []
    logits: list[Tensor] = []
    embeddings: list[Tensor] = []
    detected: list[set[int]] = []
    with tqdm(total=len(images), unit="image", desc=label, disable=label is None or not is_main()) as bar:
        for pixels in rank_batches(images, transform, batch_size):
            # Gathered and taken in the order of the images: a sum's last bits depend on it.
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
    """What the judges say of one batch."""

    count: int
    extracted: ImageFeatures | None
    embeddings_BF: Tensor | None
    detected: list[set[int]] | None


def run_networks(networks: EvaluationNetworks, pixels_B3HW: Tensor) -> NetworkOutputs:
    """Every judge's word on a batch of uint8 pixels."""
    return NetworkOutputs(
        len(pixels_B3HW),
        networks.extractor(pixels_B3HW) if networks.extractor is not None else None,
        networks.encoder.encode_images(pixels_B3HW) if networks.encoder is not None else None,
        networks.detector(pixels_B3HW) if networks.detector is not None else None,
    )


def rank_batches(images: Sequence[Record], transform: ImageTransform, batch_size: int) -> Iterator[Tensor | None]:
    """The batches of this rank: of every N one, None in a last round that has none left for it."""
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


# Real images, judged once


def extract_reference_features(
    reference: Reference, extractor: FeatureExtractor, *, rows: bool, batch_size: int, progress: bool
) -> ExtractedFeatures:
    """The features of real images, from the cache where the same images were judged in the same way."""
    path = reference.cache / f"{reference_key(reference, extractor, rows)}.safetensors"
    if path.exists():
        stored = load_file(path)
        features = stored.pop("features_NF", None)
        return ExtractedFeatures(FeatureStatistics.from_tensors(stored), features)
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
        reference.cache.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as partial:
            save_file(stored, partial)
    return extracted


def reference_key(reference: Reference, extractor: FeatureExtractor, rows: bool) -> str:
    """A name that changes with the images, with what is done to them, and with the network."""
    what = {
        "images": fingerprint(reference.images),
        "size": reference.transform.size,
        "fit": reference.transform.fit,
        "network": extractor.name,
        "weights": extractor.weights_sha256,
        "protocol": extractor.protocol,
        "rows": rows,
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]


def fingerprint(images: Sequence[Record]) -> str:
    """A hash of images that is quick to take: of files their names, sizes and times of change, not their content."""
    digest = hashlib.sha256()
    for record in images:
        match record.image:
            case bytes(content):
                identity = hashlib.sha256(content).hexdigest()
            case Slice(file, offset, length):
                identity = f"{file.name} {offset} {length} {file.stat().st_mtime_ns}"
            case path:
                identity = f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}"
        digest.update(f"{record.id} {identity}\n".encode())
    return digest.hexdigest()
