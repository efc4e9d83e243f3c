"""``xmcgan evaluate``: many metrics of a model's images, of another system's, or of real ones."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from xmcgan.config import DatasetConfig
from xmcgan.evaluation.results import REAL_IMAGES, Result, Setting, append_results, check_appendable
from xmcgan.runtime.files import write_text
from xmcgan.runtime.progress import say

if TYPE_CHECKING:
    import torch

    from xmcgan.data.records import Record
    from xmcgan.evaluation.features import EvaluationNetworks
    from xmcgan.evaluation.image_set import Request
    from xmcgan.inference.pipeline import Pipeline

COUNT = 30_000
"""Images of the paper's evaluation."""

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
        seed: of the choice of captions and of the images.
        size: side of the evaluated images; by default the model's.
    """

    model: str | None = None
    images: Path | None = None
    real: bool = False
    system: str | None = None
    count: int | None = None
    seed: int = 0
    size: int | None = None


@dataclass(frozen=True)
class Data:
    """The data set.

    Args:
        data: its folder, in its owner's layout or prepared.
        name: by which tables group results; by default from the data.
        layout: of the data; by default the model's, or coco.
        split: of the captions; by default the model's validation split, or val2014.
        fit: how real images become squares: squash, or crop their middle.
        reference_split: real images for FID and the like; by default the split of the captions.
    """

    data: Path
    name: str | None = None
    layout: str | None = None
    split: str | None = None
    fit: Literal["squash", "crop"] = "squash"
    reference_split: str | None = None


@dataclass(frozen=True)
class Networks:
    """The evaluation networks, by default those that suit the data (docs/evaluators.md).

    Args:
        extractor: of fid, kid, is, precision, recall, density and coverage.
        extractor_weights: its weights: a local file, a folder, or a hub name.
        encoder: of r-precision, contrastive-accuracy and clip-score.
        encoder_weights: its weights: a local file, a folder, or a hub name.
        detector: of soa.
        detector_weights: its weights: a local file, a folder, or a hub name.
        soa_captions: folder of the official caption lists of SOA.
        soa_partial: accept fewer than the 80 lists.
    """

    extractor: str | None = None
    extractor_weights: str | None = None
    encoder: str | None = None
    encoder_weights: str | None = None
    detector: str | None = None
    detector_weights: str | None = None
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

    Generates images for captions of a data set, or takes images that are there, and computes every metric in one pass.
    Writes OUTPUT/results.jsonl (one line per metric), OUTPUT/sets/SYSTEM (the images with their captions) and
    OUTPUT/cache (features of real images). The same command again resumes; under torchrun the ranks share the work.

    Args:
        metrics: names with commas between (docs/evaluation.md); soa is soa-c,soa-i.
        output: folder of results, image sets and cache.
        batch_size: images in a forward pass; no result depends on it.
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

    from xmcgan.inference.pipeline import Pipeline
    from xmcgan.runtime.device import resolve_device
    from xmcgan.runtime.distributed import process_group

    with process_group(resolve_device(device)) as place:
        pipe = Pipeline.from_pretrained(images.model, device=str(place)) if images.model else None
        source = find_source(images, data, networks, pipe)
        if write_captions is not None:
            return write_requests(write_captions, [*source.requests, *source.listed])
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
    records = read_records(str(data.data), layout, split)
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
    """Generates or finds the images, evaluates them, and adds the results."""
    from xmcgan.data.images import ImageTransform
    from xmcgan.data.layouts import read_records
    from xmcgan.evaluation import evaluate as evaluation
    from xmcgan.evaluation.checks import check_metrics
    from xmcgan.evaluation.features import OBJECTS, Reference, metric_names
    from xmcgan.evaluation.image_set import captions_sha256
    from xmcgan.runtime.distributed import is_main, on_main

    pipe, split, layout = source.pipe, source.split, source.layout
    reference_split = source.data.reference_split or split
    names = metric_names(metrics)
    if source.images.real and reference_split == split:
        names = without_distances(names, split)
    results_file = output / "results.jsonl"
    on_main(check_appendable, results_file)
    loaded = load_networks(networks, names, source.data.data, str(device))
    references = source.records
    if reference_split != split:
        references = read_records(str(source.data.data), layout, reference_split)
    objects = [name for name in names if name in OBJECTS and source.listed]
    others = [name for name in names if name not in objects]
    for chosen, requests in ((others, source.requests), (objects, source.listed)):
        check_metrics(chosen, requests, len(references), loaded)
    images = find_or_generate(source, source.system, source.requests, output)
    side = source.images.size or (pipe.config.image_size if pipe else side_of(images[0]))
    transform = ImageTransform(side, source.data.fit)
    reference = Reference(references, transform, output / "cache", f"{layout} {reference_split}")

    def write(result: Result) -> None:
        if is_main():
            append_results(results_file, [result])
            say(line_of(result))

    def measure(chosen, images, requests, protocol):
        return evaluation.evaluate(
            images,
            requests,
            transform=transform,
            networks=loaded,
            metrics=chosen,
            system=source.system,
            protocol=protocol | {"captions_sha256": captions_sha256(requests)},
            reference=reference,
            batch_size=batch_size,
            done=write,
        )

    protocol = protocol_of(source)
    measure(others, images, source.requests, protocol)
    if objects:
        images = find_or_generate(source, f"{source.system} soa", source.listed, output)
        measure(objects, images, source.listed, protocol | {"captions": "official SOA lists"})
    if is_main():
        say(f"\n{results_file} has them; `xmcgan compare` makes tables of it")
    return 0


def without_distances(names: list[str], split: str) -> list[str]:
    """The metrics but those that would compare real images with themselves.

    Raises:
        ValueError: if none is left.
    """
    from xmcgan.evaluation.features import DISTRIBUTION
    from xmcgan.runtime.distributed import is_main

    left = [name for name in names if name not in DISTRIBUTION]
    left_out = ", ".join(name for name in names if name in DISTRIBUTION)
    why = f"{left_out} would compare the real images of {split} with themselves; give another --reference-split"
    if not left:
        raise ValueError(why)
    if left_out and is_main():
        say(f"left out: {why}")
    return left


def protocol_of(source: Source) -> dict[str, Setting]:
    """What every result says of data and captions."""
    return {
        "data": source.data.name or data_name(source.data.data, source.layout, source.split),
        "layout": source.layout,
        "split": source.split,
        "captions": f"a random caption an image, seed {source.images.seed}",
    }


def load_networks(networks: Networks, metrics: Sequence[str], data: Path, device: str) -> "EvaluationNetworks":
    """The evaluation networks that the metrics need: those named, or those that suit the data."""
    from xmcgan.evaluation.features import load_evaluation_networks

    roles = ("extractor", "encoder", "detector")
    return load_evaluation_networks(
        metrics,
        {role: getattr(networks, role) for role in roles},
        {role: getattr(networks, f"{role}_weights") for role in roles},
        scenes=(data / "scenes.json").is_file(),
        device=device,
    )


def find_or_generate(source: Source, system: str, requests: "list[Request]", output: Path) -> "list[Record]":
    """The images of the requests: generated by the model, found in a folder, or the real ones."""
    from xmcgan.evaluation.image_set import find_images, generate_set

    if source.images.real:
        by_id = {record.id: record for record in source.records}
        missing = [request.image_id for request in requests if request.image_id not in by_id]
        if missing:
            raise ValueError(
                f"{source.data.data} lacks {len(missing)} of the images that captions describe: {missing[0]}"
            )
        return [by_id[request.image_id] for request in requests]
    pipe = source.pipe
    if pipe is None:
        assert source.images.images is not None  # one of the three was given
        return find_images(source.images.images, requests)

    import numpy as np
    import torch

    from xmcgan.inference.noise import NOISE

    def generate(captions: Sequence[str], seeds: Sequence[int]) -> torch.Tensor:
        images = pipe(captions, seed=seeds).images
        return torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)

    settings = {"model": str(source.images.model), "step": pipe.step, "dtype": str(pipe.dtype), "noise": NOISE}
    settings |= pipe.fingerprint()
    return generate_set(output / "sets" / folder_name(system), requests, generate, settings=settings)


def official_requests(networks: Networks, seed: int) -> "list[Request]":
    """Three images of every caption of the official lists; of persons one of 30,000, as in the official code."""
    from xmcgan.evaluation.soa_captions import read_soa_captions, soa_requests

    assert networks.soa_captions is not None
    return soa_requests(read_soa_captions(networks.soa_captions, partial=networks.soa_partial), seed=seed)


def write_requests(path: Path, requests: "Sequence[Request]") -> int:
    """Writes the captions, so that any system can generate images for them and be evaluated."""
    if path.exists():
        raise FileExistsError(f"{path} is there already; choose another --write-captions")
    lines = (json.dumps(request._asdict(), ensure_ascii=False) + "\n" for request in requests)
    write_text(path, "".join(lines))
    print(f"{len(requests):,} captions are in {path}: generate each and name its image by id, <id>.png")
    return 0


def system_name(images: Images, pipe: "Pipeline | None") -> str:
    """The row's name where none is given."""
    if pipe is not None:
        return f"{Path(images.model or '').name} step {pipe.step}"
    return REAL_IMAGES if images.images is None else images.images.name


def data_name(data: Path, layout: str, split: str) -> str:
    """The data set that a folder holds, by what it looks like; the folder's own name where that says nothing."""
    known = {
        ("coco", "2014"): "coco14",
        ("localized-narratives", "2017"): "ln-coco",
        ("localized-narratives", "validation"): "ln-openimages",
    }
    if (data / "scenes.json").is_file():
        return "scenes"
    return next((name for (of, end), name in known.items() if layout == of and split.endswith(end)), data.name)


def folder_name(system: str) -> str:
    """A system's name as that of a folder."""
    return re.sub(r"\W+", "-", system.lower()).strip("-") or "images"


def side_of(record: "Record") -> int:
    """The shorter side of a record's image, in pixels."""
    from xmcgan.data.images import open_image

    return min(open_image(record).size)


def line_of(result: Result) -> str:
    """A result as a line for a person."""
    spread = "" if result.uncertainty is None else f" +- {result.uncertainty:.4g}"
    return f"{result.metric:>21}  {result.value:.4g}{spread}  ({result.samples:,} images, {result.seconds:.1f} s)"
