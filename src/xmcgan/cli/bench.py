"""The subcommand ``xmcgan bench``."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jsonargparse import Namespace

from xmcgan.cli.parser import ArgumentParser
from xmcgan.config import Config, suggestion
from xmcgan.recipes import RECIPES
from xmcgan.runtime.files import write_json

if TYPE_CHECKING:
    import torch

    from xmcgan.model.generator import Generator
    from xmcgan.profiling.timing import Measurement, OutOfMemory, Schedule

    Measured = Measurement | OutOfMemory

ENCODER_WIDTHS = {"minilm": 384, "google-bert/bert-base-uncased": 768}
"""Widths of a word that are known without loading the encoder: BERT would have to be downloaded first."""


def refuse_existing(path: Path | None) -> None:
    """For a file to be written later: said before anything is measured.

    Raises:
        FileExistsError: if there is such a file.
    """
    if path is not None and path.exists():
        raise FileExistsError(f"{path} is there already; choose another --output")


def as_list(value: Any) -> list[Any]:
    """A list from the command line, where one bare value may stand for a list of it."""
    return value if isinstance(value, list) else [] if value is None else [value]


def refuse_less(least: float, **values: float | None) -> None:
    """Numbers that make no sense, under their options' names; None is an option not given.

    Raises:
        ValueError: naming the option.
    """
    for name, value in values.items():
        if value is not None and not value >= least:
            raise ValueError(f"--{name.replace('_', '-')} is {value}; it should be at least {least:g}")


def width_of_words(encoder: str, given: int | None) -> tuple[int, str]:
    """The width of a word embedding, and where it is from, without loading the encoder.

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


SWITCHES = {"fused": bool, "tf32": bool, "micro_batch": int, "checkpoint_activations": bool, "channels_last": bool}
"""Of ``training``, which the bench takes for a while."""


def bench_parser() -> ArgumentParser:
    """The options of ``xmcgan bench``."""
    parser = ArgumentParser(
        prog="xmcgan bench",
        description="Images a second, milliseconds, memory and operations of training step, generation, text encoding "
        "and loading, with random data: medians with quartiles. What does not fit the device's memory is said.",
        exit_on_error=False,
    )
    parser.add_argument("recipe", type=str, nargs="?", default="scenes-64", help=f"one of {', '.join(RECIPES)}")
    parser.add_argument(
        "--model", type=str | None, default=None, help="a run, checkpoint or saved pipeline: its configuration "
        "and, for generation, its weights, instead of a recipe's"
    )  # fmt: skip
    parser.add_argument("--parts", type=list[str] | str | None, default=None,
                        help="only these: training, or '[training, generation]'")  # fmt: skip
    parser.add_argument("--precision", type=list[str] | str | None, default=None, help="of training and generation: "
                        "bfloat16, or '[float32, bfloat16]'; the recipe's unless given")  # fmt: skip
    parser.add_argument("--batch-size", type=int | None, default=None, help="of training; the recipe's unless given")
    parser.add_argument("--generation-batch", type=int | None, default=None, help="what suits the device unless given")
    parser.add_argument("--encoder", type=str | None, default=None, help="text encoder; the recipe's unless given")
    parser.add_argument("--text-dim", type=int | None, default=None,
                        help="width of a word embedding; the encoder's unless given")  # fmt: skip
    parser.add_argument("--compile", type=bool, default=False, help="also with torch.compile")
    for name, kind in SWITCHES.items():
        about = f"training.{name}{' of everything measured' if name == 'tf32' else ''}; as configured unless given"
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind | None, default=None, help=about)
    parser.add_argument("--repetitions", type=int, default=9, help="timed calls of each")
    parser.add_argument("--warmup", type=int, default=2, help="calls before them")
    parser.add_argument("--threads", type=int | None, default=None, help="of the CPU; PyTorch's choice unless given")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    parser.add_argument("--output", type=Path | None, default=None, help="a JSON file to write, new")
    return parser


def check_options(options: Namespace) -> tuple[list[str], list[str]]:
    """The parts and precisions asked for, after every option has been checked.

    Raises:
        ValueError: naming the option that is wrong.
        FileExistsError: if the output is there already.
    """
    from xmcgan.profiling.bench import PARTS

    parts: list[str] = as_list(options.parts) or [*PARTS]
    precisions = as_list(options.precision)
    for part in parts:
        if part not in PARTS:
            raise ValueError(f"unknown part {part!r}{suggestion(part, PARTS)}")
    if options.recipe not in RECIPES:
        raise ValueError(f"unknown recipe {options.recipe!r}{suggestion(options.recipe, RECIPES)}")
    for name in precisions:
        if name not in ("float32", "bfloat16"):
            raise ValueError(f"precision is {name!r}; it can be float32 or bfloat16")
    refuse_less(1, threads=options.threads, generation_batch=options.generation_batch, text_dim=options.text_dim,
                micro_batch=options.micro_batch)  # fmt: skip
    refuse_less(2, batch_size=options.batch_size)  # of one example a contrastive loss has nothing to tell it from
    refuse_existing(options.output)
    return parts, precisions


class Model(NamedTuple):
    """What is measured: a recipe with fresh weights, or a trained model."""

    config: Config
    generator: "Generator"
    text_dim: int
    source: str  # of text_dim, in words
    switches: dict[str, Any]


