"""Repeats T1 and T2, two measurements of the authors' JAX code, with this library: in the plain and our formulation.

    python benchmarks/authors.py [--output authors.json] [--threads 2] [--only T1]

T1: one training step at 128 px, width 16, word dimension 384, official stem: 8 images for a discriminator step and 8
others for the last one, which also updates the generator; with losses, Adam (`training.fused`) and EMA. 16 images.
T2: 4 images of the generator in evaluation mode at 256 px, width 96, word dimension 768.

Weights are random, and inputs are created before timing (17 standard-normal word embeddings, 5 to 17 of them real);
loading, text encoding and the frozen image encoder are left out. The variants take turns, so that other load on the
machine affects all alike. Process time is printed beside wall time; with --threads 1, their difference is due to other
processes. The authors' figures were measured on two idle cores of an AMD EPYC with AVX-512 in float32, so the ratios
are valid only on the same hardware.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from plain_networks import plain
from tqdm import tqdm

from xmcgan.config import Config, DiscriminatorConfig, GeneratorConfig, LossConfig, TextConfig, TrainingConfig
from xmcgan.inference.fused import fuse_generator
from xmcgan.model.generator import Generator
from xmcgan.profiling.flops import count_gflop, random_batch, random_text
from xmcgan.profiling.timing import machine
from xmcgan.runtime.device import keep_freed_memory
from xmcgan.training.state import initial_state
from xmcgan.training.step import train_step

AUTHORS = {"T1": 3.31, "T2": 0.310}
"""Images per second of the authors' code."""
TARGETS = {("T1", "float32"): 8, ("T1", "bfloat16"): 12, ("T2", "float32"): 4, ("T2", "bfloat16"): 7}
"""Targets, as multiples of the authors' images per second."""
IMAGES = {"T1": 16, "T2": 4}
PRECISIONS = ("float32", "bfloat16")
CPU = torch.device("cpu")

Variant = tuple[str, str, str]  # measurement, formulation, precision


def training_steps() -> dict[Variant, Callable[[], object]]:
    """T1 in every variant; each has its own networks with the same initial weights."""
    calls: dict[Variant, Callable[[], object]] = {}
    for precision in PRECISIONS:
        for formulation in ("plain", "ours"):
            config = Config(
                image_size=128,
                text=TextConfig(encoder="minilm"),
                generator=GeneratorConfig(width=16, stem="noise"),
                discriminator=DiscriminatorConfig(width=16),
                losses=LossConfig(image_encoder=0.0),
                training=TrainingConfig(
                    batch_size=8, discriminator_steps=2, precision=precision, device="cpu", fused=True
                ),
            )
            training = initial_state(config, 384, CPU)
            batches = [random_batch(config, 384, CPU) for _ in range(2)]

            def call(training=training, batches=batches, formulation=formulation) -> None:
                with plain() if formulation == "plain" else nullcontext():
                    train_step(training, batches)

            calls["T1", formulation, precision] = call
    return calls


def generations() -> dict[Variant, Callable[[], object]]:
    """T2 in every variant: the plain formulation, the training layers, and fused weights."""
    torch.manual_seed(0)
    generator = Generator(image_size=256, width=96, text_dim=768, stem="noise").eval().requires_grad_(False)
    generator = generator.to(memory_format=torch.channels_last)
    noise, text = torch.randn(4, 128), random_text(4, 17, 768, CPU)
    calls: dict[Variant, Callable[[], object]] = {}
    for precision in PRECISIONS:
        dtype = getattr(torch, precision)
        fused = fuse_generator(generator, dtype)

        @torch.inference_mode()
        def call(network=generator, formulation="plain", dtype=dtype) -> None:
            half = formulation != "ours" and dtype != torch.float32
            with (
                plain() if formulation == "plain" else nullcontext(),
                torch.autocast("cpu", dtype) if half else nullcontext(),
            ):
                network(noise, text)

        calls["T2", "plain", precision] = call
        calls["T2", "layers of training", precision] = lambda call=call: call(formulation="layers")
        calls["T2", "ours", precision] = lambda call=call, fused=fused: call(fused, "ours")
    return calls


def in_turns(
    calls: dict[Variant, Callable[[], object]], samples: int, warmup: int
) -> dict[Variant, list[tuple[float, float]]]:
    """Wall and process seconds of every call, with the variants in turn; the first rounds are warm-up."""
    seconds: dict[Variant, list[tuple[float, float]]] = {variant: [] for variant in calls}
    with tqdm(total=(samples + warmup) * len(calls), unit="call") as bar:
        for number in range(warmup + samples):
            for variant, call in calls.items():
                began, own = time.perf_counter(), time.process_time()
                call()
                taken = time.perf_counter() - began
                if number >= warmup:
                    seconds[variant].append((taken, time.process_time() - own))
                bar.set_postfix_str(f"{', '.join(variant)}: {1e3 * taken:.0f} ms", refresh=False)
                bar.update()
    return seconds


def summary(variant: Variant, seconds: list[tuple[float, float]], gflop: float) -> dict[str, Any]:
    """One row of the table."""
    which, formulation, precision = variant
    clock, own = zip(*seconds, strict=True)
    first, median, third = statistics.quantiles(clock, n=4, method="inclusive")
    rate = IMAGES[which] / median
    return {
        "measurement": which,
        "formulation": formulation,
        "precision": precision,
        "median_ms": 1e3 * median,
        "minimum_ms": 1e3 * min(clock),
        "own_median_ms": 1e3 * statistics.median(own),
        "quartiles_ms": [1e3 * first, 1e3 * third],
        "samples": len(seconds),
        "images_per_second": rate,
        "gflop_per_image": gflop / IMAGES[which],
        "times_authors": rate / AUTHORS[which],
        "wanted_times_authors": TARGETS[which, precision] if formulation == "ours" else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="JSON file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--t1-samples", type=int, default=15)
    parser.add_argument("--t2-samples", type=int, default=9)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--only", choices=("T1", "T2"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    rows = []
    for which, make, samples in (
        ("T1", training_steps, options.t1_samples),
        ("T2", generations, options.t2_samples),
    ):
        if options.only not in (None, which):
            continue
        calls = make()
        counted = {variant: count_gflop(call) for variant, call in calls.items()}
        seconds = in_turns(calls, samples, options.warmup)
        rows += [summary(variant, taken, counted[variant]) for variant, taken in seconds.items()]
    load = os.getloadavg()[0]
    about = machine(CPU) | {"load_average_of_a_minute": load, "cores": os.cpu_count()}
    print(f"\n{about['name']}, {about['threads']} threads of {about['cores']} cores, torch {about['torch']}; "
          f"load {load:.1f} (if above the number of threads, other work ran and rates are too low)\n")  # fmt: skip
    print(
        "| | formulation | precision | images/s | ms, median | quartiles | own ms | GFLOP/image | x authors | target |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['measurement']} | {row['formulation']} | {row['precision']} | {row['images_per_second']:.2f} | "
            f"{row['median_ms']:.0f} | {row['quartiles_ms'][0]:.0f} to {row['quartiles_ms'][1]:.0f} | "
            f"{row['own_median_ms']:.0f} | "
            f"{row['gflop_per_image']:.2f} | {row['times_authors']:.1f} | {row['wanted_times_authors'] or ''} |"
        )
    if options.output:
        options.output.write_text(json.dumps({"machine": about, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
