"""Everything to run on a GPU, in one command: checks against the CPU, timings of coco14-256, projections.

    python benchmarks/gpu.py --output gpu.json
    python benchmarks/gpu.py --device cpu --width 4 --size 64 --batch 32 --repetitions 2 --no-compile \
        --switch-steps 0 --output try.json

First the checks: each prints the difference found and the largest allowed, relative to the CPU's float32 values.
The exit status is 1 if any failed. Then the timings: the training step in bfloat16 with fused Adam, plain and compiled,
on the whole batch or in the largest micro-batches that fit, and once channels first; then generation, also with CUDA
graphs. Last, the losses of 200 steps with each switch (benchmarks/switches.py; --switch-steps 0 skips them). The output
file is rewritten after every part, and `xmcgan project --bench` reads it.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from memory import run_case
from torch import Tensor
from torch.optim import SGD, Adam

from xmcgan.cli.options import refuse_existing
from xmcgan.config import Config
from xmcgan.data.layouts import read_records
from xmcgan.encoders.text import TextEncoder
from xmcgan.inference.fused import fuse_generator
from xmcgan.model.generator import Generator
from xmcgan.profiling import bench, flops, projection, timing
from xmcgan.recipes import RECIPES
from xmcgan.runtime.device import resolve_device, use_tf32
from xmcgan.runtime.files import write_json
from xmcgan.scenes import write_scenes
from xmcgan.training.batches import embedded_batches, prefetched
from xmcgan.training.state import initial_state
from xmcgan.training.step import train_step
from xmcgan.types import Batch

CPU = torch.device("cpu")
TEXT_DIM = 768
MICRO_BATCHES = (None, 128, 64, 32, 16)


@dataclass(frozen=True)
class Check:
    """A difference from the expected values, and the largest allowed; of a check that did not run, the error."""

    name: str
    difference: float
    allowed: float
    reason: str = ""

    @property
    def passed(self) -> bool:
        return self.difference <= self.allowed  # False for NaN

    def __str__(self) -> str:
        said = f"{self.name}: difference {self.difference:.2e}, allowed {self.allowed:.0e}, "
        return said + ("ok" if self.passed else "FAILED") + (f" ({self.reason})" if self.reason else "")


def relative(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest relative difference: norm of the difference over norm of the expected tensor."""
    pairs = [(a.detach().cpu().double(), b.detach().cpu().double()) for a, b in zip(found, expected, strict=True)]
    return max(float((a - b).norm() / b.norm().clamp_min(1e-12)) for a, b in pairs)


def small(size: int, precision: str) -> Config:
    """The paper's recipe at small width, without the frozen encoder."""
    recipe = RECIPES["coco14-256"]
    return replace(
        recipe,
        image_size=size,
        generator=replace(recipe.generator, width=8),
        discriminator=replace(recipe.discriminator, width=8),
        losses=replace(recipe.losses, image_encoder=0.0),
        training=replace(recipe.training, batch_size=8, precision=precision, compile=False, tf32=False),
    )


def forward_and_step(size: int, precision: str, device: torch.device) -> dict[str, list[Tensor]]:
    """Generated images, discriminator features, and the losses and gradients of a training step.

    The step uses SGD with a learning rate of 1, so that a weight changes by its gradient. Adam's first step is the sign
    of the gradient, which rounding can flip where the gradient is close to 0.
    """
    config = small(size, precision)
    training = initial_state(config, TEXT_DIM, CPU)
    torch.manual_seed(1)
    batches = [flops.random_batch(config, TEXT_DIM, CPU) for _ in range(2)]
    networks = (training.generator, training.discriminator)
    for network in (*networks, training.ema.network):
        network.to(device)
    training.generator_optimizer = SGD(training.generator.parameters(), 1.0)  # ty: ignore[invalid-assignment]
    training.discriminator_optimizer = SGD(training.discriminator.parameters(), 1.0)  # ty: ignore[invalid-assignment]
    batches = [Batch(each.images_B3HW.to(device), each.text.to(device), each.noise_BZ.to(device)) for each in batches]
    first = batches[0]
    with torch.no_grad(), training.layers_in_precision():
        drawn = training.ema.network(first.noise_BZ, first.text).images_B3HW
        seen = training.discriminator(first.images_B3HW, first.text).tensors
    # One batch: a second discriminator step would start from the first one's new weights.
    before = [torch.cat([weight.detach().flatten() for weight in network.parameters()]) for network in networks]
    report = train_step(training, batches[:1])
    after = [torch.cat([weight.detach().flatten() for weight in network.parameters()]) for network in networks]
    return {
        "generator's images": [drawn],
        "discriminator's features": seen,
        "losses of a step": [torch.stack([report["d_loss"], report["g_loss"]])],
        "gradients of a step": [a - b for a, b in zip(after, before, strict=True)],
    }


