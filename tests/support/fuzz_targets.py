"""What is damaged, and how it is read: for each kind of file that a command reads, a folder and a function."""

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file

from interrupted import train_with_evaluation
from tiny import tiny_config, write_encoder
from xmcgan.cli.main import run as command
from xmcgan.config import Config
from xmcgan.data.images import open_image
from xmcgan.data.layouts import read_records
from xmcgan.data.records import Record
from xmcgan.encoders.image import read_state_dict
from xmcgan.encoders.text import TextEncoder
from xmcgan.evaluation.compare import compare, read_measured
from xmcgan.evaluation.features import ExtractedFeatures, cached_tensors, read_cached
from xmcgan.evaluation.image_set import claim_image_set, find_images, generate_set, random_captions
from xmcgan.evaluation.networks.dual_encoder import DualEncoderNetwork, load_dual_encoder_folder
from xmcgan.evaluation.networks.presence import PresenceShape, load_presence_folder, presence_network
from xmcgan.evaluation.networks.shapes import DualEncoderShape
from xmcgan.evaluation.results import Result, append_results
from xmcgan.evaluation.tables import to_markdown
from xmcgan.inference.model_files import content_sha256, load_generator, newest_checkpoint, save_tensors, tensors
from xmcgan.metrics.frechet import FeatureStatistics
from xmcgan.pages.run import progress_row, read_log, trained_on
from xmcgan.profiling.projection import Assumptions, measured
from xmcgan.scenes import write_scenes
from xmcgan.training.checkpoint import load_unwritten_log, read_best
from xmcgan.training.evaluators.fitting import finish, is_finished, load_training, parameter_groups, save_weights
from xmcgan.training.log import already_evaluated, truncate_log
from xmcgan.training.run_folder import check_run_folder, describe_run
from xmcgan.training.state import initial_state, load_state

CPU = torch.device("cpu")


class Target(NamedTuple):
    """A folder whose files are damaged one at a time, and what reads it.

    Args:
        read: gives something that is equal for equal files; raises what the command line prints in one line.
        exact: endings of files with a checksum: damaged, they are refused, or what they give is right.
        writes: endings of files that reading may change.
        names: what a message may name instead of the file, such as a record of it.
    """

    name: str
    folder: Path
    read: Callable[[Path], Any]
    exact: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


def make_targets(root: Path) -> list[Target]:
    """Writes every folder under ``root`` and gives the targets."""
    scenes = write_scenes(root / "scenes", size=64, train=8, val=4, evaluator=1, workers=1, progress=False)
    encoder = write_encoder(root / "encoder")
    config = tiny_config(scenes, encoder, steps=2, checkpoint_every=1, keep_checkpoints=1)
    config = replace(config, evaluation=replace(config.evaluation, every=1))
    train_with_evaluation(config, root / "run")
    found = [*model_targets(root, config), *evaluation_targets(root, scenes), *data_targets(root, scenes)]
    return [*found, Target("text encoder", encoder, lambda folder: embedded(folder))]


def embedded(folder: Path) -> str:
    text = TextEncoder(str(folder), max_length=17)(["a red car"])
    return content_sha256({"words": text.words_BTD, "sentence": text.sentence_BD})


# Models and runs


def model_targets(root: Path, config: Config) -> list[Target]:
    """A saved model; a run that resumes; the pages of a run; a file of torch weights."""
    newest = newest_checkpoint(root / "run" / "checkpoints")
    assert newest is not None
    model = root / "model"
    model.mkdir()
    for name in ("config.json", "generator.safetensors"):
        shutil.copy(newest / name, model)
    weights = root / "weights"
    weights.mkdir()
    torch.save({"a": torch.ones(3), "b": torch.zeros(2, 2)}, weights / "network.pth")
    save_file({"a": torch.ones(3)}, weights / "network.safetensors")
    records = read_records(Path(config.data), "coco", "train2014")
    data, state = describe_run(config, records)["data"], initial_state(config, 32, CPU)

    def resume(folder: Path) -> Any:
        check_run_folder(folder, config, data)
        checkpoint = newest_checkpoint(folder / "checkpoints")
        assert checkpoint is not None
        step, unwritten = load_state(state, checkpoint), load_unwritten_log(checkpoint)
        for name in ("log.jsonl", "evaluations.jsonl"):
            truncate_log(folder / name, step)
        networks = content_sha256(tensors(state.generator)), content_sha256(tensors(state.discriminator))
        return networks, step, unwritten, already_evaluated(folder, step), read_best(folder / "best")

    def report(folder: Path) -> Any:
        return trained_on(folder), read_log(folder / "log.jsonl"), progress_row(folder / "samples")

    pages = root / "pages"
    pages.mkdir()
    for name in ("config.json", "log.jsonl"):
        shutil.copy(root / "run" / name, pages)
    shutil.copytree(root / "run" / "samples", pages / "samples")
    for leftover in (root / "run" / "tensorboard", root / "run" / "samples"):
        shutil.rmtree(leftover)
    return [
        Target("model", model, loaded_model, exact=(".safetensors",)),
        Target("run", root / "run", resume, exact=(".safetensors",), writes=("log.jsonl", "evaluations.jsonl")),
        Target("pages", pages, report),
        Target(
            "weights",
            weights,
            lambda folder: [content_sha256(read_state_dict(path)) for path in sorted(folder.iterdir())],
        ),
    ]


