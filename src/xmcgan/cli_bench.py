"""The subcommands that measure, export and project: bench, export, project."""

import json
from pathlib import Path

from jsonargparse import ArgumentParser

from xmcgan.config import RECIPES, suggestion


def write_whole(path: Path, content: str) -> None:
    """Writes a text file whole or not at all; nothing that is there is overwritten.

    Raises:
        FileExistsError: if there is such a file.
    """
    if path.exists():
        raise FileExistsError(f"{path} is there already; choose another --output")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{path.name}")
    partial.write_text(content)
    partial.replace(path)


def bench_command(arguments: list[str]) -> int:
    """Measures a recipe, or a trained model's generation, on this machine."""
    parser = ArgumentParser(
        prog="xmcgan bench",
        description="Images a second, milliseconds, memory and operations of training step, generation, text encoding "
        "and loading, with random data: medians with quartiles.",
        exit_on_error=False,
    )
    parser.add_argument("recipe", type=str, nargs="?", default="scenes-64", help=f"one of {', '.join(RECIPES)}")
    parser.add_argument(
        "--checkpoint", type=str | None, default=None, help="a run, checkpoint or saved pipeline: its configuration "
        "and, for generation, its weights, instead of a recipe's"
    )  # fmt: skip
    parser.add_argument("--parts", type=list[str] | None, default=None, help="only these: '[training, generation]'")
    parser.add_argument("--precision", type=list[str] | None, default=None, help="of training and generation: "
                        "'[float32, bfloat16]'; the recipe's unless given")  # fmt: skip
    parser.add_argument("--batch_size", type=int | None, default=None, help="of training; the recipe's unless given")
    parser.add_argument("--generation_batch", type=int | None, default=None, help="what suits the device unless given")
    parser.add_argument("--encoder", type=str | None, default=None, help="text encoder; the recipe's unless given")
    parser.add_argument("--compile", type=bool, default=False, help="also with torch.compile")
    parser.add_argument("--fused", type=bool, default=False, help="training.fused of the training step")
    parser.add_argument("--tf32", type=bool, default=False, help="training.tf32 of the training step; CUDA only")
    parser.add_argument("--micro_batch", type=int | None, default=None, help="training.micro_batch")
    parser.add_argument("--checkpoint_activations", type=bool, default=False, help="training.checkpoint_activations")
    parser.add_argument("--repetitions", type=int, default=9, help="timed calls of each")
    parser.add_argument("--warmup", type=int, default=2, help="calls before them")
    parser.add_argument("--threads", type=int | None, default=None, help="of the CPU; PyTorch's choice unless given")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    parser.add_argument("--output", type=Path | None, default=None, help="a JSON file to write, new")
    options = parser.parse_args(arguments)
    from xmcgan.bench import PARTS

    parts = options.parts or list(PARTS)
    for part in parts:
        if part not in PARTS:
            raise ValueError(f"unknown part {part!r}{suggestion(part, PARTS)}")
    if options.recipe not in RECIPES:
        raise ValueError(f"unknown recipe {options.recipe!r}{suggestion(options.recipe, RECIPES)}")
    for name in options.precision or ():
        if name not in ("float32", "bfloat16"):
            raise ValueError(f"precision is {name!r}; it can be float32 or bfloat16")
    if options.output is not None and options.output.exists():
        raise FileExistsError(f"{options.output} is there already; choose another --output")

    from dataclasses import replace

    import torch
    from tqdm import tqdm

    from xmcgan import bench
    from xmcgan.checkpoint import build_generator, load_generator
    from xmcgan.device import keep_freed_memory, resolve_device
    from xmcgan.pipeline import find_model
    from xmcgan.text import MINILM, TextEncoder

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    device = resolve_device(options.device)
    if device.type == "cpu":
        keep_freed_memory()  # as training does
    if options.checkpoint is not None:
        generator, config, _ = load_generator(find_model(options.checkpoint))
        text_dim = generator.sentence_projection.in_features
    else:
        config = RECIPES[options.recipe]
        # Known without loading the encoder, which for BERT has to be downloaded first.
        text_dim = 384 if (options.encoder or config.text.encoder) == MINILM else 768
        generator = build_generator(config, text_dim)
    if options.encoder is not None:
        config = replace(config, text=replace(config.text, encoder=options.encoder))
    if options.batch_size is not None:
        config = replace(config, training=replace(config.training, batch_size=options.batch_size))
    names = ("fused", "tf32", "micro_batch", "checkpoint_activations")
    switches = {name: getattr(options, name) for name in names}
    precisions = list(dict.fromkeys(options.precision or [config.training.precision]))

    found: list[bench.Measurement] = []
    with tqdm(unit="call", leave=False, desc="xmcgan bench") as bar:

        def tick(words: str) -> None:
            bar.set_postfix_str(words, refresh=False)
            bar.update()

        schedule = bench.Schedule(options.repetitions, options.warmup, tick)
        ceilings = {
            name: bench.ceiling(device, getattr(torch, name)) for name in dict.fromkeys(["float32", *precisions])
        }
        for precision in precisions:
            dtype = getattr(torch, precision)
            for compile in (False, True) if options.compile else (False,):
                if "training" in parts:
                    switched = replace(config.training, precision=precision, compile=compile, **switches)
                    training = replace(config, training=switched)
                    found.append(bench.bench_training(training, text_dim, device, schedule=schedule))
                if "generation" in parts:
                    for prepared in (False, True):
                        found.append(
                            bench.bench_generation(
                                generator,
                                text_dim,
                                device,
                                dtype,
                                length=config.text.max_length,
                                batch_size=options.generation_batch,
                                prepared=prepared,
                                compile=compile,
                                schedule=schedule,
                            )
                        )
                    torch._dynamo.reset()
        if "text" in parts:
            encoder = TextEncoder(
                config.text.encoder,
                max_length=config.text.max_length,
                layers=config.text.layers,
                device=device,
                cache_mb=0,
            )
            found.append(bench.bench_text(encoder, schedule=schedule))
        if "loading" in parts:
            found.append(bench.bench_loading(config.image_size, schedule=schedule))

    about = bench.machine(device)
    rates = ", ".join(f"{name} {1e3 * value:.0f} GFLOP/s" for name, value in ceilings.items())
    print(f"{about['name']}, {device}, {about['threads']} threads, torch {about['torch']}.")
    print(f"Ceiling, one matrix product: {rates}.\n")
    print(bench.table(found, ceilings))
    if options.output is not None:
        result = {
            "machine": about,
            "recipe": None if options.checkpoint else options.recipe,
            "checkpoint": options.checkpoint,
            "image_size": config.image_size,
            "batch_size": config.training.batch_size,
            "switches": switches,
            "ceiling_tflops": ceilings,
            "measurements": [each.summary(ceilings) for each in found],
        }
        write_whole(options.output, json.dumps(result, indent=2) + "\n")
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
        description="Hours and memory of a training on devices that are not here: counted operations over an assumed "
        "rate. Nothing is measured; every assumption is an option (docs/scale.md).",
        exit_on_error=False,
    )
    parser.add_argument("recipe", type=str, nargs="?", default="coco14-256", help=f"one of {', '.join(RECIPES)}")
    parser.add_argument("--devices", type=list[int] | None, default=None, help="'[1, 8, 64]' unless given")
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
        "images_per_worker": "images a second that one core loads",
    }
    for name, about in helps.items():
        parser.add_argument(f"--{name}", type=float | None, default=None, help=about)
    options = parser.parse_args(arguments)
    if options.recipe not in RECIPES:
        raise ValueError(f"unknown recipe {options.recipe!r}{suggestion(options.recipe, RECIPES)}")
    from dataclasses import replace

    from xmcgan import projection

    config = RECIPES[options.recipe]
    if options.batch_size is not None:
        config = replace(config, training=replace(config.training, batch_size=options.batch_size))
    counted = projection.count(config, options.text_dim)
    assumed = projection.Assumptions()
    if options.bench is not None:
        assumed = projection.measured(options.bench, assumed)
    given = {name: getattr(options, name) for name in helps if getattr(options, name) is not None}
    if {"tflops", "mfu"} & given.keys():
        given["source"] = "assumed: given on the command line"
    assumed = replace(assumed, **given)

    print(f"{options.recipe}: batch {counted.batch_size} over all devices, {counted.batches} batches a step, "
          f"{counted.step_gflop_per_image:.0f} GFLOP a real image.")  # fmt: skip
    print(f"Rate of a device: {assumed.tflops:g} TFLOP/s at {assumed.mfu:.0%} ({assumed.source}).")
    names = [name for name in helps if name not in ("tflops", "mfu")]
    print("Assumed besides: " + ", ".join(f"{name} {getattr(assumed, name):g}" for name in names) + ".\n")
    epochs = {
        f"COCO-14 x {options.epochs:g}": (projection.PAIRS["coco14"], options.epochs),
        f"12 million x {options.epochs_large:g}": (projection.PAIRS["12-million"], options.epochs_large),
    }
    rows = [projection.project(counted, devices, assumed) for devices in options.devices or [1, 8, 64]]
    print(projection.table(rows, epochs))
    turns = projection.crossings(counted, assumed)
    print(f"\nHalf of a step is sending from {turns['devices_half_sending'] or 'no number of'} devices on, at this "
          f"batch. With {counted.batch_size} images a device, the gathered negatives cost as much as the networks "
          f"from a batch of {turns['batch_negatives_equal_networks'] or 'no size tried'} on.")  # fmt: skip
    return 0