def prepared_difference(size: int, dtype: torch.dtype, device: torch.device) -> float:
    """Difference between images of the fused generator and of the plain one in float32."""
    torch.manual_seed(0)
    generator = Generator(image_size=size, width=8, text_dim=TEXT_DIM).eval().to(device)
    text, noise = flops.random_text(4, 17, TEXT_DIM, device), torch.randn(4, generator.noise_dim).to(device)
    with torch.inference_mode():
        images = [network(noise, text).images_B3HW for network in (fuse_generator(generator, dtype), generator)]
    return relative(images[:1], images[1:])


def fused_difference(device: torch.device) -> float:
    """Difference between the weights after ten steps of fused Adam and after ten of plain Adam."""
    torch.manual_seed(0)
    gradients = torch.randn(10, 1000, device=device)
    found = []
    for fused in (True, False):
        weight = torch.zeros(1000, device=device, requires_grad=True)
        optimizer = Adam([weight], 1e-3, (0.5, 0.999), fused=fused, foreach=False)
        for gradient in gradients:
            weight.grad = gradient.clone()
            optimizer.step()
        found.append(weight)
    return relative(found[:1], found[1:])


def prefetched_difference(device: torch.device, of: Callable[[Batch], list[Tensor]]) -> float:
    """Difference between batches that a thread prefetched while the device was busy, and batches made between steps."""
    with tempfile.TemporaryDirectory() as folder:
        data = write_scenes(Path(folder) / "scenes", size=64, train=64, val=8, evaluator=4, progress=False)
        recipe = RECIPES["scenes-64"]
        training = replace(recipe.training, batch_size=8)
        config = replace(recipe, data=str(data), dataset=replace(recipe.dataset, workers=0), training=training)
        records = read_records(data, config.dataset.layout, config.dataset.split)
        encoder = TextEncoder("minilm", max_length=17, device=device, cache_mb=0)  # so that both embed
        with closing(embedded_batches(config, records, encoder, device, start=0)) as batches:
            expected = list(islice(batches, 20))
        busy = torch.randn(2048, 2048, device=device) if device.type == "cuda" else torch.randn(64, 64)
        largest = 0.0
        with closing(prefetched(embedded_batches(config, records, encoder, device, start=0), 3, device)) as batches:
            for batch, known in zip(batches, expected, strict=False):
                for _ in range(10):
                    busy = (busy @ busy).tanh()
                largest = max(largest, relative(of(batch), of(known)))
    return largest


def checks(size: int, device: torch.device) -> list[tuple[list[str], list[float], Callable[[], list[float]]]]:
    """Name, allowed difference and function of each check."""
    allowed = {
        "generator's images": (1e-4, 5e-2),
        "discriminator's features": (1e-4, 5e-2),
        "losses of a step": (1e-4, 5e-2),
        "gradients of a step": (1e-3, 3.0),
    }
    listed: list[tuple[list[str], list[float], Callable[[], list[float]]]] = []
    for number, precision in enumerate(("float32", "bfloat16")):

        def compare(precision: str = precision) -> list[float]:
            expected = forward_and_step(size, "float32", CPU)
            found = forward_and_step(size, precision, device)
            off = {name: relative(found[name], expected[name]) for name in allowed}
            if precision == "bfloat16":
                # Batch norm and ReLU magnify: how far bfloat16's gradients are from float32's, the CPU says itself.
                name = "gradients of a step"
                off[name] /= relative(forward_and_step(size, precision, CPU)[name], expected[name])
            return list(off.values())

        names = [f"{name}, {precision} on {device} against float32 on the CPU" for name in allowed]
        if precision == "bfloat16":
            names[-1] += ", over that of bfloat16 on the CPU"
        listed.append((names, [limits[number] for limits in allowed.values()], compare))
    for dtype, limit in ((torch.float32, 1e-4), (torch.bfloat16, 5e-2)):
        call = partial(prepared_difference, size, dtype, device)
        listed.append(([f"fused generator in {dtype} against generator"], [limit], lambda call=call: [call()]))
    listed.append((["fused Adam against plain"], [1e-5], lambda: [fused_difference(device)]))
    for name, limit, of in (
        ("images and noise", 0.0, lambda batch: [batch.images_B3HW, batch.noise_BZ]),
        ("words", 1e-5, lambda batch: [batch.text.words_BTD, batch.text.sentence_BD]),
    ):
        call = partial(prefetched_difference, device, of)
        listed.append(([f"{name} of prefetched batches against plain ones"], [limit], lambda call=call: [call()]))
    # 10^9 bytes, in megabytes of 2^20; in a process of its own, as the most there was is that of a process.
    name = "megabytes of the region-word loss beyond its inputs, batch 256, 64 words, 256 regions"
    listed.append(([name], [1e9 / 2**20], lambda: [run_case("--case", "loss", "--device", device)]))
    return listed


