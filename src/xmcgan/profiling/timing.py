"""Measures time, peak memory and the peak rate of a device."""

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
from xmcgan.runtime.field_types import first_line


@dataclass(frozen=True)
class Schedule:
    """How often a call is timed.

    Args:
        repetitions: timed calls.
        warmup: untimed calls before them.
        tick: called after every call with a progress message.
    """

    repetitions: int = 9
    warmup: int = 2
    tick: Callable[[str], None] = lambda _: None

    def __post_init__(self):
        # Quartiles need two calls, and the first call is always slow.
        for name, least in (("repetitions", 2), ("warmup", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it should be at least {least}")


DEFAULT_SCHEDULE = Schedule()


@dataclass(frozen=True)
class Measurement:
    """The timed calls of one part.

    Args:
        part: what was called.
        variant: how it ran, such as compiled or fused.
        precision: precision of the layers, ``float32`` or ``bfloat16``; selects the ceiling for MFU.
        images: images (or captions) in one call.
        seconds: duration of each call.
        gflop: operations of one call, without recomputation; 0 if not counted.
        peak_mb: peak memory during the calls: resident on a CPU, allocated on a GPU; None if the system cannot tell.
        first_seconds: duration of the first call, with compilation and allocation; not in ``seconds``.
        gflop_run: operations of one call including recomputation by micro-batches and activation checkpointing; None
            if the same as ``gflop``.
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
        """Operations per second without recomputation, in units of 10^12."""
        return self.gflop / self.median / 1e3

    @property
    def tflops_run(self) -> float:
        """Operations per second including recomputation, in units of 10^12."""
        return (self.gflop if self.gflop_run is None else self.gflop_run) / self.median / 1e3

    def mfu(self, ceilings: dict[str, float]) -> float | None:
        """Model FLOP utilisation: ``tflops`` over the measured ceiling of this precision; None if not counted."""
        return self.tflops / ceilings[self.precision] if self.gflop else None

    def summary(self, ceilings: dict[str, float]) -> dict[str, Any]:
        """The entry for the JSON file."""
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
    """A part that ran out of memory.

    Args:
        part: what was called.
        variant: how it ran.
        precision: precision of the layers.
        reason: the allocator's message.
    """

    part: str
    variant: str
    precision: str
    reason: str


def attempt(
    part: str, variant: str, precision: str, call: Callable[[], Measurement], device: torch.device
) -> Measurement | OutOfMemory:
    """The result of ``call``, or ``OutOfMemory``; frees its memory afterwards."""
    try:
        found: Measurement | OutOfMemory = call()
    except RuntimeError as error:  # on the CPU, torch raises a plain RuntimeError when memory runs out
        if not isinstance(error, torch.OutOfMemoryError) and "DefaultCPUAllocator" not in str(error):
            raise
        found = OutOfMemory(part, variant, precision, first_line(error))
    free(device)  # only now: within the except block, the error's traceback still references the tensors
    return found


def free(device: torch.device) -> None:
    """Frees unreferenced memory."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def synchronise(device: torch.device) -> None:
    """Waits until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak(device: torch.device) -> bool:
    """Resets the peak memory counter; returns whether the system supports that."""
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
    """Times ``call`` after warm-up calls; the first of these is reported separately."""
    has_peak = reset_peak(device)
    seconds = []
    for number in range(schedule.warmup + schedule.repetitions):
        began = time.perf_counter()
        call()
        synchronise(device)
        seconds.append(time.perf_counter() - began)
        schedule.tick(f"{part} {variant}: {'warm-up' if number < schedule.warmup else f'{1e3 * seconds[-1]:.0f} ms'}")
    peak = peak_mb(device) if has_peak else None
    kept = tuple(seconds[schedule.warmup :])
    return Measurement(part, variant, precision, images, kept, gflop, peak, seconds[0], gflop_run)


def ceiling(device: torch.device, dtype: torch.dtype, *, side: int | None = None, repetitions: int = 10) -> float:
    """The best rate of a square matrix product, in units of 10^12 operations per second."""
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
    """Describes the machine and the software of a measurement."""
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
    """The processor's name, or "unknown"."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return "unknown"
    return next((line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line), "?")
