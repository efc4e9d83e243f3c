"""All runs of an ablation side by side on one GPU: each step is one CUDA graph, each run has a stream of its own.

    python benchmarks/gpu_pack.py pack --layers 4 --captions captions.txt     # before, where the packages are
    python benchmarks/gpu_study.py examples/scenes_study.json --output ablations/scenes --seconds 400 --pack pack
    xmcgan report ablations/scenes

One small network leaves most of a large GPU idle; several streams fill it. How many images each run sees is set after
some seconds, from the speed so far. The Scenes lie in device memory, so a step needs no host work. Images, captions and
noise are chosen at random on the device, not in the order of ``xmcgan ablate``. Other processes evaluate the averages
while training goes on. The folder is that of an ablation, without checkpoints, and with grids of 64 held-out captions.
"""

import argparse
import faulthandler
import json
import math
import os
import time
import traceback
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import torch
from gpu_training import ResidentData, capturable, embed_split, read_split, set_rates
from torch import Tensor

from xmcgan import __version__
from xmcgan.ablation.outcome import Outcome, write_outcome
from xmcgan.ablation.plan import Budget, Plan, Run, config_of, images_of_step, rows_named, steps_of, write_plan
from xmcgan.ablation.run import SAMPLE_CAPTIONS, failed_run, measure_diversity, protocol, write_samples
from xmcgan.ablation.studies import Row, study_from_file
from xmcgan.config import Config, flatten, from_dict, to_dict, unflatten
from xmcgan.data.layouts import read_records
from xmcgan.encoders.text import TextEncoder
from xmcgan.inference.image_grid import image_grid
from xmcgan.inference.model_files import load_generator, save_generator
from xmcgan.inference.pipeline import Pipeline
from xmcgan.recipes import RECIPES
from xmcgan.runtime.device import resolve_device, use_tf32
from xmcgan.runtime.files import read_json
from xmcgan.scenes import write_scenes
from xmcgan.training.ema import EMA, estimate_batch_norm
from xmcgan.training.state import initial_state
from xmcgan.training.step import train_step
from xmcgan.training.validation import Evaluate, make_validation

WARM_UP = 4  # steps before the graph is captured
AHEAD = 2  # steps of a run that are queued on the device


class Average:
    """``EMA.update`` with the decay on the device, as a graph needs it."""

    def __init__(self, ema: EMA, device: torch.device):
        self.ema, self.network = ema, ema.network
        self.share = torch.ones((), device=device)

    @property
    def updates(self) -> int:
        return self.ema.updates

    def set_decay(self) -> None:
        """Sets the decay of the next update."""
        self.share.fill_(1 - self.ema.next_decay())
        self.ema.updates += 1

    @torch.no_grad()
    def update(self, network: torch.nn.Module) -> None:
        averages = list(self.network.parameters())
        moves = torch._foreach_sub(list(network.parameters()), averages)
        torch._foreach_mul_(moves, self.share)
        torch._foreach_add_(averages, moves)
        for average, buffer in zip(self.network.buffers(), network.buffers(), strict=True):
            average.copy_(buffer)


