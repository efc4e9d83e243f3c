"""The device of a process, its precision, and memory settings."""

import ctypes
import re
import sys
import warnings

import torch

from xmcgan.runtime.field_types import first_line


def resolve_device(name: str) -> torch.device:
    """The device with a name; ``auto`` is CUDA if available, otherwise the CPU.

    Raises:
        ValueError: if this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if name == "cuda" and torch.cuda.is_available():
            return device  # do not allocate on the first GPU: each rank uses its own GPU
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        if not re.fullmatch(r"cpu|(cuda|mps|xpu)(:\d+)?", name):
            raise ValueError(f"device is {name!r}; it should be auto, cpu, cuda or cuda:0, cuda:1, ...") from None
        reason = first_line(error)
        raise ValueError(f"device is {name!r}, which cannot be used here; auto takes what there is. {reason}") from None
    return device


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """The dtype of the networks' layers; ``auto`` is bfloat16 on a GPU that supports it, otherwise float32.

    Warns if bfloat16 was requested by name and the device only emulates it, which can be ten times slower.
    """
    native = has_bfloat16(device)
    if name == "auto":
        return torch.bfloat16 if native and device.type == "cuda" else torch.float32
    if name == "bfloat16" and not native:
        warnings.warn(
            f"precision is bfloat16, which {device} only emulates: a step can take ten times as long as in float32",
            stacklevel=2,
        )
    return getattr(torch, name)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device supports bfloat16 natively."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def use_tf32(device: torch.device, wanted: bool) -> None:
    """Turns TF32 on or off for float32 matrix products and convolutions; torch's default is on for convolutions only.

    Raises:
        ValueError: if TF32 is wanted on a device other than CUDA.
    """
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = wanted
    elif wanted:
        raise ValueError(f"training.tf32 is true, but the device is {device}; it should be false: only CUDA has TF32")


def keep_freed_memory() -> None:
    """Makes glibc keep large freed buffers instead of returning them to the system and paging them in again.

    A training step on the CPU allocates the same buffers again and again; this makes it 1.1 to 1.2 times faster
    (docs/log.md). Does nothing if the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(top_pad, 2**26)