def checked(size: int, device: torch.device, keep: Callable[[Check], None]) -> None:
    """Runs and prints every check; one that raises counts as failed, and the next ones still run."""
    for names, limits, call in checks(size, device):
        try:
            results, reason = call(), ""
        except Exception as error:  # one failure must not waste an hour on a GPU
            results, reason = [float("nan")] * len(names), f"{type(error).__name__}: {str(error).splitlines()[:1]}"
        for name, limit, result in zip(names, limits, results, strict=True):
            check = Check(name, result, limit, reason)
            print(check, flush=True)
            keep(check)
        timing.free(device)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--width", type=int, default=96, help="of the step that is timed")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--switch-steps", type=int, default=200, help="of benchmarks/switches.py; 0 leaves it out")
    parser.add_argument("--output", type=Path, required=True, help="a JSON file, new")
    options = parser.parse_args()
    refuse_existing(options.output)
    device = resolve_device(options.device)
    use_tf32(device, False)
    known: list[Check] = []
    found: list[timing.Measurement | timing.OutOfMemory] = []
    errors: list[str] = []
    ceilings: dict[str, float] = {}

    def write() -> None:
        about: dict[str, object] = {
            "checks": [asdict(each) | {"passed": each.passed} for each in known],
            "errors": errors,
        }
        about |= {"recipe": "coco14-256", "width": options.width, "image_size": options.size}
        about |= {"batch_size": options.batch, "text_dim": TEXT_DIM}
        write_json(options.output, bench.report(device, ceilings, found) | about)

    def keep(check: Check) -> None:
        known.append(check)
        write()

    def timed(part: str, variant: str, call: Callable[[], timing.Measurement]) -> bool:
        """Whether the part fitted into memory. Other errors are printed and kept, and the next parts still run."""
        try:
            result = timing.attempt(part, variant, "bfloat16", call, device)
        except Exception as error:
            errors.append(f"{part}, {variant}: {type(error).__name__}: {error}")
            print(f"FAILED: {errors[-1]}", flush=True)
            write()
            return True
        found.append(result)
        write()
        print(bench.row(result, ceilings), flush=True)
        return isinstance(result, timing.Measurement)

    about = timing.machine(device)
    print(f"{about['name']}, {device}, torch {about['torch']}\n", flush=True)
    checked(min(options.size, 128), device, keep)

    ceilings |= {name: timing.ceiling(device, getattr(torch, name)) for name in ("float32", "bfloat16")}
    rates = ", ".join(f"{name} {value:.3g} TFLOP/s" for name, value in ceilings.items())
    print(f"\nCeiling, one matrix product: {rates}.\n\n{bench.HEAD}", flush=True)
    recipe = RECIPES["coco14-256"]
    schedule = timing.Schedule(options.repetitions)
    rows = [each for each in MICRO_BATCHES if each is None or (each < options.batch and options.batch % each == 0)]

    def step_timed(micro_batch: int | None, **switches: bool) -> bool:
        training = replace(recipe.training, batch_size=options.batch, micro_batch=micro_batch, **switches)
        config, variant = bench.can_be_timed(
            replace(
                recipe,
                image_size=options.size,
                generator=replace(recipe.generator, width=options.width),
                discriminator=replace(recipe.discriminator, width=options.width),
                training=replace(training, precision="bfloat16", fused=True),
            )
        )
        call = partial(bench.bench_training, config, TEXT_DIM, device, schedule=schedule)
        fits = timed("training", variant, call)
        torch._dynamo.reset()
        return fits

    generator = Generator(image_size=options.size, width=options.width, text_dim=TEXT_DIM)
    draw = partial(bench.bench_generation, generator, TEXT_DIM, device, torch.bfloat16, schedule=schedule)
    for compile in (False,) if options.no_compile else (False, True):
        while rows and not step_timed(rows[0], compile=compile):  # what did not fit plain is not tried compiled
            rows = rows[1:]
        timed("generation", "fused" + ", compiled" * compile, partial(draw, compile=compile))
        torch._dynamo.reset()
    if rows:
        step_timed(rows[0], channels_last=False)
    if device.type == "cuda" and not options.no_compile:
        timed("generation", "fused, compiled with CUDA graphs", partial(draw, cuda_graphs=True))
        torch._dynamo.reset()

    print(flush=True)
    reached = [
        each.mfu(ceilings) or 0.0 for each in found if isinstance(each, timing.Measurement) and each.part == "training"
    ]
    if reached:
        print(f"Best training step: {max(reached):.0%} of the ceiling; aimed at, of the paper's size: 45 %.\n")
        assumed = projection.measured(options.output, projection.Assumptions())
        counted = projection.count(recipe, TEXT_DIM)
        print(f"{assumed.tflops:.3g} TFLOP/s ({assumed.tflops_source}) at {assumed.mfu:.0%} ({assumed.mfu_source}).\n")
        epochs = {"COCO-14 x 1000": (projection.PAIRS["coco14"], 1000.0)}
        print(projection.table([projection.project(counted, each, assumed) for each in (1, 8, 64)], epochs), flush=True)
    if options.switch_steps:
        switches = [Path(__file__).with_name("switches.py"), "--steps", options.switch_steps, "--device", device]
        if options.no_compile:
            switches.append("--no-compile")
        if subprocess.run([sys.executable, *map(str, switches)]).returncode:
            errors.append("benchmarks/switches.py failed")
            write()
    failed = sum(not each.passed for each in known)
    print(f"\n{len(known) - failed} checks passed, {failed} failed; written to {options.output}", flush=True)
    return 1 if failed or errors else 0


if __name__ == "__main__":
    raise SystemExit(main())
