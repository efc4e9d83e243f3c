"""The subcommands that measure, export and project: bench, export, project."""

import json
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from xmcgan.config import RECIPES, suggestion

ENCODER_WIDTHS = {"minilm": 384, "google-bert/bert-base-uncased": 768}
"""Widths of a word that are known without loading the encoder: BERT would have to be downloaded first."""


def write_whole(path: Path, content: str) -> None:
    """Writes a text file whole or not at all; nothing that is there is overwritten.

    Raises:
        FileExistsError: if there is such a file.
    """
    refuse_existing(path)
    rewrite_whole(path, content)


def refuse_existing(path: Path | None) -> None:
    """For a file to be written later: said before anything is measured.

    Raises:
        FileExistsError: if there is such a file.
    """
    if path is not None and path.exists():
        raise FileExistsError(f"{path} is there already; choose another --output")


def rewrite_whole(path: Path, content: str) -> None:
    """Writes a text file whole or not at all, over what this process wrote there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{path.name}")
    partial.write_text(content)
    partial.replace(path)


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
            raise ValueError(f"--{name} is {value}; it should be at least {least:g}")


def width_of_words(encoder: str, given: int | None) -> tuple[int, str]:
    """The width of a word embedding, and where it is from, without loading the encoder.

    Raises:
        ValueError: if it is not known.
    """
    if given is not None:
        return given, "--text_dim"
    if encoder not in ENCODER_WIDTHS:
        raise ValueError(
            f"--encoder is {encoder!r}, whose width of a word is not known before it is loaded; give --text_dim"
        )
    return ENCODER_WIDTHS[encoder], f"that of {encoder}"


SWITCHES = {"fused": bool, "tf32": bool, "micro_batch": int, "checkpoint_activations": bool, "channels_last": bool}
"""Of ``training``, which the bench takes for a while."""


def bench_command(arguments: list[str]) -> int:
    """Measures a recipe, or a trained model's generation, on this machine."""
    parser = ArgumentParser(
        prog="xmcgan bench",
        description="Images a second, milliseconds, memory and operations of training step, generation, text encoding "
        "and loading, with random data: medians with quartiles. What does not fit the device's memory is said.",
        exit_on_error=False,
    )
    parser.add_argument("recipe", type=str, nargs="?", default="scenes-64", help=f"one of {', '.join(RECIPES)}")
    parser.add_argument(
        "--checkpoint", type=str | None, default=None, help="a run, checkpoint or saved pipeline: its configuration "
        "and, for generation, its weights, instead of a recipe's"
    )  # fmt: skip
    parser.add_argument("--parts", type=list[str] | str | None, default=None,
                        help="only these: training, or '[training, generation]'")  # fmt: skip
    parser.add_argument("--precision", type=list[str] | str | None, default=None, help="of training and generation: "
                        "bfloat16, or '[float32, bfloat16]'; the recipe's unless given")  # fmt: skip
    parser.add_argument("--batch_size", type=int | None, default=None, help="of training; the recipe's unless given")
    parser.add_argument("--generation_batch", type=int | None, default=None, help="what suits the device unless given")
    parser.add_argument("--encoder", type=str | None, default=None, help="text encoder; the recipe's unless given")
    parser.add_argument("--text_dim", type=int | None, default=None,
                        help="width of a word embedding; the encoder's unless given")  # fmt: skip
    parser.add_argument("--compile", type=bool, default=False, help="also with torch.compile")
    for name, kind in SWITCHES.items():
        told = f"training.{name}{' of everything measured' if name == 'tf32' else ''}; as configured unless given"
        parser.add_argument(f"--{name}", type=kind | None, default=None, help=told)
    parser.add_argument("--repetitions", type=int, default=9, help="timed calls of each")
    parser.add_argument("--warmup", type=int, default=2, help="calls before them")
    parser.add_argument("--threads", type=int | None, default=None, help="of the CPU; PyTorch's choice unless given")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    parser.add_argument("--output", type=Path | None, default=None, help="a JSON file to write, new")
    options = parser.parse_args(arguments)
    from xmcgan.bench import PARTS

    parts, asked = as_list(options.parts) or list(PARTS), as_list(options.precision)
    for part in parts:
        if part not in PARTS:
            raise ValueError(f"unknown part {part!r}{suggestion(part, PARTS)}")
    if options.recipe not in RECIPES:
        raise ValueError(f"unknown recipe {options.recipe!r}{suggestion(options.recipe, RECIPES)}")
    for name in asked:
        if name not in ("float32", "bfloat16"):
            raise ValueError(f"precision is {name!r}; it can be float32 or bfloat16")
    refuse_less(1, threads=options.threads, generation_batch=options.generation_batch, text_dim=options.text_dim,
                micro_batch=options.micro_batch)  # fmt: skip
    refuse_less(2, batch_size=options.batch_size)  # of one example a contrastive loss has nothing to tell it from
    refuse_existing(options.output)

    from dataclasses import replace
    from functools import partial

    import torch
    from tqdm import tqdm

    from xmcgan import bench
    from xmcgan.checkpoint import build_generator, load_generator
    from xmcgan.device import keep_freed_memory, resolve_device, use_tf32
    from xmcgan.pipeline import find_model
    from xmcgan.text import TextEncoder
    from xmcgan.train import check_shares

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    device = resolve_device(options.device)
    if device.type == "cpu":
        keep_freed_memory()  # as training does
    schedule = bench.Schedule(options.repetitions, options.warmup)
    generator = None
    config = RECIPES[options.recipe]
    if options.checkpoint is not None:
        generator, config, _ = load_generator(find_model(options.checkpoint))
        text_dim, whose = generator.sentence_projection.in_features, "the checkpoint's"
        if options.text_dim not in (None, text_dim):
            raise ValueError(f"--text_dim is {options.text_dim}; that of the checkpoint's words is {text_dim}")
    else:
        text_dim, whose = width_of_words(options.encoder or config.text.encoder, options.text_dim)
    if options.encoder is not None:
        config = replace(config, text=replace(config.text, encoder=options.encoder))
    if options.batch_size is not None:
        config = replace(config, training=replace(config.training, batch_size=options.batch_size))
    switches = {name: getattr(options, name) for name in SWITCHES if getattr(options, name) is not None}
    config = replace(config, training=replace(config.training, **switches))
    use_tf32(device, config.training.tf32)  # before the ceilings: theirs is the arithmetic of what is held against them
    if "training" in parts:
        check_shares(config, 1)
    precisions = list(dict.fromkeys(asked or [config.training.precision]))
    if generator is None:
        generator = build_generator(config, text_dim)

    found: list[bench.Measurement | bench.OutOfMemory] = []
    ceilings = {name: bench.ceiling(device, getattr(torch, name)) for name in dict.fromkeys(["float32", *precisions])}

    def keep(*measured: bench.Measurement | bench.OutOfMemory) -> None:
        """Takes in a part, and writes down all there are: what comes after may not come to an end."""
        found.extend(measured)
        if options.output is None:
            return
        about = {
            "recipe": None if options.checkpoint else options.recipe,
            "checkpoint": options.checkpoint,
            "image_size": config.image_size,
            "batch_size": config.training.batch_size,
            "text_dim": text_dim,
            "switches": switches,
        }
        rewrite_whole(options.output, json.dumps(bench.report(device, ceilings, found) | about, indent=2) + "\n")

    with tqdm(unit="call", leave=False, desc="xmcgan bench") as bar:

        def tick(words: str) -> None:
            bar.set_postfix_str(words, refresh=False)
            bar.update()

        schedule = replace(schedule, tick=tick)
        keep()
        for precision in precisions:
            for compile in (False, True) if options.compile else (False,):
                if "training" in parts:
                    switched = replace(config.training, precision=precision, compile=compile)
                    training, variant = bench.can_be_timed(replace(config, training=switched))
                    call = partial(bench.bench_training, training, text_dim, device, schedule=schedule)
                    keep(bench.attempt("training", variant, precision, call, device))
                for prepared in (False, True) if "generation" in parts else ():
                    call = partial(
                        bench.bench_generation,
                        generator,
                        text_dim,
                        device,
                        getattr(torch, precision),
                        length=config.text.max_length,
                        batch_size=options.generation_batch,
                        prepared=prepared,
                        compile=compile,
                        schedule=schedule,
                    )
                    variant = ("prepared" if prepared else "as trained") + (", compiled" if compile else "")
                    keep(bench.attempt("generation", variant, precision, call, device))
                torch._dynamo.reset()
        if "text" in parts:

            def text() -> bench.Measurement:
                settings = config.text
                encoder = TextEncoder(
                    settings.encoder, max_length=settings.max_length, layers=settings.layers, device=device, cache_mb=0
                )
                return bench.bench_text(encoder, schedule=schedule)

            keep(bench.attempt("text", config.text.encoder, "float32", text, device))
        if "loading" in parts:
            keep(bench.bench_loading(config.image_size, schedule=schedule))

    about = bench.machine(device)
    rates = ", ".join(f"{name}{' (TF32)' * (config.training.tf32 and name == 'float32')} {1e3 * value:.0f} GFLOP/s"
                      for name, value in ceilings.items())  # fmt: skip
    print(f"{about['name']}, {device}, {about['threads']} threads, torch {about['torch']}.")
    print(f"Ceiling, one matrix product: {rates}. Words of {text_dim} numbers: {whose}.\n")
    print(bench.table(found, ceilings))
    if options.output is not None:
        print(f"\nwritten to {options.output}")
    return 0


