"""One pass over images, many metrics, one result each, with every choice that changes the number beside it.

Images of any origin are judged alike: drawn by this library, by another system, or real. Each rank judges every
N-th batch; what the networks say is gathered and put together in the order of the images, so that a result depends
neither on the batch size nor on the number of ranks.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from xmcgan.data.captions import ImageTransform
from xmcgan.data.records import Record, Slice
from xmcgan.data.soa_rules import classes_in
from xmcgan.distributed import gather_objects, is_main, rank, world_size
from xmcgan.evaluators.load import load_detector, load_dual_encoder, load_feature_extractor
from xmcgan.evaluators.protocols import Detector, DualEncoder, FeatureExtractor, ImageFeatures
from xmcgan.image_set import Request
from xmcgan.metrics.frechet import FeatureStatistics, frechet_distance
from xmcgan.metrics.inception_score import inception_score
from xmcgan.metrics.kernel import kernel_distance
from xmcgan.metrics.precision_recall import PrecisionRecall, precision_recall_density_coverage
from xmcgan.metrics.retrieval import clip_score, contrastive_accuracy, r_precision
from xmcgan.metrics.soa import semantic_object_accuracy
from xmcgan.results import Result, Setting

DISTRIBUTION = ("fid", "kid", "precision", "recall", "density", "coverage")
RETRIEVAL = ("r-precision", "contrastive-accuracy", "clip-score")
OBJECTS = ("soa-c", "soa-i")
METRICS = (*DISTRIBUTION, "is", *RETRIEVAL, *OBJECTS)
"""Every metric, by its name in a result."""

LOWER_IS_BETTER = ("fid", "kid")

GROUPS = {"soa": OBJECTS, "prdc": ("precision", "recall", "density", "coverage")}
"""Names that ask for several metrics."""

SERVES = {"extractor": (*DISTRIBUTION, "is"), "encoder": RETRIEVAL, "detector": OBJECTS}
"""The metrics that each judge serves."""

SEED = 0  # of what the metrics draw: splits, subsets, mismatched captions, batches
SPLITS, NEIGHBOURS, DENSITY_NEIGHBOURS, KID_SUBSETS, KID_SUBSET = 10, 3, 5, 100, 1000
MISMATCHED, FOLDS, CONTRASTIVE_BATCH = 99, 10, 100
CLIP_WEIGHT, CLIP_PROMPT = 2.5, "A photo depicts "

READING_THREADS = 4

Value = TypeVar("Value")


@dataclass(frozen=True)
class Judges:
    """The networks that judge images; each is needed only by its metrics.

    Args:
        extractor: of fid, kid, precision, recall, density, coverage and is.
        encoder: of r-precision, contrastive-accuracy and clip-score.
        detector: of soa-c and soa-i.
    """

    extractor: FeatureExtractor | None = None
    encoder: DualEncoder | None = None
    detector: Detector | None = None

    def needed(self, metrics: Sequence[str]) -> "Judges":
        """Those that some metrics need.

        Raises:
            ValueError: on an unknown metric, or one whose judge is not there.
        """
        unknown = [name for name in metrics if name not in METRICS]
        if unknown:
            raise ValueError(f"unknown metric {', '.join(unknown)}; there is {', '.join(METRICS)}")
        kept = {}
        for judge, served in SERVES.items():
            asked = [name for name in metrics if name in served]
            if asked and getattr(self, judge) is None:
                raise ValueError(f"{', '.join(asked)} needs the {judge} of xmcgan.evaluate.Judges, and there is none")
            kept[judge] = getattr(self, judge) if asked else None
        return Judges(**kept)

    def of(self, metric: str) -> FeatureExtractor | DualEncoder | Detector:
        """The judge that serves a metric."""
        return given(next(getattr(self, judge) for judge, served in SERVES.items() if metric in served))


SCENES_JUDGES = {"extractor": "scenes-dual-encoder", "encoder": "scenes-dual-encoder", "detector": "scenes-presence"}
PHOTOGRAPH_JUDGES = {"extractor": "inception-v3-tf", "encoder": "clip", "detector": "fasterrcnn_resnet50_fpn_v2"}


def load_judges(
    metrics: Sequence[str],
    names: Mapping[str, str | None],
    weights: Mapping[str, str | None],
    *,
    scenes: bool,
    device: torch.device | str,
) -> Judges:
    """The networks that some metrics need: those named, or else those that go with the data.

    Args:
        names: of ``extractor``, ``encoder`` and ``detector``, as ``evaluators.load`` knows them; None is the usual one.
        weights: of the same, a file, a folder or a hub name; None is what comes with the name.
        scenes: whether the data are Scenes, whose judges are in the package, or photographs.

    Raises:
        ValueError: on an unknown name, or weights that are missing or not those of the network.
        FileNotFoundError: if there is no such file of weights.
    """
    usual = SCENES_JUDGES if scenes else PHOTOGRAPH_JUDGES

    def loaded(judge: str, load: Callable[..., Value]) -> Value | None:
        if not any(name in SERVES[judge] for name in metrics):
            return None
        return load(names.get(judge) or usual[judge], weights.get(judge), device=device)

    return Judges(
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


class Judged(NamedTuple):
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


def evaluate(
    images: Sequence[Record],
    requests: Sequence[Request],
    *,
    transform: ImageTransform,
    judges: Judges,
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
        judges: at least those that the metrics need.
        metrics: of ``METRICS``.
        system: what made the images.
        protocol: how requests were chosen and images made, put into every result.
        reference: real images, for the metrics that compare distributions.

    Raises:
        ValueError: on an unknown metric, a metric whose judge or reference is not given, or too few images for it.
    """
    judges = judges.needed(metrics)
    if len(images) != len(requests):
        raise ValueError(f"{len(images)} images but {len(requests)} requests; each image answers one")
    distribution = [name for name in metrics if name in DISTRIBUTION]
    if distribution and reference is None:
        raise ValueError(f"{', '.join(distribution)} compares with real images; give a reference")
    rows = any(name != "fid" for name in distribution)
    judged = judge(images, transform, judges, rows=rows, batch_size=batch_size, label=system if progress else None)
    real = Judged()
    if distribution and reference is not None and judges.extractor is not None:
        real = judge_reference(reference, judges.extractor, rows=rows, batch_size=batch_size, progress=progress)
    evidence = Evidence(judged, real, requests, judges.encoder, judges.detector)

    common = {**protocol, "image_size": transform.size, "fit": transform.fit, "pixels": "uint8"}
    results = []
    for metric in metrics:
        began = time.perf_counter()
        measured = measure(metric, evidence)
        network = judges.of(metric)
        choices: dict[str, Setting] = {"network": network.name, "weights_sha256": network.weights_sha256}
        if metric in DISTRIBUTION and reference is not None:
            choices |= reference.choices()
        results.append(
            Result(
                metric=metric,
                value=measured.value,
                uncertainty=measured.uncertainty,
                samples=len(images),
                system=system,
                protocol={**common, **network.protocol, **choices, **measured.settings},
                seconds=round(judged.seconds + time.perf_counter() - began, 2),
            )
        )
    return results


