"""Samples of the packaged model first; then training from scratch on a small world, and what it has learnt."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from xmcgan.cli.demo_plan import Rates, measure, spoken, steps_within
from xmcgan.config import Config, from_dict
from xmcgan.data.images import ImageTransform
from xmcgan.data.layouts import read_records
from xmcgan.data.records import Record
from xmcgan.evaluation.chosen_networks import load_evaluation_networks
from xmcgan.evaluation.evaluate import evaluate
from xmcgan.evaluation.image_set import random_captions
from xmcgan.evaluation.metric_names import DISTRIBUTION, metric_names
from xmcgan.evaluation.results import REAL_IMAGES
from xmcgan.inference.pipeline import Pipeline
from xmcgan.pages.model import write_model_page
from xmcgan.pages.run import read_log, write_report
from xmcgan.recipes import RECIPES
from xmcgan.runtime.device import resolve_device
from xmcgan.runtime.files import read_object
from xmcgan.scenes import World, write_scenes
from xmcgan.training.loop import train
from xmcgan.training.validation import make_validation

MODEL, MODEL_WORLD = "scenes-64", World(most_objects=2, sides=1.0)
"""The packaged model, and the world that it was trained on."""
MODEL_DATA, MODEL_IMAGES = Path("data/scenes-64-held-out"), 300

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
"""A small world, so that some captions of a batch differ only in the side: what is never needed to tell captions apart
is not learnt in a demo's minutes (docs/log.md)."""

METRICS = "r-precision,soa,contrastive-accuracy,fid"
"""Metrics with the evaluation networks of Scenes; FID in the features of the dual encoder."""

LONGEST = 500
"""Planned seconds of the whole demo: steps are chosen to fit, but the estimate may be off."""

MODEL_TYPED = (
    "two umbrellas on a beach at sunset",
    "a red bus in the desert under a starry sky",
    "a yellow boat and a purple boat on a lake in the fog",
    "an orange train in front of mountains in the rain",
    "a green apple on a wooden table",
    "a red kite above a black sheep on a green field",
)
"""Captions that no one wrote for training."""

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
    """Runs all of it under ``output`` and names the pages; a demo that was stopped continues where it stopped.

    Args:
        steps: training steps; by default, as many of the recipe's as fit into the time.
    """
    began = time.perf_counter()
    print("Measuring this machine", flush=True)
    pipe, recipe = Pipeline.from_pretrained(MODEL), RECIPES["scenes-64"]
    rates = measure(pipe, recipe)
    shown, around = times_around(rates)
    if steps is None:
        room = LONGEST - (time.perf_counter() - began) - shown - around
        steps = earlier_steps(output) or steps_within(room, rates.step, recipe.training.steps)
    print(
        f"On this machine an image takes {rates.image:.2f} s and a training step {rates.step:.2f} s. The demo takes:\n"
        f"  1  samples of the trained model {MODEL}: {spoken(shown)}\n"
        f"  2  a training from nothing, {steps} steps, with its evaluation: {spoken(around + steps * rates.step)}\n",
        flush=True,
    )
    show_model(pipe, model_page(output))
    print(f"    {spoken(time.perf_counter() - began)} so far\n", flush=True)
    return train_from_nothing(output, steps, began)


def model_page(output: Path) -> Path:
    """The page of the packaged model, in a folder beside the run's."""
    return output.with_name(f"{output.name}-{MODEL}") / "page.html"


def times_around(rates: Rates) -> tuple[float, float]:
    """Seconds for showing the packaged model, and for the second part without its training steps."""
    images = MODEL_IMAGES + 4 * (len(MODEL_TYPED) + 10)
    shown = 10 + images * (rates.scene + rates.image) + 2 * MODEL_IMAGES * rates.evaluated
    around = 20 + (TRAIN_IMAGES + HELD_OUT_IMAGES) * rates.scene + 3 * HELD_OUT_IMAGES * rates.evaluated
    return shown, around