def export_command(arguments: list[str]) -> int:
    """Writes a trained generator as ONNX or torch.export files."""
    parser = ArgumentParser(
        prog="xmcgan export",
        description="Writes the generator and its text encoder as graphs with a batch of any size, each compared with "
        "PyTorch before it gets its name (docs/export.md).",
        exit_on_error=False,
    )
    parser.add_argument("model", type=str, help="a run, a checkpoint, a saved pipeline or a hub name")
    parser.add_argument("--output", type=Path, required=True, help="a new folder")
    parser.add_argument("--format", type=str, default="onnx", help="onnx, or torch for torch.export")
    parser.add_argument("--images", type=str, default="uint8", help="uint8 for 0 to 255, or float for [-1, 1]")
    parser.add_argument("--text_encoder", type=bool, default=True, help="also the text encoder and its vocabulary")
    options = parser.parse_args(arguments)
    from xmcgan.export import export

    written = export(
        options.model,
        options.output,
        format=options.format,
        images=options.images,
        text_encoder=options.text_encoder,
        tick=lambda words: print(f"{words} ...", flush=True),
    )
    print("\n| file | MB | output | largest difference from PyTorch, by batch size |\n|---|---|---|---|")
    for each in written:
        size = each.file.stat().st_size / 1e6
        for name, found in each.differences.items():
            apart = ", ".join(f"{rows}: {value:.1e}" for rows, value in found.items())
            print(f"| {each.file.name} | {size:.1f} | {name} | {apart} |")
    print(f"\nwritten to {options.output}")
    return 0


