"""The subcommand ``xmcgan project``."""

from pathlib import Path

from xmcgan.cli.bench import as_list, refuse_less
from xmcgan.cli.parser import ArgumentParser
from xmcgan.config import suggestion
from xmcgan.recipes import RECIPES

ASSUMPTIONS = {
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
"""The options that replace an assumption, and their help."""


def project_parser() -> ArgumentParser:
    """The options of ``xmcgan project``."""
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
    parser.add_argument("--epochs-large", type=float, default=20, help="of the 12-million-pair set")
    parser.add_argument(
        "--batch-size", type=int | None, default=None, help="over all devices; the recipe's unless given"
    )
    parser.add_argument("--text-dim", type=int, default=768, help="width of a word embedding")
    parser.add_argument("--bench", type=Path | None, default=None, help="JSON of xmcgan bench: its rate, measured")
    for name, about in ASSUMPTIONS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float | None, default=None, help=about)
    return parser


def project_command(arguments: list[str]) -> int:
    """Projects hours and memory of a recipe on one and many devices."""
    options = project_parser().parse_args(arguments)
    if options.recipe not in RECIPES:
        raise ValueError(f"unknown recipe {options.recipe!r}{suggestion(options.recipe, RECIPES)}")
    refuse_less(0, epochs=options.epochs, epochs_large=options.epochs_large)
    refuse_less(1, batch_size=options.batch_size, text_dim=options.text_dim)
    from dataclasses import replace

    from xmcgan.profiling import projection

    assumed = projection.Assumptions()
    if options.bench is not None:
        assumed = projection.measured(options.bench, assumed)
    given = {name: getattr(options, name) for name in ASSUMPTIONS if getattr(options, name) is not None}
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
    names = [name for name in ASSUMPTIONS if name not in ("tflops", "mfu")]
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
