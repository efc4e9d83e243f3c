"""From nothing to a page of pictures: Scenes written, scenes-64 trained, captions drawn that it never saw."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from xmcgan.config import Config
from xmcgan.data.images import ImageTransform
from xmcgan.data.layouts import read_records
from xmcgan.data.records import Record
from xmcgan.evaluation.evaluate import evaluate
from xmcgan.evaluation.features import DISTRIBUTION, load_evaluation_networks, metric_names
from xmcgan.evaluation.image_set import random_captions
from xmcgan.evaluation.results import REAL_IMAGES
from xmcgan.inference.pipeline import Pipeline
from xmcgan.pages.run import read_log, write_report
from xmcgan.recipes import RECIPES
from xmcgan.runtime.device import resolve_device
from xmcgan.scenes import World, write_scenes
from xmcgan.training.loop import train
from xmcgan.training.validation import make_validation

DATA = Path("data/scenes-demo")
TRAIN_IMAGES, HELD_OUT_IMAGES = 2_000, 500
WORLD = World(
    most_objects=1,
    backgrounds=("beach", "snow", "field"),
    kinds=("car", "bus", "umbrella"),
    colours=("red", "blue", "yellow"),
    sides=1.0,
    largest=0.8,
)
"""A small world, so that among the captions of a batch some differ in the side alone: what is never needed to tell
captions apart is not learnt in a demo's minutes (docs/log.md)."""

METRICS = "r-precision,soa,contrastive-accuracy,fid"
"""By the judges of Scenes; the last one is the distance of their image features."""

TYPED = (
    "a red car on the left on the beach",
    "a red car on the right on the beach",
    "a blue bus on the left on a snowy field",
    "a blue bus on the right on a snowy field",
    "a yellow umbrella on a green field at sunset",
    "a red bus on the beach under a night sky",
    "a blue car on the right on a field in the fog",
)
"""Captions of the page's first table: colours, sides, backgrounds and weathers that are easy to check by eye."""


def demo(output: Path, *, steps: int | None = None) -> Path:
    """Runs the whole of it under ``output`` and names the page; a demo that was stopped goes on where it stood."""
    began = time.perf_counter()
    print(f"1/3  Scenes: {TRAIN_IMAGES:,} little pictures with their captions, in {DATA}", flush=True)
    write_scenes(DATA, size=64, train=TRAIN_IMAGES, val=HELD_OUT_IMAGES, evaluator=0, world=WORLD)

    recipe = RECIPES["scenes-64"]
    steps = recipe.training.steps if steps is None else steps
    config = replace(
        recipe,
        data=str(DATA),
        training=replace(recipe.training, steps=steps),
        # Before the first step and after the last one.
        evaluation=replace(recipe.evaluation, every=steps, count=HELD_OUT_IMAGES, metrics=METRICS),
    )
    print(f"2/3  Training the recipe scenes-64 for {config.training.steps} steps, in {output}", flush=True)
    held_out = read_records(DATA, config.dataset.layout, config.dataset.validation_split)
    records = read_records(DATA, config.dataset.layout, config.dataset.split)
    device = resolve_device(config.training.device)
    reached = train(
        config,
        output,
        records=records,
        sample_captions=[each.captions[0] for each in held_out[:16]],
        evaluate=make_validation(config, output, held_out, device=device),
    )
    if reached < config.training.steps:
        print(f"stopped and saved at step {reached}; `make demo` goes on from there")
        raise SystemExit(130)

    print("3/3  Drawing captions it never saw", flush=True)
    page = write_report(
        output / "report.html",
        run=output,
        pipe=Pipeline.from_pretrained(output),
        held_out=held_out[16:26],
        typed=TYPED,
    )
    print(f"\n{before_and_after(output, evaluate_real_images(config, held_out))}")
    minutes = (time.perf_counter() - began) / 60
    print(f"\nDone in {minutes:.1f} minutes. Open this page in a browser:\n\n    {page.resolve()}\n")
    return page


def evaluate_real_images(config: Config, held_out: Sequence[Record]) -> dict[str, float]:
    """What the real pictures score, as far as they can: they are at no distance from themselves."""
    metrics = [name for name in metric_names(METRICS) if name not in DISTRIBUTION]
    requests = random_captions(held_out, HELD_OUT_IMAGES)
    by_id = {record.id: record for record in held_out}
    results = evaluate(
        [by_id[request.image_id] for request in requests],
        requests,
        transform=ImageTransform(config.image_size, config.dataset.fit),
        networks=load_evaluation_networks(metrics, {}, {}, scenes=True, device="cpu"),
        metrics=metrics,
        system=REAL_IMAGES,
        protocol={},
        progress=False,
    )
    return {result.metric: result.value for result in results}


def before_and_after(run: Path, real: dict[str, float]) -> str:
    """The metrics before and after the training, beside those of real pictures, as lines of a table."""
    measured = read_log(run / "evaluations.jsonl")
    lines = [f"{'':22}{'before':>9}{'after':>9}{'real':>9}"]
    for name in metric_names(METRICS):
        values = [measured.columns[name][0], measured.columns[name][-1], real.get(name, 0.0)]
        lines.append(f"{name:22}" + "".join(f"{value:>9.3f}" for value in values))
    return "\n".join(lines)
