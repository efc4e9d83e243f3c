"""``xmcgan evaluate``: many metrics of a model's images, another system's, or real ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from xmcgan.cli.evaluate_images import (
    closest_pairs,
    data_name,
    defaults_named,
    find_or_generate,
    folder_name,
    line_of,
    official_requests,
    refuse_prepared_otherwise,
    side_of,
    side_of_image,
    system_name,
    without_distances,
    write_requests,
)
from xmcgan.config import DatasetConfig, DialectName, Layout
from xmcgan.evaluation.results import Result, Setting, append_results, check_appendable
from xmcgan.runtime.progress import say

if TYPE_CHECKING:
    import torch

    from xmcgan.data.records import Record
    from xmcgan.evaluation.caption_sets import CaptionSet
    from xmcgan.evaluation.chosen_networks import EvaluationNetworks
    from xmcgan.evaluation.image_set import Request
    from xmcgan.inference.pipeline import Pipeline

COUNT = 30_000
"""Number of images in the paper's evaluation."""

SIZES = (8, 2048)
"""Smallest and largest side of evaluated images, in pixels."""


@dataclass(frozen=True)
class Images:
    """Which images are evaluated: give one of --model, --images and --real.

    Args:
        model: a run, a checkpoint, a saved pipeline, a hub name, or scenes-64, which generates them.
        images: a folder of another system's images, each named by its caption's id (--write-captions).
        real: the real images that the captions describe.
        system: the row's name in tables.
        count: number of images; by default 30,000, or all captions if there are fewer.
        seed: seed for the choice of captions and for the images.
        size: side of the evaluated images; by default the model's.
        truncation: factor on the noise, 0 to 1; less than 1 is another protocol.
        trained_with: for another system's images: the pretrained networks that it was trained with, such as clip,vgg19,
            separated by commas. Numbers from these networks are marked.
    """

    model: str | None = None
    images: Path | None = None
    real: bool = False
    system: str | None = None
    count: int | None = None
    seed: int = 0
    size: int | None = None
    truncation: float = 1.0
    trained_with: str | None = None


@dataclass(frozen=True)
class Data:
    """The data set.

    Args:
        data: its folder, as its owners publish it, or prepared.
        name: name that tables group results by; by default from the data.
        layout: layout of the data; by default the model's, or coco.
        dialect: dialect of a .csv or .tsv, if the detected one is wrong; unquoted: quotation marks are text.
        split: split of the captions; by default the model's validation split, or val2014.
        fit: how real images become squares: squash, or crop their middle.
        resize: also accept data prepared for another size or fit, and resize it again; refused otherwise.
        reference_split: real images for FID and the like; by default the split of the captions.
        train_split: images that the system was trained on, for authenticity and ct-score; by default the model's, or
            train2014.
    """

    data: Path
    name: str | None = None
    layout: Layout | None = None
    dialect: DialectName | None = None
    split: str | None = None
    fit: Literal["squash", "crop"] = "squash"
    resize: bool = False
    reference_split: str | None = None
    train_split: str | None = None


@dataclass(frozen=True)
class Networks:
    """The evaluation networks, by default the ones that suit the data (docs/evaluators.md).

    Args:
        extractor: network for fid, kid, is, precision, recall, density, coverage, authenticity, ct-score and diversity.
        extractor_weights: its weights: a local file, a folder, or a hub name.
        encoder: network for r-precision, contrastive-accuracy, clip-score and positional-alignment, and for colours in
            exact questions about photographs.
        encoder_weights: its weights: a local file, a folder, or a hub name.
        detector: network for soa; on photographs also for the metrics of boxes.
        detector_weights: its weights: a local file, a folder, or a hub name.
        boxes: a detector for exact questions, counting-alignment, o-is and o-fid.
        boxes_weights: its weights: a local file, a folder, or a hub name.
        second: a second feature extractor, for fd-dinov2; dinov2 by default.
        second_weights: its weights; if given, fd-dinov2 is computed along with fid.
        precision: precision of all networks; half precision is another protocol.
        soa_captions: folder of the official caption lists of SOA.
        soa_partial: accept fewer than the 80 lists.
    """

    extractor: str | None = None
    extractor_weights: str | None = None
    encoder: str | None = None
    encoder_weights: str | None = None
    detector: str | None = None
    detector_weights: str | None = None
    boxes: str | None = None
    boxes_weights: str | None = None
    second: str | None = None
    second_weights: str | None = None
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    soa_captions: Path | None = None
    soa_partial: bool = False


