"""The subcommand ``xmcgan evaluate``: images of a checkpoint, of another system, or real ones, and many metrics."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import Namespace

from xmcgan.cli.parser import ArgumentParser
from xmcgan.config import DatasetConfig
from xmcgan.evaluation.results import REAL_IMAGES, Result, Setting, append_results
from xmcgan.runtime.files import write_text

if TYPE_CHECKING:
    from xmcgan.data.records import Record
    from xmcgan.evaluation.features import EvaluationNetworks
    from xmcgan.evaluation.image_set import Request
    from xmcgan.inference.pipeline import Pipeline

COUNT = 30_000
"""Images of the paper's evaluation."""

NETWORKS = {"extractor": "fid, kid, is, ...", "encoder": "r-precision, ...", "detector": "soa"}
"""The networks that can be named, and what they serve."""


def evaluate_command(arguments: list[str]) -> int:
    """Evaluates a set of images and adds one line per metric to the results."""
    parser = ArgumentParser(
        prog="xmcgan evaluate",
        description="Draws captions of a data set, or takes images that are there, and computes every metric in one "
        "pass. Writes OUTPUT/results.jsonl (one line a metric), OUTPUT/sets/SYSTEM (the images, with what was asked "
        "for) and OUTPUT/cache (features of real images). The same command goes on where it stood; under torchrun the "
        "ranks share the work.",
        exit_on_error=False,
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder of the data set, in its owner's layout or prepared")
    add("--model", type=str | None, default=None, help="whose images: a run, a checkpoint or a hub name")
    add("--images", type=Path | None, default=None, help="or a folder of images that any system drew, named by caption")
    add("--real", type=bool, default=False, help="or the real images that the captions describe: a row of their own")
    add("--metrics", type=str, default="fid,is,r-precision,soa", help="names with commas between; soa is soa-c,soa-i")
    add("--output", type=Path, default=Path("evaluations"), help="folder of results, image sets and cache")
    add("--system", type=str | None, default=None, help="the row's name in tables")
    add("--name", type=str | None, default=None, help="of the data set, as tables group by it; from the data if known")
    add("--layout", type=str | None, default=None, help="of the data; the checkpoint's, or coco, unless given")
    add("--split", type=str | None, default=None, help="of the captions; the checkpoint's validation split, or val2014")
    add("--count", type=int | None, default=None, help=f"images; {COUNT:,}, or all captions where there are fewer")
    add("--seed", type=int, default=0, help="of the choice of captions and of the images")
    add("--size", type=int | None, default=None, help="side of the evaluated images; the model's unless given")
    add("--fit", type=str, default="squash", help="how real images become squares: squash, or crop their middle")
    add("--reference-split", type=str | None, default=None, help="real images of fid and its like; the split's")
    for role, served in NETWORKS.items():
        add(f"--{role}", type=str | None, default=None, help=f"network of {served}; by the data unless given")
        add(
            f"--{role}-weights",
            type=str | None,
            default=None,
            help="its weights: a local file, a folder, or a hub name",
        )
    add("--soa-captions", type=Path | None, default=None, help="the official caption lists of SOA")
    add("--soa-partial", type=bool, default=False, help="fewer than the 80 lists will do")
    add("--batch-size", type=int, default=50, help="images in a forward pass; no result depends on it")
    add("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    add("--write-captions", type=Path | None, default=None, help="only write the captions to draw, with their ids")
    options = parser.parse_args(arguments)
    sources = {"--model": options.model, "--images": options.images, "--real": options.real or None}
    given = [name for name, value in sources.items() if value is not None]
    if len(given) != 1 and options.write_captions is None:
        raise ValueError(f"give one of --model, --images and --real, not {' and '.join(given) or 'none'}")

    from xmcgan.runtime.device import resolve_device
    from xmcgan.runtime.distributed import process_group

    with process_group(resolve_device(options.device)) as device:
        options.device = str(device)
        return evaluate_source(options)


def evaluate_source(options: Namespace) -> int:
    """Generates or finds the images, evaluates them, and adds the results."""
    from xmcgan.data.images import ImageTransform
    from xmcgan.data.layouts import read_records
    from xmcgan.evaluation.evaluate import evaluate
    from xmcgan.evaluation.features import DISTRIBUTION, OBJECTS, Reference, metric_names
    from xmcgan.evaluation.image_set import captions_sha256, random_captions
    from xmcgan.inference.pipeline import Pipeline
    from xmcgan.runtime.distributed import is_main

    pipe = Pipeline.from_pretrained(options.model, device=options.device) if options.model else None
    dataset = pipe.config.dataset if pipe else DatasetConfig()
    layout, split = options.layout or dataset.layout, options.split or dataset.validation_split
    records = read_records(str(options.data), layout, split)
    count = options.count or min(COUNT, sum(len(record.captions) for record in records))
    requests = random_captions(records, count, seed=options.seed)
    listed = official_requests(options) if options.soa_captions else []
    if options.write_captions:
        return write_captions(options.write_captions, [*requests, *listed])

    metrics = metric_names(options.metrics)
    networks = networks_of(options, metrics)
    system = " ".join((options.system or system_name(options, pipe)).split())
    images = find_or_generate(options, pipe, system, requests, records)
    transform = ImageTransform(options.size or (pipe.config.image_size if pipe else side_of(images[0])), options.fit)
    reference_split = options.reference_split or split
    references = read_records(str(options.data), layout, reference_split) if reference_split != split else records
    reference = Reference(references, transform, options.output / "cache", f"{layout} {reference_split}")
    protocol = protocol_of(options, layout, split)
    if options.real and reference_split == split:
        # The distance of images from themselves says nothing.
        metrics = [name for name in metrics if name not in DISTRIBUTION]

    def measure(chosen, images, requests, protocol):
        return evaluate(
            images,
            requests,
            transform=transform,
            networks=networks,
            metrics=chosen,
            system=system,
            protocol=protocol | {"captions_sha256": captions_sha256(requests)},
            reference=reference,
            batch_size=options.batch_size,
        )

    objects = [name for name in metrics if name in OBJECTS and listed]
    results = measure([name for name in metrics if name not in objects], images, requests, protocol)
    if objects:
        images = find_or_generate(options, pipe, f"{system} soa", listed, records)
        results += measure(objects, images, listed, protocol | {"captions": "official SOA lists"})
    if is_main():
        append_results(options.output / "results.jsonl", results)
        print_results(results)
        print(f"\n{options.output / 'results.jsonl'} has them; `xmcgan compare` makes tables of it")
    return 0


def protocol_of(options: Namespace, layout: str, split: str) -> dict[str, Setting]:
    """What every result says of data and captions."""
    return {
        "data": options.name or data_name(options.data, layout, split),
        "layout": layout,
        "split": split,
        "captions": f"a random caption an image, seed {options.seed}",
    }


def networks_of(options: Namespace, metrics: Sequence[str]) -> "EvaluationNetworks":
    """The evaluation networks that the metrics need: those named, or those that suit the data."""
    from xmcgan.evaluation.features import load_evaluation_networks

    return load_evaluation_networks(
        metrics,
        {role: getattr(options, role) for role in NETWORKS},
        {role: getattr(options, f"{role}_weights") for role in NETWORKS},
        scenes=(options.data / "scenes.json").is_file(),
        device=options.device,
    )


def find_or_generate(
    options: Namespace, pipe: "Pipeline | None", system: str, requests: "list[Request]", records: "Sequence[Record]"
) -> "list[Record]":
    """The images that answer the requests: drawn by the checkpoint, found in a folder, or the real ones."""
    from xmcgan.evaluation.image_set import find_images, generate_set

    if options.real:
        by_id = {record.id: record for record in records}
        lacking = [request.image_id for request in requests if request.image_id not in by_id]
        if lacking:
            raise ValueError(f"{options.data} lacks {len(lacking)} of the images that captions describe: {lacking[0]}")
        return [by_id[request.image_id] for request in requests]
    if pipe is None:
        return find_images(options.images, requests)

    import numpy as np
    import torch

    def generate(captions: Sequence[str], seeds: Sequence[int]) -> torch.Tensor:
        images = pipe(captions, seed=seeds).images
        return torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)

    settings = {"model": str(options.model), "step": pipe.step, "dtype": str(pipe.dtype)}
    return generate_set(options.output / "sets" / folder_name(system), requests, generate, settings=settings)


def official_requests(options: Namespace) -> "list[Request]":
    """Three images of every caption of the official lists, of persons one of 30,000, as their authors have it."""
    from xmcgan.evaluation.soa_captions import read_soa_captions, soa_requests

    lists = read_soa_captions(options.soa_captions, partial=options.soa_partial)
    return soa_requests(lists, seed=options.seed)


def write_captions(path: Path, requests: "Sequence[Request]") -> int:
    """Writes the captions, so that any system can generate images for them and be evaluated."""
    if path.exists():
        raise FileExistsError(f"{path} is there already; choose another --write-captions")
    lines = (json.dumps(request._asdict(), ensure_ascii=False) + "\n" for request in requests)
    write_text(path, "".join(lines))
    print(f"{len(requests):,} captions are in {path}: draw each and name its image by id, <id>.png")
    return 0


def system_name(options: Namespace, pipe: "Pipeline | None") -> str:
    """The row's name where none is given."""
    if pipe is not None:
        return f"{Path(options.model).name} step {pipe.step}"
    return REAL_IMAGES if options.real else options.images.name


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


def print_results(results: Sequence[Result]) -> None:
    """The values, one a line, for a person."""
    for result in results:
        spread = "" if result.uncertainty is None else f" +- {result.uncertainty:.4g}"
        print(f"{result.metric:>21}  {result.value:.4g}{spread}  ({result.samples:,} images, {result.seconds:.1f} s)")