def project_command(arguments: list[str]) -> int:
    """Projects hours and memory of a recipe on one and many devices."""
    parser = ArgumentParser(
        prog="xmcgan project",
        description="Hours and memory of a training on devices that are not here: counted operations over the rate of "
        "a device, which --bench measured or is assumed. Every assumption is an option (docs/scale.md).",
        exit_on_error=False,
    )
    parser.add_argument("recipe", type=str, nargs="?", default="coco14-256", help=f"one of {', '.join(RECIPES)}")
    parser.add_argument("--devices", type=list[int] | int | None, default=None,
                        help="8, or '[1, 8, 64]'; unless given those of 1, 8 and 64 that divide the batch")  # fmt: skip
    parser.add_argument("--epochs", type=float, default=1000, help="of COCO-14")
    parser.add_argument("--epochs_large", type=float, default=20, help="of the 12-million-pair set")
    parser.add_argument(
        "--batch_size", type=int | None, default=None, help="over all devices; the recipe's unless given"
    )
    parser.add_argument("--text_dim", type=int, default=768, help="width of a word embedding")
    parser.add_argument("--bench", type=Path | None, default=None, help="JSON of xmcgan bench: its rate, measured")
    helps = {
        "tflops": "peak of a device, 10^12 operations a second",
        "mfu": "share of the peak that a step reaches",
        "memory_gb": "of a device",
        "bandwidth_gbs": "of a device to the others, each way, 10^9 bytes a second",
        "latency_us": "of a collective operation",
        "overlap": "share of the gradients' averaging that is hidden",
        "score_mfu": "share of the peak that the region-word loss reaches",
        "activation_bytes": "of one element kept for the backward pass",
        "reserve": "of allocator and workspaces, as a share of the memory that is counted",
        "images_per_worker": "images a second that one core loads",
    }
    for name, about in helps.items():
        parser.add_argument(f"--{name}", type=float | None, default=None, help=about)
    options = parser.parse_args(arguments)
    if options.recipe not in RECIPES:
        raise ValueError(f"unknown recipe {options.recipe!r}{suggestion(options.recipe, RECIPES)}")
    refuse_less(0, epochs=options.epochs, epochs_large=options.epochs_large)
    refuse_less(1, batch_size=options.batch_size, text_dim=options.text_dim)
    from dataclasses import replace

    from xmcgan import projection

    assumed = projection.Assumptions()
    if options.bench is not None:
        assumed = projection.measured(options.bench, assumed)
    given = {name: getattr(options, name) for name in helps if getattr(options, name) is not None}
    sources = {f"{name}_source": "assumed: given on the command line" for name in {"tflops", "mfu"} & given.keys()}
    assumed = replace(assumed, **given, **sources)
    config = RECIPES[options.recipe]
    if options.batch_size is not None:
        config = replace(config, training=replace(config.training, batch_size=options.batch_size))
    counted = projection.count(config, options.text_dim)
    wanted = as_list(options.devices) or [devices for devices in (1, 8, 64) if counted.batch_size % devices == 0]
    rows = [projection.project(counted, devices, assumed) for devices in wanted]
    turns = projection.crossings(counted, assumed)

    print(f"{options.recipe}: batch {counted.batch_size} over all devices, {counted.batches} batches a step, "
          f"{counted.step_gflop_per_image:.0f} GFLOP a real image, "
          f"{counted.again_gflop_per_image:.0f} more in micro-batches.")  # fmt: skip
    print(f"Rate of a device: {assumed.tflops:g} TFLOP/s ({assumed.tflops_source}) at {assumed.mfu:.0%} "
          f"({assumed.mfu_source}).")  # fmt: skip
    names = [name for name in helps if name not in ("tflops", "mfu")]
    print("Assumed besides: " + ", ".join(f"{name} {getattr(assumed, name):g}" for name in names) + ".\n")
    epochs = {
        f"COCO-14 x {options.epochs:g}": (projection.PAIRS["coco14"], options.epochs),
        f"12 million x {options.epochs_large:g}": (projection.PAIRS["12-million"], options.epochs_large),
    }
    print(projection.table(rows, epochs))
    print(f"\nHalf of a step is sending from {turns['devices_half_sending'] or 'no number of'} devices on, at this "
          f"batch. With {counted.batch_size} images a device, the gathered negatives cost as much as the networks "
          f"from a batch of {turns['batch_negatives_equal_networks'] or 'no size tried'} on.")  # fmt: skip
    return 0