@dataclass(frozen=True)
class Evidence:
    """All that metrics are computed from; what several of them share is computed once, when first asked for."""

    judged: Judged
    real: Judged
    requests: Sequence[Request]
    encoder: DualEncoder | None
    detector: Detector | None

    @cached_property
    def pairs(self) -> tuple[Tensor, Tensor]:
        """Embeddings of the images and of their captions."""
        return given(self.judged.embeddings_NF), self.captions_NF("")

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
            given(self.judged.features_NF),
            neighbours=NEIGHBOURS,
            density_neighbours=DENSITY_NEIGHBOURS,
        )


class Measured(NamedTuple):
    """A metric's value, its uncertainty where it has one, and the settings of its own."""

    value: float
    uncertainty: float | None
    settings: Mapping[str, Setting]


def measure(metric: str, evidence: Evidence) -> Measured:
    """One metric from what the judges said."""
    judged, real = evidence.judged, evidence.real
    match metric:
        case "fid":
            return Measured(frechet_distance(given(judged.statistics), given(real.statistics)), None, {})
        case "kid":
            drawn, true = given(judged.features_NF), given(real.features_NF)
            subset = min(KID_SUBSET, len(drawn), len(true))
            return Measured(
                *kernel_distance(drawn, true, subsets=KID_SUBSETS, subset_size=subset, seed=SEED),
                {"subsets": KID_SUBSETS, "subset_size": subset, "draw": SEED},
            )
        case "precision" | "recall":
            return Measured(getattr(evidence.neighbourhoods, metric), None, {"neighbours": NEIGHBOURS})
        case "density" | "coverage":
            return Measured(getattr(evidence.neighbourhoods, metric), None, {"neighbours": DENSITY_NEIGHBOURS})
        case "is":
            if judged.logits_NC is None:
                raise ValueError("is needs an extractor that is a classifier, such as inception-v3-tf")
            return Measured(
                *inception_score(judged.logits_NC, splits=SPLITS, seed=SEED), {"splits": SPLITS, "draw": SEED}
            )
        case "r-precision":
            ids = [request.image_id for request in evidence.requests]
            found = r_precision(*evidence.pairs, image_ids=ids, mismatched=MISMATCHED, folds=FOLDS, seed=SEED)
            return Measured(*found, {"mismatched": MISMATCHED, "folds": FOLDS, "draw": SEED})
        case "contrastive-accuracy":
            found = contrastive_accuracy(*evidence.pairs, batch_size=CONTRASTIVE_BATCH, seed=SEED)
            return Measured(*found, {"contrastive_batch": CONTRASTIVE_BATCH, "draw": SEED})
        case "clip-score":
            # CLIP is asked as its authors ask it; an encoder without prompts in its training has none here.
            prompt = CLIP_PROMPT if given(evidence.encoder).name == "clip" else ""
            score = clip_score(given(judged.embeddings_NF), evidence.captions_NF(prompt), weight=CLIP_WEIGHT)
            return Measured(score, None, {"weight": CLIP_WEIGHT, "prompt": prompt})
        case _:
            return measure_objects(metric, evidence)