@dataclass
class Training:
    """One run of the study in training."""

    run: Run
    config: Config  # with the pack's paths
    data: ResidentData
    device: torch.device
    stream: torch.cuda.Stream | None = None
    steps: int = 0
    total: int | None = None
    error: str = ""
    report: dict[str, Tensor] = field(default_factory=dict)
    lines: list[tuple[int, Tensor]] = field(default_factory=list)
    pending: deque = field(default_factory=deque)
    seconds: float = 0.0

    def __post_init__(self):
        self.cuda = self.device.type == "cuda"
        small = self.config.training.batch_size <= 32  # its short kernels should not wait for those of large batches
        own_stream = self.stream is None
        self.stream = self.stream or (torch.cuda.Stream(priority=-1 if small else 0) if self.cuda else None)
        self.state = initial_state(self.config, self.data.words_MTD.shape[2], self.device)
        capturable(self.state, self.config, self.device)
        self.average = self.state.ema = Average(self.state.ema, self.device)  # ty: ignore[invalid-assignment]
        # On one stream torch's own generator serves all runs, in turn.
        self.random = torch.Generator(self.device).manual_seed(self.run.seed) if own_stream else None
        self.replay = self.step
        if self.cuda:
            self.capture()

    def batch(self):
        batch = self.data.batch(self.config.training.batch_size, self.config.generator.noise_dim, self.random)
        return batch if self.config.augmentation.of_images else batch._replace(augmentation_BU=None)

    def step(self) -> None:
        self.report.update(train_step(self.state, [self.batch()]))

    def capture(self) -> None:
        """Some steps as they are, then the graph of one."""
        with torch.cuda.stream(self.stream):
            for _ in range(WARM_UP):
                self.average.set_decay()
                self.step()
                self.steps += 1
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        if self.random is not None:
            graph.register_generator_state(self.random)
        # Graphs captured on one stream would share cuBLAS's workspace, and two that run at once would wait for ever.
        with torch.cuda.graph(graph, stream=self.stream):
            self.step()
        self.replay = graph.replay

    @property
    def images(self) -> int:
        return self.steps * self.config.training.batch_size

    def is_ready(self) -> bool:
        """Whether the device will soon need another step of this run."""
        while self.pending and self.pending[0].query():
            self.pending.popleft()
        return len(self.pending) < AHEAD

    def advance(self) -> None:
        """One step, queued on the run's stream."""
        with torch.cuda.stream(self.stream):
            if self.total:
                set_rates(self.state, self.config, self.steps / self.total)
            self.average.set_decay()
            self.replay()
            self.steps += 1
            if self.steps % max(1, 2560 // self.config.training.batch_size) == 0:
                self.lines.append((self.steps, torch.stack([each.float() for each in self.report.values()])))
            if self.cuda:
                self.pending.append(torch.cuda.Event())
                self.pending[-1].record()

    def save(self, folder: Path) -> None:
        """Writes the average, at the end with its own batch-norm statistics."""
        with torch.cuda.stream(self.stream):
            count = self.config.training.batch_norm_batches if self.cuda else 2  # a CPU is for trying the script
            if self.steps == self.total and self.config.training.batch_norm_batches:
                batches = (self.batch() for _ in range(count))
                with self.state.layers_in_precision():
                    estimate_batch_norm(self.average.network, ((batch.noise_BZ, batch.text) for batch in batches))
            folder.mkdir(parents=True)
            save_generator(folder, self.average.network, self.config, self.data.words_MTD.shape[2], self.steps)

    def losses(self) -> list[dict[str, float]]:
        """The log: every loss and statistic."""
        names, per_step = list(self.report), images_of_step(self.config)
        return [
            {"step": step, "images": step * per_step, **dict(zip(names, values.tolist(), strict=True))}
            for step, values in self.lines
        ]


@cache
def validation(config_text: str, root: str, folder: str, device: str) -> tuple[Config, list, Evaluate]:
    """What evaluates the generators of a configuration, in this process."""
    config = from_dict(json.loads(config_text))
    held_out = list(read_records(Path(root), "coco", config.dataset.validation_split))
    return config, held_out, make_validation(config, Path(folder), held_out, device=torch.device(device))


def measure(
    model: Path, config_text: str, root: str, folder: str, device: str, plan: Plan, run: Run, last: bool
) -> tuple[int, dict[str, float]]:
    """The metrics of a saved average; at the end its samples and diversity too."""
    config, held_out, evaluate = validation(config_text, root, f"{folder}/{os.getpid()}", device)
    generator, _, step = load_generator(model)
    values = evaluate(generator.to(device), step).values
    if last:
        pipe = Pipeline.from_pretrained(model, device=device)
        captions = [record.captions[0] for record in held_out[:64]]
        write_samples(plan.samples_file(run), pipe, captions[:SAMPLE_CAPTIONS])
        (plan.output / "grids").mkdir(exist_ok=True)
        grid = image_grid(pipe(captions, seed=list(range(64))).images, 8, gap=0)
        grid.save(plan.output / "grids" / f"{run.name}.png")
        values["diversity"] = measure_diversity(config, pipe, held_out, plan.pairs, torch.device(device))
    return step, values


class Watchdog:
    """Ends the process if the device stands still, which nothing else can end."""

    def __init__(self, patience: float):
        self.alive, self.patience, self.done = time.perf_counter(), patience, False
        Thread(target=self.watch, daemon=True).start()

    def watch(self) -> None:
        while not self.done:
            time.sleep(1)
            if time.perf_counter() - self.alive > self.patience:
                faulthandler.dump_traceback()
                print("the device stands still", flush=True)
                os._exit(75)


def train_all(trainings: list[Training], options: argparse.Namespace, fix_images, evaluate_point) -> None:
    """Trains all runs to the same number of images."""
    began, images, points = time.perf_counter(), options.images, options.points
    first = {id(each): each.images for each in trainings}
    if images:
        fix_images(images)
    deadline, said, watchdog = (
        began + 1.05 * options.seconds,
        began,
        Watchdog(options.patience if trainings[0].cuda else math.inf),
    )
    while live := [each for each in trainings if not each.error and (not each.total or each.steps < each.total)]:
        now = time.perf_counter()
        if not images and now - began > options.measure:
            torch.cuda.synchronize() if trainings[0].cuda else None
            took = time.perf_counter() - began
            rates = [(each.images - first[id(each)]) / took for each in trainings]
            images = images_within(options.seconds, rates)
            fix_images(images)
            print(f"{sum(rates):.0f} images/s in all, slowest {min(rates):.0f}; {images:,} images a run", flush=True)
        if options.one_stream:
            live = [min(live, key=lambda each: each.images)]
        ready = [each for each in live if each.is_ready()]
        if not ready:
            time.sleep(0.0003)
            continue
        for each in ready:
            watchdog.alive = time.perf_counter()
            try:
                each.advance()
                if each.total and (each.steps == each.total or each.steps % -(-each.total // points) == 0):
                    each.seconds = time.perf_counter() - began
                    evaluate_point(each)
            except Exception as error:
                each.error = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
                print(each.run.name, traceback.format_exc()[-1500:], flush=True)
        if now > deadline:
            for each in live:
                each.error = f"RuntimeError: at step {each.steps} of {each.total} at the end of its time"
        if now - said > 20:
            said = now
            print(f"{now - began:.0f} s: {' '.join(str(each.images) for each in trainings)} images", flush=True)
    watchdog.done = True


def images_within(seconds: float, rates: list[float]) -> int:
    """The images that every run can see, from the images per second of each while all of them run.

    Slow runs get faster when the others have ended: they may be at two fifths of the mean now.
    """
    mean = sum(rates) / len(rates)
    return int(min(0.85 * mean, 2.5 * min(rates)) * seconds) // 1536 * 1536  # whole batches of 24, 64 and 128


def check_row(row: Row) -> None:
    """Refuses what this script does not train: it would count images that no one saw, or leave a loss out."""
    config = row.config
    for name, value, right in (
        ("training.discriminator_steps", config.training.discriminator_steps, 1),
        ("training.micro_batch", config.training.micro_batch, None),
        ("training.init", config.training.init, None),
        ("training.discriminator_warmup", config.training.discriminator_warmup, 0),
        ("dataset.flip", config.dataset.flip, False),
        ("losses.trace", config.losses.trace, 0.0),
        ("penalties.every", config.penalties.every if config.penalties.active else 1, 1),
        ("augmentation.adaptive_target", config.augmentation.adaptive_target, None),
        ("augmentation.sentence_noise", config.augmentation.sentence_noise, 0.0),
    ):
        if value != right:
            raise SystemExit(f"{row.name}: {name} is {value}; this script trains with {right} alone")


def with_pack(config: Config, options: argparse.Namespace) -> Config:
    """A row's configuration, with the pack's files, on the device."""
    if options.pack is not None:
        text = replace(config.text, encoder=str(options.pack / "minilm"))
        discriminator = replace(config.discriminator, encoder_weights=str(options.pack / "lite0.pth"))
        config = replace(config, text=text, discriminator=discriminator)
    return replace(config, data=str(options.data))


def prepare(
    plan: Plan, options: argparse.Namespace, device: torch.device, say
) -> tuple[list[Training], list[tuple[Run, Outcome]]]:
    """All runs before their first step, the data on the device; and the outcomes of those that cannot start."""
    use_tf32(device, device.type == "cuda")
    pixels, captions = read_split("train", options.train, RECIPES[options.recipe], options.workers, options.data)
    say("images read")
    shared = torch.cuda.Stream() if options.one_stream and device.type == "cuda" else None
    sources: dict[Any, ResidentData] = {}
    trainings, failures = [], []
    for run in plan.runs():
        if run.seed and run.row.name in options.once:
            continue
        config = with_pack(config_of(plan, run, 1_000_000, options.device), options)
        if config.text not in sources:
            sources[config.text] = embed_split(pixels, captions, TextEncoder.from_config(config.text, device=device))
            say(f"{len(sources[config.text].words_MTD):,} captions embedded")
        try:
            trainings.append(Training(run, config, sources[config.text], device, shared))
            say(f"{run.name} ready")
        except RuntimeError as error:
            say(f"{run.name} failed: {traceback.format_exc()[-3000:]}")
            failures.append((run, failed_run(run, error, str(device))))
    return trainings, failures


def outcome(training: Training, points: list[Future], held_out: int, captions: list[str]) -> Outcome:
    """The outcome of a run, as ``xmcgan ablate`` writes it."""
    per_step, curve = images_of_step(training.config), []
    for each in points:
        try:
            step, values = each.result()
            curve.append({"step": step, "images": step * per_step, **values})
        except Exception as error:
            training.error = training.error or f"{type(error).__name__}: {error}"
    curve.sort(key=lambda line: line["step"])
    losses = training.losses()
    if any(not math.isfinite(value) for line in losses for value in line.values()):
        training.error = training.error or "TrainingDiverged: a loss is no longer a number"
    last = {name: value for name, value in curve[-1].items() if name not in ("step", "images")} if curve else {}
    card = torch.cuda.get_device_name() if training.cuda else "cpu"
    return Outcome(
        row=training.run.row.name, seed=training.run.seed, status="failed" if training.error else "done",
        error=training.error, values={} if training.error else last,
        curve=[{k: v for k, v in line.items() if k != "diversity"} for line in curve], losses=losses,
        steps=training.steps, images=training.images, seconds=round(training.seconds, 1),
        device=f"{training.device}, {card}, beside the other runs", protocol=protocol(training.config, held_out),
        captions=captions, version=__version__,
    )  # fmt: skip


def make_plan(options: argparse.Namespace, images: int) -> Plan:
    """The plan of the ablation: the study's rows, or some of them."""
    own: dict[str, Any] = {"evaluation.metrics": options.metrics, "evaluation.count": options.count}
    own["training.precision"] = options.precision
    base = from_dict(unflatten(flatten(to_dict(RECIPES[options.recipe])) | own))
    study = study_from_file(options.study.name, read_json(options.study), base)
    rows_named(study, options.once)
    study = rows_named(study, options.rows) if options.rows else study
    for row in study.rows:
        check_row(row)
    return Plan(
        options.output, study, options.recipe, Budget(images, None), options.seeds, options.points, options.pairs
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="a study as for xmcgan ablate --study")
    parser.add_argument("--output", type=Path, required=True, help="a folder, new")
    parser.add_argument("--recipe", choices=RECIPES, default="scenes-64", metavar="RECIPE")
    parser.add_argument("--seconds", type=float, default=400, help="of training")
    parser.add_argument("--until", type=float, help="seconds since 1970 at which the training ends, instead")
    parser.add_argument("--one-stream", action="store_true", help="one run after the other, step by step")
    parser.add_argument("--patience", type=float, default=10, help="seconds without a step after which it gives up")
    parser.add_argument("--measure", type=float, default=8, help="seconds after which the images are fixed")
    parser.add_argument("--images", type=int, help="of each run, instead of what fits into the time")
    parser.add_argument("--rows", nargs="*", help="names of rows; all unless given")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--once", nargs="*", default=[], help="names of rows that run with seed 0 alone")
    parser.add_argument("--points", type=int, default=4)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--metrics", default="fid,r-precision,contrastive-accuracy,soa-c")
    parser.add_argument("--data", type=Path, default=Path("data/scenes-64"), help="Scenes; drawn unless they are there")
    parser.add_argument("--train", type=int, default=20_000)
    parser.add_argument("--world-seed", type=int, default=0)
    parser.add_argument("--pack", type=Path, help="the folder of gpu_pack.py")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--workers", type=int, default=8, help="processes that read images")
    parser.add_argument("--evaluators", type=int, default=6, help="processes that evaluate")
    return parser.parse_args()


def main() -> None:
    options, began = parse(), time.perf_counter()
    device = resolve_device(options.device)

    def say(what: str) -> None:
        print(f"{time.perf_counter() - began:.0f} s: {what}", flush=True)

    if options.output.exists():
        raise SystemExit(f"{options.output} is there already; --output should be a new folder")
    try:
        plan = make_plan(options, options.images or 1)
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from None
    if not options.data.is_dir():
        write_scenes(options.data, train=options.train, val=2000, evaluator=0, seed=options.world_seed, progress=False)
        say("Scenes drawn")
    trainings, failures = prepare(plan, options, device, say)
    if not trainings:
        raise SystemExit("no run could start")
    held_out = read_records(options.data, "coco", "val2014")
    points: dict[str, list[Future]] = {each.run.name: [] for each in trainings}
    with (
        TemporaryDirectory() as scratch,
        ProcessPoolExecutor(options.evaluators, get_context("spawn"), torch.set_num_threads, (2,)) as pool,
    ):

        def fix_images(images: int) -> None:
            write_plan(replace(plan, budget=Budget(images, None)))
            for run, failure in failures:
                write_outcome(plan.outcome_file(run), failure)
            for each in trainings:
                each.total = steps_of(replace(plan, budget=Budget(images, None)), each.run.row)

        def tell(name: str, done: Future) -> None:
            say(f"{name}: {done.exception() or done.result()}")

        def evaluate_point(each: Training) -> None:
            folder, last = Path(scratch) / each.run.name / f"{each.steps}", each.steps == each.total
            each.save(folder)
            config_text = json.dumps(to_dict(replace(each.config, training=RECIPES[options.recipe].training)))
            arguments = folder, config_text, str(options.data), scratch, str(device), plan, each.run, last
            points[each.run.name].append(pool.submit(measure, *arguments))
            points[each.run.name][-1].add_done_callback(partial(tell, each.run.name))

        if options.until:
            options.seconds = options.until - time.time()
            say(f"{options.seconds:.0f} s are left for the training")
        train_all(trainings, options, fix_images, evaluate_point)
        say("trained")
        shown = [record.captions[0] for record in held_out[:SAMPLE_CAPTIONS]]
        for each in trainings:
            result = outcome(each, points[each.run.name], len(held_out), shown)
            write_outcome(plan.outcome_file(each.run), result)
            metrics = " ".join(f"{name} {value:.4g}" for name, value in result.values.items())
            curve = " ".join(f"{line.get('fid', 0):.3g}/{line.get('r-precision', 0):.3g}" for line in result.curve)
            say(f"{each.run.name}: {result.images:,} images; {metrics}; {curve} {result.error}")
    if device.type == "cuda":
        say(f"{torch.cuda.max_memory_reserved() / 2**30:.0f} GiB")


if __name__ == "__main__":
    main()
