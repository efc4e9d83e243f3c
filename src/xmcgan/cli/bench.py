"""``xmcgan bench``."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from xmcgan.cli.options import Recipe, check_at_least, refuse_existing
from xmcgan.config import Config
from xmcgan.recipes import RECIPES
from xmcgan.runtime.files import write_json
from xmcgan.runtime.locks import locked_folder
from xmcgan.runtime.progress import ProgressBar

if TYPE_CHECKING:
    import torch

    from xmcgan.model.generator import Generator
    from xmcgan.profiling.timing import Measurement, OutOfMemory, Schedule

    Measured = Measurement | OutOfMemory

ENCODER_WIDTHS = {"minilm": 384, "google-bert/bert-base-uncased": 768}
"""Widths of word embeddings that are known without loading the encoder: BERT would need a download."""

Part = Literal["training", "generation", "text", "loading"]


@dataclass(frozen=True)
class Changes:
    """Settings of the recipe or the model, as configured unless given.

    Args:
        batch_size: batch size of training.
        encoder: the text encoder.
        text_dim: width of a word embedding; by default the encoder's.
        fused: training.fused.
        tf32: training.tf32, for everything that is measured.
        micro_batch: training.micro_batch.
        checkpoint_activations: training.checkpoint_activations.
        channels_last: training.channels_last.
    """

    batch_size: int | None = None
    encoder: str | None = None
    text_dim: int | None = None
    fused: bool | None = None
    tf32: bool | None = None
    micro_batch: int | None = None
    checkpoint_activations: bool | None = None
    channels_last: bool | None = None

    def __post_init__(self):
        check_at_least(1, text_dim=self.text_dim, micro_batch=self.micro_batch)
        check_at_least(2, batch_size=self.batch_size)  # with one example, a contrastive loss has no negatives

    @property
    def switches(self) -> dict[str, Any]:
        """The given settings of ``training``, without the batch size."""
        others = ("batch_size", "encoder", "text_dim")
        return {name: value for name, value in asdict(self).items() if value is not None and name not in others}


@dataclass(frozen=True)
class Timed:
    """How it is timed.

    Args:
        repetitions: timed calls of each part.
        warmup: untimed calls before them.
        threads: CPU threads; by default PyTorch's choice.
    """

    repetitions: int = 9
    warmup: int = 2
    threads: int | None = None

    def __post_init__(self):
        check_at_least(1, threads=self.threads)


def bench(
    recipe: Recipe = "scenes-64",
    *,
    model: str | None = None,
    parts: list[Part] | None = None,
    precision: list[Literal["float32", "bfloat16"]] | None = None,
    generation_batch: int | None = None,
    compile: bool = False,
    device: str = "auto",
    output: Path | None = None,
    changes: Changes,
    timed: Timed,
) -> int:
    """Time training, generation, text encoding and loading on this machine.

    Prints images per second, milliseconds, memory and operations, with random data: medians with quartiles. A part that
    does not fit into the device's memory is reported as such.

    Args:
        recipe: what is measured, with random weights.
        model: a run, checkpoint or saved pipeline: its configuration, and for generation its weights, instead of a
            recipe's.
        parts: only these, separated by commas.
        precision: precision of training and generation; by default the recipe's.
        generation_batch: images generated at once; by default a number that suits the device.
        compile: also measure with torch.compile.
        device: auto, cpu, cuda, ...
        output: a new JSON file to write.

    Examples:
        xmcgan bench scenes-64
        xmcgan bench --model scenes-64 --parts generation --precision float32,bfloat16
    """
    check_at_least(1, generation_batch=generation_batch)
    refuse_existing(output)
    import torch

    from xmcgan.profiling import timing
    from xmcgan.runtime.device import keep_freed_memory, resolve_device, resolve_precision, use_tf32
    from xmcgan.training.state import check_batch_size

    if timed.threads is not None:
        torch.set_num_threads(timed.threads)
    place = resolve_device(device)
    if place.type == "cpu":
        keep_freed_memory()  # as training does
    measured = model_of(recipe, model, changes)
    use_tf32(place, measured.config.training.tf32)  # before the ceilings, which the measurements are compared with
    dtypes = [resolve_precision(name, place) for name in precision or [measured.config.training.precision]]
    precisions = [str(dtype).removeprefix("torch.") for dtype in dict.fromkeys(dtypes)]
    schedule = timing.Schedule(timed.repetitions, timed.warmup)
    plan = Plan(parts or [*get_args(Part)], precisions, generation_batch, compile, schedule)
    if "training" in plan.parts:
        check_batch_size(measured.config, 1)
    with nullcontext() if output is None else locked_folder(output, "written", beside=True):
        print(measure(measured, plan, place, output))
    if output is not None:
        print(f"\nwritten to {output}")
    return 0


class Plan(NamedTuple):
    """Which measurements are made."""

    parts: list[Part]
    precisions: list[str]
    generation_batch: int | None
    compile: bool
    schedule: "Schedule"


class Model(NamedTuple):
    """What is measured: a recipe with fresh weights, or a trained model."""

    config: Config
    generator: "Generator"
    text_dim: int
    source: str  # where text_dim is from, in words
    about: dict[str, Any]  # for the JSON file


def model_of(recipe: str, model: str | None, changes: Changes) -> Model:
    """The recipe or the trained model, with the changed settings."""
    from xmcgan.inference.model_files import find_model, load_generator
    from xmcgan.model.build import build_generator

    generator, config = None, RECIPES[recipe]
    if model is not None:
        generator, config, _ = load_generator(find_model(model))
        text_dim, source = generator.sentence_projection.in_features, "the checkpoint's"
        if changes.text_dim not in (None, text_dim):
            raise ValueError(f"--text-dim is {changes.text_dim}; that of the checkpoint's words is {text_dim}")
    else:
        text_dim, source = width_of_words(changes.encoder or config.text.encoder, changes.text_dim)
    if changes.encoder is not None:
        config = replace(config, text=replace(config.text, encoder=changes.encoder))
    if changes.batch_size is not None:
        config = replace(config, training=replace(config.training, batch_size=changes.batch_size))
    config = replace(config, training=replace(config.training, **changes.switches))
    if generator is None:
        generator = build_generator(config, text_dim)
    about = {
        "recipe": None if model else recipe,
        "checkpoint": model,
        "image_size": config.image_size,
        "batch_size": config.training.batch_size,
        "text_dim": text_dim,
        "switches": changes.switches,
    }
    return Model(config, generator, text_dim, source, about)


def width_of_words(encoder: str, given: int | None) -> tuple[int, str]:
    """The width of a word embedding, and where that is from, without loading the encoder.

    Raises:
        ValueError: if it is not known.
    """
    if given is not None:
        return given, "--text-dim"
    if encoder not in ENCODER_WIDTHS:
        raise ValueError(
            f"--encoder is {encoder!r}, whose width of a word is not known before it is loaded; give --text-dim"
        )
    return ENCODER_WIDTHS[encoder], f"that of {encoder}"


def measure(model: Model, plan: Plan, device: "torch.device", output: Path | None) -> str:
    """Measures every part and writes the JSON file after each; returns the table to print."""
    import torch

    from xmcgan.profiling import bench as benching
    from xmcgan.profiling import timing

    names = dict.fromkeys(["float32", *plan.precisions])
    ceilings = {name: timing.ceiling(device, getattr(torch, name)) for name in names}
    found: list[Measured] = []

    def write() -> None:
        if output is not None:
            write_json(output, benching.report(device, ceilings, found) | model.about)

    write()
    with ProgressBar(total=None, unit="call", leave=False, desc="xmcgan bench") as bar:

        def tick(words: str) -> None:
            bar.set_postfix_str(words)
            bar.update()

        for each in measurements(model, plan._replace(schedule=replace(plan.schedule, tick=tick)), device):
            found.append(each)
            write()  # the next part may fail

    about, tf32 = timing.machine(device), model.config.training.tf32
    rates = ", ".join(f"{name}{' (TF32)' * (tf32 and name == 'float32')} {1e3 * value:.0f} GFLOP/s"
                      for name, value in ceilings.items())  # fmt: skip
    return (
        f"{about['name']}, {device}, {about['threads']} threads, torch {about['torch']}.\n"
        f"Ceiling, one matrix product: {rates}. Words of {model.text_dim} numbers: {model.source}.\n\n"
        + benching.table(found, ceilings)
    )


def measurements(model: Model, plan: Plan, device: "torch.device") -> "Iterator[Measured]":
    """Every part of the plan, measured one after the other."""
    import torch

    from xmcgan.encoders.text import TextEncoder
    from xmcgan.profiling import bench as benching
    from xmcgan.profiling import timing

    config, schedule = model.config, plan.schedule
    for precision in plan.precisions:
        for compile in (False, True) if plan.compile else (False,):
            if "training" in plan.parts:
                switched = replace(config.training, precision=precision, compile=compile)
                training, variant = benching.can_be_timed(replace(config, training=switched))
                call = partial(benching.bench_training, training, model.text_dim, device, schedule=schedule)
                yield timing.attempt("training", variant, precision, call, device)
            for fused in (False, True) if "generation" in plan.parts else ():
                call = generation(model, plan, device, precision, fused=fused, compile=compile)
                variant = ("fused" if fused else "as trained") + (", compiled" if compile else "")
                yield timing.attempt("generation", variant, precision, call, device)
            torch._dynamo.reset()
    if "text" in plan.parts:

        def text() -> timing.Measurement:
            encoder = TextEncoder.from_config(config.text, device=device, cache_mb=0)
            return benching.bench_text(encoder, schedule=schedule)

        yield timing.attempt("text", config.text.encoder, "float32", text, device)
    if "loading" in plan.parts:
        yield benching.bench_loading(config.image_size, schedule=schedule)


def generation(
    model: Model, plan: Plan, device: "torch.device", precision: str, *, fused: bool, compile: bool
) -> "Callable[[], Measurement]":
    """A function that measures generation."""
    import torch

    from xmcgan.profiling import bench as benching

    return partial(
        benching.bench_generation,
        model.generator,
        model.text_dim,
        device,
        getattr(torch, precision),
        length=model.config.text.max_length,
        batch_size=plan.generation_batch,
        fused=fused,
        compile=compile,
        schedule=plan.schedule,
    )