def measure_objects(metric: str, evidence: Evidence) -> Measured:
    """SOA-C or SOA-I: of the category each caption is listed for, or else of all that it names and the judge can see.

    "A wooden table" is a dining table to COCO; a judge of Scenes, whose tables are no objects, is not asked for it.
    """
    requests, sees = evidence.requests, given(evidence.detector).sees
    listed = all(request.category is not None for request in requests)
    detected, wanted = [], []
    for seen, request in zip(given(evidence.judged.detected), requests, strict=True):
        for category in [request.category] if listed else sorted(classes_in(request.caption) & sees):
            detected.append(seen)
            wanted.append(category)
    if not wanted:
        raise ValueError(f"{metric}: no caption names a category that the detector can see")
    soa = semantic_object_accuracy(detected, wanted)
    rule = "official lists" if listed else "word rules that follow the lists"
    settings = {"objects": rule, "objects_wanted": len(wanted), "categories": len(soa.counts)}
    return Measured(soa.c if metric == "soa-c" else soa.i, None, settings)


def given(value: Value | None) -> Value:
    """What the judges that a metric needs are sure to have given."""
    assert value is not None
    return value


# One pass over images


def judge(
    images: Sequence[Record],
    transform: ImageTransform,
    judges: Judges,
    *,
    rows: bool,
    batch_size: int,
    label: str | None,
) -> Judged:
    """What the judges say of images, each read once; the ranks take turns at the batches.

    Args:
        rows: whether every image's features are kept, or only their mean and covariance.
        label: of the progress bar; None shows none.
    """
    began = time.perf_counter()
    statistics = FeatureStatistics(judges.extractor.dim) if judges.extractor is not None else None
    features: list[Tensor] = []
    logits: list[Tensor] = []
    embeddings: list[Tensor] = []
    detected: list[set[int]] = []
    with tqdm(total=len(images), unit="image", desc=label, disable=label is None or not is_main()) as bar:
        for pixels in own_batches(images, transform, batch_size):
            # Gathered and taken in the order of the images: a sum's last bits depend on it.
            for said in gather_objects(None if pixels is None else opinions(judges, pixels)):
                if said is None:
                    continue
                if said.extracted is not None and statistics is not None:
                    statistics.update(said.extracted.features_BF)
                    features += [said.extracted.features_BF] if rows else []
                    logits += [said.extracted.logits_BC] if said.extracted.logits_BC is not None else []
                embeddings += [said.embeddings_BF] if said.embeddings_BF is not None else []
                detected += said.detected or []
                bar.update(said.count)
    return Judged(
        statistics,
        torch.cat(features) if features else None,
        torch.cat(logits) if logits else None,
        torch.cat(embeddings) if embeddings else None,
        detected if judges.detector is not None else None,
        time.perf_counter() - began,
    )


class Opinions(NamedTuple):
    """What the judges say of one batch."""

    count: int
    extracted: ImageFeatures | None
    embeddings_BF: Tensor | None
    detected: list[set[int]] | None


def opinions(judges: Judges, pixels_B3HW: Tensor) -> Opinions:
    """Every judge's word on a batch of uint8 pixels."""
    return Opinions(
        len(pixels_B3HW),
        judges.extractor(pixels_B3HW) if judges.extractor is not None else None,
        judges.encoder.encode_images(pixels_B3HW) if judges.encoder is not None else None,
        judges.detector(pixels_B3HW) if judges.detector is not None else None,
    )


def own_batches(images: Sequence[Record], transform: ImageTransform, batch_size: int) -> Iterator[Tensor | None]:
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


def judge_reference(
    reference: Reference, extractor: FeatureExtractor, *, rows: bool, batch_size: int, progress: bool
) -> Judged:
    """The features of real images, from the cache where the same images were judged in the same way."""
    path = reference.cache / f"{reference_key(reference, extractor, rows)}.safetensors"
    if path.exists():
        stored = load_file(path)
        features = stored.pop("features_NF", None)
        return Judged(FeatureStatistics.from_tensors(stored), features)
    judged = judge(
        reference.images,
        reference.transform,
        Judges(extractor=extractor),
        rows=rows,
        batch_size=batch_size,
        label=f"real images of {reference.name}" if progress else None,
    )
    if is_main() and judged.statistics is not None:
        stored = judged.statistics.to_tensors()
        if judged.features_NF is not None:
            stored["features_NF"] = judged.features_NF
        reference.cache.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".partial-{path.name}")
        save_file(stored, partial)
        partial.replace(path)
    return judged


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
                told = hashlib.sha256(content).hexdigest()
            case Slice(file, offset, length):
                told = f"{file.name} {offset} {length} {file.stat().st_mtime_ns}"
            case path:
                told = f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}"
        digest.update(f"{record.id} {told}\n".encode())
    return digest.hexdigest()