def evaluate(
    *,
    metrics: str = "fid,is,r-precision,soa",
    output: Path = Path("evaluations"),
    batch_size: int = 50,
    device: str = "auto",
    write_captions: Path | None = None,
    images: Images,
    data: Data,
    networks: Networks,
) -> int:
    """Compute the paper's metrics of a model's images, another system's, or real ones.

    Generates images for captions of a data set, or takes existing images, and computes every metric in one pass.
    Writes OUTPUT/results.jsonl (one line per metric), OUTPUT/sets/SYSTEM (the images with their captions) and
    OUTPUT/cache (features of real images); with authenticity also OUTPUT/neighbours/SYSTEM.html, the training images
    nearest to generated ones. Repeat the command to resume; under torchrun the ranks share the work.

    Args:
        metrics: names separated by commas (docs/evaluation.md); soa, prdc, questions, memorization and tise are groups.
        output: folder of results, image sets and cache.
        batch_size: images per forward pass; no result depends on it.
        device: auto, cpu, cuda, ...
        write_captions: only write the captions, with their ids, so that another system can generate their images.

    Examples:
        xmcgan evaluate --model runs/first --data data/scenes-64 --metrics fid,r-precision,soa
        xmcgan evaluate --real --data data/scenes-64
    """
    sources = {"--model": images.model, "--images": images.images, "--real": images.real or None}
    given = [name for name, value in sources.items() if value is not None]
    if images.size is not None and not SIZES[0] <= images.size <= SIZES[1]:
        raise ValueError(f"--size is {images.size}; it should be {SIZES[0]} to {SIZES[1]} pixels")
    if batch_size < 1:
        raise ValueError(f"--batch-size is {batch_size}; it should be at least 1")
    if len(given) != 1 and write_captions is None:
        raise ValueError(f"give one of --model, --images and --real, not {' and '.join(given) or 'none'}")

    from xmcgan.evaluation.metric_names import metric_names
    from xmcgan.inference.pipeline import Pipeline
    from xmcgan.runtime.device import resolve_device
    from xmcgan.runtime.distributed import process_group

    metric_names(metrics)  # refuses an unknown name before anything is read

    with process_group(resolve_device(device)) as place:
        pipe = Pipeline.from_pretrained(images.model, device=str(place)) if images.model else None
        source = find_source(images, data, networks, pipe)
        if write_captions is not None:
            own = [request for each in sets_of(source, metrics) for request in each.requests]
            every = {request.id: request for request in [*source.requests, *source.listed, *own]}
            return write_requests(write_captions, list(every.values()))
        return evaluate_source(source, networks, metrics, output, batch_size, place)


@dataclass(frozen=True)
class Source:
    """The captions and where their images come from."""

    images: Images
    data: Data
    pipe: "Pipeline | None"
    layout: str
    split: str
    records: "Sequence[Record]"
    requests: "list[Request]"  # a random caption for each image
    listed: "list[Request]"  # captions of the official SOA lists
    system: str


def find_source(images: Images, data: Data, networks: Networks, pipe: "Pipeline | None") -> Source:
    """Reads the data set and chooses the captions."""
    from xmcgan.data.layouts import read_records
    from xmcgan.evaluation.image_set import random_captions

    dataset = pipe.config.dataset if pipe else DatasetConfig()
    layout, split = data.layout or dataset.layout, data.split or dataset.validation_split
    try:
        records = read_records(str(data.data), layout, split, dialect=data.dialect)
    except (FileNotFoundError, ValueError) as error:
        if not (guessed := defaults_named(data, layout, split, pipe)):
            raise
        raise type(error)(f"{error}. {guessed}") from error
    count = images.count
    if count is None:
        count = min(COUNT, sum(len(record.captions) for record in records))
    requests = random_captions(records, count, seed=images.seed)
    listed = official_requests(networks, images.seed) if networks.soa_captions else []
    system = " ".join((images.system or system_name(images, pipe)).split())
    return Source(images, data, pipe, layout, split, records, requests, listed, system)


def evaluate_source(
    source: Source, networks: Networks, metrics: str, output: Path, batch_size: int, device: "torch.device"
) -> int:
    """Generates or finds the images of each set of captions, evaluates them, and adds the results."""
    from xmcgan.data.layouts import read_records
    from xmcgan.evaluation.checks import check_metrics
    from xmcgan.evaluation.metric_names import TRAINING, metric_names
    from xmcgan.evaluation.remaining import time_left_shown
    from xmcgan.runtime.distributed import is_main, on_main

    data, split = source.data, source.split
    reference_split = data.reference_split or split
    names = metric_names(metrics)
    if networks.second_weights and "fid" in names and "fd-dinov2" not in names:
        names.insert(names.index("fid") + 1, "fd-dinov2")
    if source.images.real and reference_split == split:
        names = without_distances(names, split)
    results_file = output / "results.jsonl"
    on_main(check_appendable, results_file)
    references = source.records
    if reference_split != split:
        references = read_records(str(data.data), source.layout, reference_split, dialect=data.dialect)
    trained = []
    if any(name in TRAINING for name in names):
        trained = read_records(str(data.data), source.layout, train_split(source), dialect=data.dialect)
    refuse_prepared_otherwise(data, side_of(source), names, references, trained)  # before any image is generated
    loaded = load_networks(networks, names, data.data, str(device))
    sets = sets_of(source, ",".join(names))
    for each in sets:
        check_metrics(each.metrics, each.requests, len(references), loaded)
    with time_left_shown(planned(source, sets, len(references), len(trained))):
        for each in sets:
            evaluate_set(source, each, loaded, references, trained, output, batch_size)
    if is_main():
        say(f"\n{results_file} has them; `xmcgan compare` makes tables of it")
    return 0


