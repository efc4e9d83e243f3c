"""One run of an ablation: train, evaluate, draw the samples, return the outcome."""

import json
import statistics
import time
from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xmcgan import __version__
from xmcgan.ablation.outcome import Outcome
from xmcgan.ablation.plan import Plan, Run, config_of, images_of_step
from xmcgan.config import Config
from xmcgan.data.records import Record
from xmcgan.encoders.text import TextEncoder
from xmcgan.evaluation.chosen_networks import (
    PHOTOGRAPH_NETWORKS,
    SCENES_NETWORKS,
    load_evaluation_networks,
    required,
)
from xmcgan.inference.image_grid import image_grid
from xmcgan.inference.pipeline import Pipeline
from xmcgan.metrics.diversity import diversity
from xmcgan.runtime.device import keep_freed_memory, resolve_device
from xmcgan.runtime.files import atomic_file, make_folder
from xmcgan.training.batches import embedded_batches
from xmcgan.training.loop import train
from xmcgan.training.state import initial_state
from xmcgan.training.step import train_step
from xmcgan.training.validation import NETWORKS, make_validation

SAMPLE_CAPTIONS, SAMPLE_SEEDS = 8, 2
WARM_STEPS, TIMED_STEPS = 2, 5
TIMINGS = ("images_per_second", "data_wait", "time", "step")


def measure_step(config: Config, records: Sequence[Record], device: torch.device) -> float:
    """Median seconds of a training step, loading its data included, after a few warm-up steps."""
    if device.type == "cpu":
        keep_freed_memory()
    encoder = TextEncoder.from_config(config.text, device=device)
    state, seconds = initial_state(config, encoder.dim, device), []
    with closing(embedded_batches(config, records, encoder, device, start=0)) as batches:
        for number in range(WARM_STEPS + TIMED_STEPS):
            began = time.perf_counter()
            report = train_step(state, list(islice(batches, config.training.discriminator_steps)))
            float(report["g_loss"])  # waits for a GPU
            if number >= WARM_STEPS:
                seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def train_run(
    plan: Plan, run: Run, steps: int, device: str, records: Sequence[Record], held_out: Sequence[Record]
) -> Outcome | None:
    """Trains and evaluates a run, or resumes it; None if a signal stopped it.

    Raises:
        TrainingDiverged, ValueError, RuntimeError: whatever ended the training.
    """
    config, folder = config_of(plan, run, steps, device), plan.output / "runs" / run.folder
    resolved = resolve_device(device)
    captions = [record.captions[0] for record in held_out[: max(16, SAMPLE_CAPTIONS)]]
    evaluate = make_validation(config, folder, held_out, device=resolved)
    reached = train(config, folder, records=records, sample_captions=captions, evaluate=evaluate)
    if reached < steps:
        return None
    pipe, captions = Pipeline.from_pretrained(str(folder), device=device), captions[:SAMPLE_CAPTIONS]
    write_samples(plan.samples_file(run), pipe, captions)
    curve = read_lines(folder / "evaluations.jsonl", images_of_step(config))
    values = {name: value for name, value in curve[-1].items() if name not in ("step", "images")}
    if plan.pairs:
        values["diversity"] = measure_diversity(config, pipe, held_out, plan.pairs, resolved)
    losses = read_lines(folder / "log.jsonl", images_of_step(config))
    return Outcome(
        row=run.row.name,
        seed=run.seed,
        status="done",
        error="",
        values=values,
        curve=curve,
        losses=losses,
        steps=steps,
        images=steps * images_of_step(config),
        seconds=training_seconds(folder / "log.jsonl", images_of_step(config)),
        device=f"{resolved}, {torch.get_num_threads()} threads" if resolved.type == "cpu" else str(resolved),
        protocol=protocol(config, len(held_out)),
        captions=list(captions),
        version=__version__,
    )


def failed_run(run: Run, error: Exception, device: str) -> Outcome:
    """The outcome of a run that ended with an error."""
    message = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return Outcome(
        row=run.row.name, seed=run.seed, status="failed", error=message,
        values={}, curve=[], losses=[], steps=0, images=0, seconds=0.0, device=device, protocol={}, captions=[],
        version=__version__,
    )  # fmt: skip


def read_lines(path: Path, images_a_step: int) -> list[dict[str, float]]:
    """The lines of a run's log, without timings, with the number of images seen."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    kept = ({name: value for name, value in line.items() if name not in TIMINGS} for line in lines)
    return [
        {"step": line["step"], "images": line["step"] * images_a_step, **values}
        for line, values in zip(lines, kept, strict=True)
    ]


def training_seconds(path: Path, images_a_step: int) -> float:
    """Seconds of training, from the speeds in the log, which exclude evaluation and interruptions."""
    total, before = 0.0, 0
    for line in map(json.loads, path.read_text().splitlines()):
        total += (line["step"] - before) * images_a_step / line["images_per_second"]
        before = line["step"]
    return round(total, 1)


def protocol(config: Config, held_out: int) -> dict[str, Any]:
    """The settings that a row's metrics depend on, for the report."""
    settings = config.evaluation
    scenes = (Path(config.data) / "scenes.json").is_file()
    defaults = SCENES_NETWORKS if scenes else PHOTOGRAPH_NETWORKS
    return {
        "count": min(settings.count, held_out),
        "reference": held_out,
        "split": config.dataset.validation_split,
        "data": "scenes" if scenes else config.dataset.layout,
        **{role: getattr(settings, role) or defaults[role] for role in NETWORKS},
    }


def write_samples(path: Path, pipe: Pipeline, captions: Sequence[str]) -> None:
    """A grid with a column for each caption and a row for each seed; the same captions and seeds in every run."""
    rows = [pipe(list(captions), seed=[seed] * len(captions)).images for seed in range(SAMPLE_SEEDS)]
    grid = image_grid([image for row in rows for image in row], len(captions), gap=0)
    make_folder(path.parent)
    with atomic_file(path) as partial:
        grid.save(partial, format="PNG")


def measure_diversity(
    config: Config, pipe: Pipeline, held_out: Sequence[Record], pairs: int, device: torch.device
) -> float:
    """Mean cosine distance between two images of one caption, in the features of the evaluation's extractor."""
    captions = [record.captions[0] for record in held_out[:pairs]]
    settings = config.evaluation
    networks = load_evaluation_networks(
        ["fid"],
        {role: getattr(settings, role) for role in NETWORKS},
        {role: getattr(settings, f"{role}_weights") for role in NETWORKS},
        scenes=(Path(config.data) / "scenes.json").is_file(),
        device=device,
    )
    extractor, features = required(networks.extractor), []
    for seed in (0, 1):
        images = pipe(captions, seed=[seed] * len(captions)).images
        pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)
        features.append(extractor(pixels.contiguous()).features_BF)
    return diversity(torch.cat(features), list(range(len(captions))) * 2).value