def earlier_steps(output: Path) -> int | None:
    """The steps of a demo that was started in this folder, if there is one."""
    path = output / "config.json"
    return from_dict(read_object(path, "config")["config"]).training.steps if path.is_file() else None


def show_model(pipe: Pipeline, page: Path) -> None:
    """Writes the page of the packaged model, with its metrics on held-out captions next to real images' metrics."""
    print(f"1/2  {MODEL}, trained before: samples and figures of {MODEL_IMAGES} held-out captions", flush=True)
    write_scenes(MODEL_DATA, size=64, train=0, val=MODEL_IMAGES, evaluator=0, world=MODEL_WORLD, progress=False)
    evaluation = replace(pipe.config.evaluation, count=MODEL_IMAGES, metrics=METRICS)
    config = replace(pipe.config, data=str(MODEL_DATA), evaluation=evaluation)
    held_out = read_records(MODEL_DATA, config.dataset.layout, config.dataset.validation_split)
    validation = make_validation(config, page.parent, held_out, device=pipe.device)
    generated, real = validation(pipe.generator, pipe.step).values, evaluate_real_images(config, held_out)
    figures = {name: (value, real.get(name)) for name, value in generated.items()}
    write_model_page(
        page, name=MODEL, pipe=pipe, held_out=held_out[:10], typed=MODEL_TYPED, figures=figures, evaluated=MODEL_IMAGES
    )
    print(f"\n    Open this page in a browser: {page.resolve()}\n", flush=True)


def train_from_nothing(output: Path, steps: int, began: float) -> Path:
    """Trains scenes-64 on a small world, evaluates it before and after, and writes the page of the run."""
    recipe = RECIPES["scenes-64"]
    print(f"2/2  From nothing: {TRAIN_IMAGES:,} captioned images in {DATA}, then {steps} steps in {output}", flush=True)
    write_scenes(DATA, size=64, train=TRAIN_IMAGES, val=HELD_OUT_IMAGES, evaluator=0, world=WORLD)
    config = replace(
        recipe,
        data=str(DATA),
        training=replace(recipe.training, steps=steps),
        # Before the first step and after the last one.
        evaluation=replace(recipe.evaluation, every=steps, count=HELD_OUT_IMAGES, metrics=METRICS),
    )
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
    if reached < steps:
        print(f"stopped and saved at step {reached}; `make demo` continues from there")
        raise SystemExit(130)
    page = write_report(
        output / "report.html",
        run=output,
        pipe=Pipeline.from_pretrained(output),
        held_out=held_out[16:26],
        typed=TYPED,
    )
    print(f"\n{before_and_after(output, evaluate_real_images(config, held_out))}")
    minutes = (time.perf_counter() - began) / 60
    print(
        f"\nDone in {minutes:.1f} minutes. {steps} steps of {config.training.batch_size} images are a start: {MODEL} "
        f"took 9,160 of 128.\nOpen these pages in a browser:\n\n    {model_page(output).resolve()}\n"
        f"    {page.resolve()}\n"
    )
    return page


def evaluate_real_images(config: Config, held_out: Sequence[Record]) -> dict[str, float]:
    """The metrics of the real images themselves, except those that compare with real images."""
    metrics = [name for name in metric_names(METRICS) if name not in DISTRIBUTION]
    requests = random_captions(held_out, config.evaluation.count)
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
    """The metrics before and after the training, next to the metrics of real images, as lines of a table."""
    measured = read_log(run / "evaluations.jsonl")
    lines = [f"{'':22}{'before':>9}{'after':>9}{'real':>9}"]
    for name in metric_names(METRICS):
        values = [measured.columns[name][0], measured.columns[name][-1], real.get(name, 0.0)]
        lines.append(f"{name:22}" + "".join(f"{value:>9.3f}" for value in values))
    return "\n".join(lines)
