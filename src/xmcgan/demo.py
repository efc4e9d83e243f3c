"""From nothing to a page of pictures: Scenes written, scenes-64 trained, captions drawn that it never saw."""

import time
from dataclasses import replace
from pathlib import Path

from xmcgan.config import RECIPES
from xmcgan.data.layouts import read_records
from xmcgan.data.scenes import World, write_scenes
from xmcgan.pipeline import Pipeline
from xmcgan.report import write_report
from xmcgan.train import train

DATA = Path("data/scenes-demo")
TRAIN_IMAGES, HELD_OUT_IMAGES = 5_000, 200
WORLD = World(most_objects=2)
"""One or two objects a scene: three and four take longer to learn than a demo lasts."""

TYPED = (
    "a red car left of a stop sign under a night sky",
    "a stop sign left of a red car under a night sky",
    "a red boat on the sea at sunset",
    "a yellow bus on a snowy field",
    "a green couch in a room with a pink wall",
    "two orange kites above a sandy beach",
    "a purple umbrella in the rain",
)
"""Captions of the page's first table: colours, sides, backgrounds and weathers that are easy to check by eye."""


def demo(output: Path, *, steps: int | None = None) -> Path:
    """Runs the whole of it under ``output`` and names the page; a demo that was stopped goes on where it stood."""
    began = time.perf_counter()
    print(f"1/3  Scenes: {TRAIN_IMAGES:,} little pictures with their captions, in {DATA}", flush=True)
    write_scenes(DATA, size=64, train=TRAIN_IMAGES, val=HELD_OUT_IMAGES, evaluator=0, world=WORLD)

    recipe = RECIPES["scenes-64"]
    config = replace(
        recipe,
        data=str(DATA),
        training=replace(recipe.training, steps=recipe.training.steps if steps is None else steps),
    )
    print(f"2/3  Training the recipe scenes-64 for {config.training.steps} steps, in {output}", flush=True)
    held_out = read_records(DATA, config.dataset.layout, config.dataset.validation_split)
    records = read_records(DATA, config.dataset.layout, config.dataset.split)
    reached = train(config, output, records=records, sample_captions=[each.captions[0] for each in held_out[:16]])
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
    minutes = (time.perf_counter() - began) / 60
    print(f"\nDone in {minutes:.1f} minutes. Open this page in a browser:\n\n    {page.resolve()}\n")
    return page
