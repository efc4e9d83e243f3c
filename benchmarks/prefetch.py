"""Speed-up from preparing batches in a thread (training.prefetch) when every caption must be encoded.

    python benchmarks/prefetch.py [--recipe scenes-narratives-64] [--steps 12] [--rounds 3] [--prefetch 2]

Uses narratives of Scenes without an embedding cache, the worst case for text encoding. Runs with and without the thread
take turns, each round with new networks; the first two steps of each are not timed.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from xmcgan.config import Config
from xmcgan.data.layouts import read_records
from xmcgan.data.records import Record
from xmcgan.encoders.text import TextEncoder
from xmcgan.profiling.timing import synchronise
from xmcgan.recipes import RECIPES
from xmcgan.runtime.device import keep_freed_memory, resolve_device
from xmcgan.scenes import write_scenes
from xmcgan.training.batches import embedded_batches, prefetched
from xmcgan.training.state import initial_state
from xmcgan.training.step import train_step

UNTIMED = 2


def steps_of(config: Config, records: Sequence[Record], encoder: TextEncoder, steps: int) -> tuple[float, float]:
    """Seconds of a step, and the share of that time spent waiting for the batch."""
    training = initial_state(config, encoder.dim, encoder.device)
    batches = embedded_batches(config, records, encoder, encoder.device, start=0)
    if config.training.prefetch:
        batches = prefetched(batches, config.training.prefetch, encoder.device)
    waited = began = 0.0
    with closing(batches):
        for step in range(UNTIMED + steps):
            if step == UNTIMED:
                synchronise(encoder.device)
                waited, began = 0.0, time.perf_counter()
            asked = time.perf_counter()
            fresh = [next(batches) for _ in range(config.training.discriminator_steps)]
            waited += time.perf_counter() - asked
            train_step(training, fresh)
        synchronise(encoder.device)
        took = time.perf_counter() - began
    return took / steps, waited / took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--recipe", choices=[name for name in RECIPES if "scenes" in name], default="scenes-narratives-64"
    )
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prefetch", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    if options.prefetch < 1:
        parser.error(f"--prefetch is {options.prefetch}; it should be at least 1, to compare with 0")
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        recipe = RECIPES[options.recipe]
        data = write_scenes(
            Path(folder) / "scenes", size=recipe.image_size, train=500, val=8, evaluator=4, progress=False
        )
        plain = replace(recipe, data=str(data))
        records = read_records(data, plain.dataset.layout, plain.dataset.split)
        device = resolve_device(options.device)
        encoder = TextEncoder(
            plain.text.encoder, max_length=plain.text.max_length, layers=plain.text.layers, device=device, cache_mb=0
        )
        found: dict[int, list[tuple[float, float]]] = {0: [], options.prefetch: []}
        for _ in tqdm(range(options.rounds), unit="round"):
            for count, results in found.items():
                config = replace(plain, training=replace(plain.training, prefetch=count))
                results.append(steps_of(config, records, encoder, options.steps))
    print("| prefetch | s a step, each round | median | waiting for its batch, median |\n|---|---|---|---|")
    for count, results in found.items():
        seconds, waits = zip(*results, strict=True)
        each = ", ".join(f"{value:.2f}" for value in seconds)
        print(f"| {count} | {each} | {statistics.median(seconds):.2f} | {statistics.median(waits):.0%} |")


if __name__ == "__main__":
    main()