def model_of(options: Namespace) -> Model:
    """The recipe or the checkpoint, with the options' settings."""
    from xmcgan.inference.model_files import find_model, load_generator
    from xmcgan.model.build import build_generator

    generator, config = None, RECIPES[options.recipe]
    if options.model is not None:
        generator, config, _ = load_generator(find_model(options.model))
        text_dim, source = generator.sentence_projection.in_features, "the checkpoint's"
        if options.text_dim not in (None, text_dim):
            raise ValueError(f"--text-dim is {options.text_dim}; that of the checkpoint's words is {text_dim}")
    else:
        text_dim, source = width_of_words(options.encoder or config.text.encoder, options.text_dim)
    if options.encoder is not None:
        config = replace(config, text=replace(config.text, encoder=options.encoder))
    if options.batch_size is not None:
        config = replace(config, training=replace(config.training, batch_size=options.batch_size))
    switches = {name: getattr(options, name) for name in SWITCHES if getattr(options, name) is not None}
    config = replace(config, training=replace(config.training, **switches))
    if generator is None:
        generator = build_generator(config, text_dim)
    return Model(config, generator, text_dim, source, switches)


def bench_command(arguments: list[str]) -> int:
    """Measures a recipe, or a trained model's generation, on this machine."""
    options = bench_parser().parse_args(arguments)
    parts, asked = check_options(options)

    import torch
    from tqdm import tqdm

    from xmcgan.profiling import bench, timing
    from xmcgan.runtime.device import keep_freed_memory, resolve_device, use_tf32
    from xmcgan.training.state import check_batch_size

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    device = resolve_device(options.device)
    if device.type == "cpu":
        keep_freed_memory()  # as training does
    schedule = timing.Schedule(options.repetitions, options.warmup)
    model = model_of(options)
    config = model.config
    use_tf32(device, config.training.tf32)  # before the ceilings: theirs is the arithmetic of what is held against them
    if "training" in parts:
        check_batch_size(config, 1)
    precisions = list(dict.fromkeys(asked or [config.training.precision]))
    ceilings = {name: timing.ceiling(device, getattr(torch, name)) for name in dict.fromkeys(["float32", *precisions])}

    found: list[Measured] = []
    write_measurements(options, model, bench.report(device, ceilings, found))
    with tqdm(unit="call", leave=False, desc="xmcgan bench") as bar:

        def tick(words: str) -> None:
            bar.set_postfix_str(words, refresh=False)
            bar.update()

        for each in measurements(options, model, parts, precisions, device, replace(schedule, tick=tick)):
            found.append(each)
            # What comes after may not come to an end.
            write_measurements(options, model, bench.report(device, ceilings, found))

    about = timing.machine(device)
    rates = ", ".join(f"{name}{' (TF32)' * (config.training.tf32 and name == 'float32')} {1e3 * value:.0f} GFLOP/s"
                      for name, value in ceilings.items())  # fmt: skip
    print(f"{about['name']}, {device}, {about['threads']} threads, torch {about['torch']}.")
    print(f"Ceiling, one matrix product: {rates}. Words of {model.text_dim} numbers: {model.source}.\n")
    print(bench.table(found, ceilings))
    if options.output is not None:
        print(f"\nwritten to {options.output}")
    return 0


def measurements(
    options: Namespace,
    model: Model,
    parts: list[str],
    precisions: list[str],
    device: "torch.device",
    schedule: "Schedule",
) -> "Iterator[Measured]":
    """Every part that is asked for, measured one after the other."""
    import torch

    from xmcgan.encoders.text import TextEncoder
    from xmcgan.profiling import bench, timing

    config, text_dim = model.config, model.text_dim
    for precision in precisions:
        for compile in (False, True) if options.compile else (False,):
            if "training" in parts:
                switched = replace(config.training, precision=precision, compile=compile)
                training, variant = bench.can_be_timed(replace(config, training=switched))
                call = partial(bench.bench_training, training, text_dim, device, schedule=schedule)
                yield timing.attempt("training", variant, precision, call, device)
            for fused in (False, True) if "generation" in parts else ():
                call = partial(
                    bench.bench_generation,
                    model.generator,
                    text_dim,
                    device,
                    getattr(torch, precision),
                    length=config.text.max_length,
                    batch_size=options.generation_batch,
                    fused=fused,
                    compile=compile,
                    schedule=schedule,
                )
                variant = ("fused" if fused else "as trained") + (", compiled" if compile else "")
                yield timing.attempt("generation", variant, precision, call, device)
            torch._dynamo.reset()
    if "text" in parts:

        def text() -> timing.Measurement:
            encoder = TextEncoder.from_config(config.text, device=device, cache_mb=0)
            return bench.bench_text(encoder, schedule=schedule)

        yield timing.attempt("text", config.text.encoder, "float32", text, device)
    if "loading" in parts:
        yield bench.bench_loading(config.image_size, schedule=schedule)


def write_measurements(options: Namespace, model: Model, report: dict[str, Any]) -> None:
    """Writes the JSON file, if one is asked for."""
    if options.output is None:
        return
    about = {
        "recipe": None if options.model else options.recipe,
        "checkpoint": options.model,
        "image_size": model.config.image_size,
        "batch_size": model.config.training.batch_size,
        "text_dim": model.text_dim,
        "switches": model.switches,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.output, report | about)
