"""``xmcgan project``."""

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from xmcgan.cli.options import Recipe, check_at_least
from xmcgan.recipes import RECIPES

if TYPE_CHECKING:
    from xmcgan.profiling.projection import Assumptions, Counted


@dataclass(frozen=True)
class Given:
    """Assumptions; docs/scale.md has the defaults.

    Args:
        tflops: peak of a device, in 10^12 operations per second.
        mfu: share of the peak that a step reaches.
        memory_gb: memory of a device, in 10^9 bytes.
        bandwidth_gbs: bandwidth between devices, in each direction, in 10^9 bytes per second.
        latency_us: latency of a collective operation, in microseconds.
        overlap: share of the gradient averaging that is hidden.
        score_mfu: share of the peak that the region-word loss reaches.
        activation_bytes: bytes of one element kept for the backward pass.
        reserve: memory of allocator and workspaces, as a share of the counted memory.
        images_per_worker: images that one core loads per second.
    """

    tflops: float | None = None
    mfu: float | None = None
    memory_gb: float | None = None
    bandwidth_gbs: float | None = None
    latency_us: float | None = None
    overlap: float | None = None
    score_mfu: float | None = None
    activation_bytes: float | None = None
    reserve: float | None = None
    images_per_worker: float | None = None


def project(
    recipe: Recipe = "coco14-256",
    *,
    devices: list[int] | None = None,
    epochs: float = 1000,
    epochs_large: float = 20,
    batch_size: int | None = None,
    text_dim: int = 768,
    bench: Path | None = None,
    given: Given,
) -> int:
    """Estimate hours and memory of a training on 1 to 64 GPUs, from assumed or measured rates.

    It divides counted operations by the rate of a device, which ``xmcgan bench`` measured or which is assumed
    (docs/scale.md).

    Args:
        recipe: the recipe whose training is estimated.
        devices: numbers of devices, such as 1,8,64; by default those of 1, 8 and 64 that divide the batch.
        epochs: number of epochs on COCO-14.
        epochs_large: number of epochs on the 12-million-pair set.
        batch_size: batch size over all devices; by default the recipe's.
        text_dim: width of a word embedding.
        bench: JSON file of ``xmcgan bench``, for its measured rate.

    Examples:
        xmcgan project coco14-256 --devices 8 --tflops 989 --memory-gb 80
    """
    check_at_least(0, epochs=epochs, epochs_large=epochs_large)
    check_at_least(1, batch_size=batch_size, text_dim=text_dim)
    from xmcgan.profiling import projection

    assumed = projection.Assumptions()
    if bench is not None:
        assumed = projection.measured(bench, assumed)
    replaced = {name: value for name, value in asdict(given).items() if value is not None}
    sources = {f"{name}_source": "assumed: given on the command line" for name in {"tflops", "mfu"} & replaced.keys()}
    assumed = replace(assumed, **replaced, **sources)
    config = RECIPES[recipe]
    if batch_size is not None:
        config = replace(config, training=replace(config.training, batch_size=batch_size))
    counted = projection.count(config, text_dim)
    wanted = devices or [number for number in (1, 8, 64) if counted.batch_size % number == 0]
    rows = [projection.project(counted, number, assumed) for number in wanted]
    turns = projection.crossings(counted, assumed)

    print(describe(recipe, counted, assumed))
    epoch_counts = {
        f"COCO-14 x {epochs:g}": (projection.PAIRS["coco14"], epochs),
        f"12 million x {epochs_large:g}": (projection.PAIRS["12-million"], epochs_large),
    }
    print(projection.table(rows, epoch_counts))
    print(f"\nHalf of a step is sending from {turns['devices_half_sending'] or 'no number of'} devices on, at this "
          f"batch. With {counted.batch_size} images a device, the gathered negatives cost as much as the networks "
          f"from a batch of {turns['batch_negatives_equal_networks'] or 'no size tried'} on.")  # fmt: skip
    return 0


def describe(recipe: str, counted: "Counted", assumed: "Assumptions") -> str:
    """The quantities and assumptions behind the estimate."""
    names = [field.name for field in fields(Given) if field.name not in ("tflops", "mfu")]
    return (
        f"{recipe}: batch {counted.batch_size} over all devices, {counted.batches} batches a step, "
        f"{counted.step_gflop_per_image:.0f} GFLOP a real image, "
        f"{counted.again_gflop_per_image:.0f} more in micro-batches.\n"
        f"Rate of a device: {assumed.tflops:g} TFLOP/s ({assumed.tflops_source}) at {assumed.mfu:.0%} "
        f"({assumed.mfu_source}).\n"
        f"Assumed besides: {', '.join(f'{name} {getattr(assumed, name):g}' for name in names)}.\n"
    )