def sets_of(source: Source, metrics: str) -> "list[CaptionSet]":
    """The sets of captions that the metrics need."""
    from xmcgan.evaluation.caption_sets import caption_sets
    from xmcgan.evaluation.metric_names import metric_names

    return caption_sets(
        metric_names(metrics),
        requests=source.requests,
        listed=source.listed,
        records=source.records,
        scenes=(source.data.data / "scenes.json").is_file(),
        real=source.images.real,
        seed=source.images.seed,
    )


def evaluate_set(
    source: Source,
    chosen: "CaptionSet",
    loaded: "EvaluationNetworks",
    references: "Sequence[Record]",
    trained: "Sequence[Record]",
    output: Path,
    batch_size: int,
) -> None:
    """Evaluates the images of one set of captions, and adds each result as soon as it is known."""
    from xmcgan.data.images import ImageTransform
    from xmcgan.evaluation import evaluate as evaluation
    from xmcgan.evaluation.features import Reference
    from xmcgan.evaluation.image_set import captions_sha256
    from xmcgan.evaluation.inputs import MetricInputs
    from xmcgan.evaluation.metric_names import TRAINING
    from xmcgan.pages.neighbours import write_neighbours_page
    from xmcgan.runtime.distributed import is_main

    images = find_or_generate(source, f"{source.system} {chosen.name}".strip(), chosen.requests, output)
    pipe, data = source.pipe, source.data
    transform = ImageTransform(side_of(source) or side_of_image(images[0]), data.fit)
    refuse_prepared_otherwise(data, transform.size, chosen.metrics, references, trained)
    reference_split = data.reference_split or source.split
    reference = Reference(references, transform, output / "cache", f"{source.layout} {reference_split}")
    training = None
    if trained:
        training = Reference(trained, transform, output / "cache", f"{source.layout} {train_split(source)}")

    def write(result: Result) -> None:
        if is_main():
            append_results(output / "results.jsonl", [result])
            say(line_of(result))

    def inspect(inputs: MetricInputs) -> None:
        if is_main() and any(name in TRAINING for name in chosen.metrics):
            page = output / "neighbours" / f"{folder_name(source.system)}.html"
            closest = closest_pairs(inputs, trained, references if inputs.real.features_NF is not None else ())
            say(f"{write_neighbours_page(page, closest, title=source.system, pipe=pipe)} shows the closest pairs")

    evaluation.evaluate(
        images,
        chosen.requests,
        transform=transform,
        networks=loaded,
        metrics=chosen.metrics,
        system=source.system,
        protocol=protocol_of(source) | {"captions_sha256": captions_sha256(chosen.requests)} | chosen.protocol,
        reference=reference,
        training=training,
        asking=chosen.asking,
        batch_size=batch_size,
        done=write,
        inspect=inspect,
    )


def train_split(source: Source) -> str:
    """The split that the system was trained on."""
    dataset = source.pipe.config.dataset if source.pipe else DatasetConfig()
    return source.data.train_split or dataset.split


def planned(source: Source, sets: "Sequence[CaptionSet]", references: int, trained: int) -> dict[str, int]:
    """How many images there are to generate, to evaluate, and to compare with."""
    from xmcgan.evaluation.metric_names import DISTRIBUTION
    from xmcgan.runtime.distributed import world_size

    images = sum(len(each.requests) for each in sets)
    compared = any(name in (*DISTRIBUTION, "ct-score") for each in sets for name in each.metrics)
    generated = -(-images // world_size()) if source.pipe else 0
    return {"generating": generated, "evaluating": images, "real images": references * compared + trained}


def protocol_of(source: Source) -> dict[str, Setting]:
    """The settings of data and captions that every result records."""
    from xmcgan.evaluation.seen import join_families, trained_with

    settings: dict[str, Setting] = {
        "data": source.data.name or data_name(source.data.data, source.layout, source.split),
        "layout": source.layout,
        "split": source.split,
    }
    if source.images.truncation != 1:
        settings["truncation"] = source.images.truncation
    if source.pipe is not None:
        settings["trained_with"] = trained_with(source.pipe.config)
        batches = source.pipe.config.training.batch_norm_batches
        if batches:
            settings["batch_norm"] = f"re-estimated over {batches} batches"
    elif source.images.trained_with:
        settings["trained_with"] = join_families(source.images.trained_with.split(","))
    return settings


def load_networks(networks: Networks, metrics: Sequence[str], data: Path, device: str) -> "EvaluationNetworks":
    """The evaluation networks that the metrics need: the named ones, or defaults for the data."""
    from xmcgan.evaluation.chosen_networks import load_evaluation_networks

    roles = ("extractor", "encoder", "detector", "boxes", "second")
    return load_evaluation_networks(
        metrics,
        {role: getattr(networks, role) for role in roles},
        {role: getattr(networks, f"{role}_weights") for role in roles},
        scenes=(data / "scenes.json").is_file(),
        device=device,
        precision=networks.precision,
    )