def weights_of(folder: Path) -> Any:
    return [content_sha256(read_state_dict(path)) for path in sorted(folder.iterdir())]


def loaded_model(folder: Path) -> Any:
    generator, config, step = load_generator(folder)
    return content_sha256(tensors(generator)), config, step


# Evaluation


def evaluation_targets(root: Path, scenes: Path) -> list[Target]:
    """Sets of images, results, cached features, trained evaluators and their training, a measured bench."""
    requests = random_captions(list(read_records(scenes, "coco", "val2014")), 3)

    def draw(captions: Any, _seeds: Any) -> torch.Tensor:
        return torch.full((len(captions), 3, 16, 16), 7, dtype=torch.uint8)

    def read_set(folder: Path) -> Any:
        with ExitStack() as lock:
            claim_image_set(folder, requests, {"step": 1}, lock)
        return [open_image(record).tobytes() for record in find_images(folder, requests)]

    generate_set(root / "set", requests, draw, settings={"step": 1}, progress=False)
    result = Result("fid", 9.5, None, 100, "ours", {"data": "scenes", "network": "x", "splits": 10}, 1.0)
    append_results(root / "results" / "results.jsonl", [result, replace(result, metric="is", uncertainty=0.5)])
    statistics = FeatureStatistics(4)
    statistics.update(torch.randn(20, 4, generator=torch.Generator().manual_seed(0)))
    (root / "cache").mkdir()
    kept = cached_tensors(ExtractedFeatures(statistics))
    save_tensors(kept, root / "cache" / "features.safetensors")
    bench = root / "bench"
    bench.mkdir()
    part = {"part": "training", "tflops": 1.0, "tflops_run": 0.5, "precision": "float32"}
    content = {"measurements": [part], "ceiling_tflops": {"float32": 2.0}, "machine": {"name": "a machine"}}
    (bench / "bench.json").write_text(json.dumps(content))
    return [
        Target("set", root / "set", read_set),
        Target("results", root / "results", lambda folder: compared(folder / "results.jsonl")),
        Target(
            "cache", root / "cache", lambda folder: cached(folder / "features.safetensors"), exact=(".safetensors",)
        ),
        Target("bench", bench, lambda folder: measured(folder / "bench.json", Assumptions())),
        *evaluator_targets(root),
    ]


def compared(path: Path) -> str:
    return to_markdown(compare(read_measured([path])))


def cached(path: Path) -> Any:
    """What was saved; None if it is damaged, after which the features are computed anew."""
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        features = read_cached(path)
    return None if features is None or features.statistics is None else features.statistics.scatter_FF.tolist()


def evaluator_targets(root: Path) -> list[Target]:
    """A dual encoder and a presence model, each finished; and a training of one that goes on."""
    from torch.optim import AdamW

    dual, presence, going = root / "dual", root / "presence", root / "going"
    shape, words = DualEncoderShape(image_size=16, width=2, dim=4, text_width=32, text_layers=1, words=4), ["a", "car"]
    settings: dict[str, Any] = {"kind": "dual-encoder", "shape": asdict(shape), "fitting": {"steps": 3}}
    for folder in (dual, going):
        is_finished(folder, settings)
    network = DualEncoderNetwork(shape, len(words))
    finish(dual, settings | {"vocabulary": words, "weights_sha256": save_weights(network, dual)})
    sizes = PresenceShape({"car": 3, "bus": 6}, image_size=16, width=2)
    described = {"kind": "presence", "shape": asdict(sizes)}
    is_finished(presence, described)
    finish(presence, described | {"weights_sha256": save_weights(presence_network(sizes), presence)})
    optimizer = AdamW(parameter_groups(network, 0.0))
    sum(weight.sum() for weight in network.parameters()).backward()
    optimizer.step()
    from xmcgan.training.evaluators.fitting import save_training

    save_training(network, optimizer, 2, going / "training.safetensors")

    def resume(folder: Path) -> Any:
        is_finished(folder, settings)
        return load_training(network, optimizer, folder / "training.safetensors")

    return [
        Target("dual encoder", dual, lambda folder: content_sha256(tensors(load_dual_encoder_folder(folder).network))),
        Target("presence", presence, lambda folder: content_sha256(tensors(load_presence_folder(folder).network))),
        Target("evaluator training", going, resume, exact=(".safetensors",)),
    ]


# Data


def data_targets(root: Path, scenes: Path) -> list[Target]:
    """COCO's layout, and the same prepared in shards."""
    prepared = root / "prepared"
    quietly(["data", "prepare", "scenes", "--source", str(scenes), "--output", str(prepared), "--size", "16",
             "--workers", "1"])  # fmt: skip

    def read(folder: Path) -> Any:
        records = read_records(folder, "coco", "val2014", annotations=True)
        return [(record.id, record.captions, record.boxes, image_of(record)) for record in records]

    return [Target("coco", scenes, read), Target("prepared", prepared, read)]


def image_of(record: Record) -> bytes:
    return open_image(record).tobytes()


def quietly(arguments: list[str]) -> None:
    """Runs a command, whose display goes nowhere."""
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        assert command(arguments) == 0, sys.argv
