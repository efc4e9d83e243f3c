"""Times, memory and the rate of a device."""

import gc
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from xmcgan import __version__


@dataclass(frozen=True)
class Schedule:
    """How often a call is timed.

    Args:
        repetitions: timed calls.
        warmup: untimed calls before them.
        tick: called with a few words after every call: progress.
    """

    repetitions: int = 9
    warmup: int = 2
    tick: Callable[[str], None] = lambda _: None

    def __post_init__(self):
        # Of one call there is no spread, and without a warm-up the first, slow one would be among them.
        for name, least in (("repetitions", 2), ("warmup", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it should be at least {least}")


DEFAULT_SCHEDULE = Schedule()


@dataclass(frozen=True)
class Measurement:
    """One part's calls, timed.

    Args:
        part: what was called.
        variant: how: compiled or not, prepared or not.
        precision: of the layers, ``float32`` or ``bfloat16``: whose ceiling the operations are held against.
        images: images (or captions) of one call.
        seconds: of each call.
        gflop: counted operations of one call; 0 where none were counted. Of a training step those of the plain one.
        peak_mb: most memory during the calls: of the process (resident) on a CPU, allocated on a GPU; None where the
            system does not tell.
        first_seconds: of the first call, which is not in ``seconds``: compilation and allocation are in it.
        gflop_run: operations of one call as it is run, with those that micro-batches and checkpointed activations
            repeat; None where they are ``gflop``.
    """

    part: str
    variant: str
    precision: str
    images: int
    seconds: tuple[float, ...]
    gflop: float
    peak_mb: float | None
    first_seconds: float
    gflop_run: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        first, _, third = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return first, third

    @property
    def images_per_second(self) -> float:
        return self.images / self.median

    @property
    def tflops(self) -> float:
        """Counted operations a second, in units of 10^12."""
        return self.gflop / self.median / 1e3

    @property
    def tflops_run(self) -> float:
        """Operations a second as they are run, repeated ones included, in units of 10^12."""
        return (self.gflop if self.gflop_run is None else self.gflop_run) / self.median / 1e3

    def mfu(self, ceilings: dict[str, float]) -> float | None:
        """Model FLOP utilisation: counted operations a second over the measured ceiling of this precision."""
        return self.tflops / ceilings[self.precision] if self.gflop else None

    def summary(self, ceilings: dict[str, float]) -> dict[str, Any]:
        """What goes into the JSON file."""
        first, third = self.quartiles
        return asdict(self) | {
            "median_ms": 1e3 * self.median,
            "quartiles_ms": [1e3 * first, 1e3 * third],
            "images_per_second": self.images_per_second,
            "tflops": self.tflops,
            "tflops_run": self.tflops_run,
            "mfu": self.mfu(ceilings),
        }


@dataclass(frozen=True)
class OutOfMemory:
    """A part that the device's memory did not hold.

    Args:
        part: what was called.
        variant: how.
        precision: of the layers.
        reason: what the allocator said.
    """

    part: str
    variant: str
    precision: str
    reason: str


def attempt(
    part: str, variant: str, precision: str, call: Callable[[], Measurement], device: torch.device
) -> Measurement | OutOfMemory:
    """A measurement, or that there was not enough memory for it; what it took is free again."""
    try:
        found: Measurement | OutOfMemory = call()
    except RuntimeError as error:  # torch.OutOfMemoryError is one; of the CPU's memory torch says it in words alone
        if not isinstance(error, torch.OutOfMemoryError) and "DefaultCPUAllocator" not in str(error):
            raise
        found = OutOfMemory(part, variant, precision, str(error).splitlines()[0])
    free(device)  # not before here: the error holds on to the frames it came through, and they to their tensors
    return found


def free(device: torch.device) -> None:
    """Gives back what nothing refers to any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def synchronise(device: torch.device) -> None:
    """Waits until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak(device: torch.device) -> bool:
    """Starts the count of peak memory anew; whether this system can do that."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the resident set's high-water mark
    except OSError:
        return False
    return True


def peak_mb(device: torch.device) -> float:
    """Peak memory since ``reset_peak``, in megabytes of 2^20 bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if Path("/proc/self/status").exists():
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 2**10
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / 2**20 if sys.platform == "darwin" else largest / 2**10


def measure(
    part: str,
    variant: str,
    precision: str,
    call: Callable[[], object],
    *,
    images: int,
    device: torch.device,
    gflop: float,
    schedule: Schedule,
    gflop_run: float | None = None,
) -> Measurement:
    """Times ``call`` after untimed calls, of which the first is reported apart."""
    known = reset_peak(device)
    seconds = []
    for number in range(schedule.warmup + schedule.repetitions):
        began = time.perf_counter()
        call()
        synchronise(device)
        seconds.append(time.perf_counter() - began)
        schedule.tick(f"{part} {variant}: {'warm-up' if number < schedule.warmup else f'{1e3 * seconds[-1]:.0f} ms'}")
    peak = peak_mb(device) if known else None
    kept = tuple(seconds[schedule.warmup :])
    return Measurement(part, variant, precision, images, kept, gflop, peak, seconds[0], gflop_run)


def ceiling(device: torch.device, dtype: torch.dtype, *, side: int | None = None, repetitions: int = 10) -> float:
    """The best rate of a square matrix product, in units of 10^12 operations a second."""
    side = side or (8192 if device.type == "cuda" else 2048)
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    fastest = float("inf")
    for _ in range(repetitions + 2):
        synchronise(device)
        began = time.perf_counter()
        a @ b
        synchronise(device)
        fastest = min(fastest, time.perf_counter() - began)
    return 2 * side**3 / fastest / 1e12


def machine(device: torch.device) -> dict[str, Any]:
    """What was measured on, so that numbers can be told apart."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    return {
        "device": str(device),
        "name": name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "xmcgan": __version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def cpu_name() -> str:
    """The processor's name, where the system tells."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return "unknown"
    return next((line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line), "?")
