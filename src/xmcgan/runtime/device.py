"""Where a process computes: its device and its memory."""

import ctypes
import sys
import warnings

import torch


def resolve_device(name: str) -> torch.device:
    """A device by name; ``auto`` is CUDA where there is one, and the CPU elsewhere.

    Raises:
        ValueError: if there is no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if name == "cuda" and torch.cuda.is_available():
            return device  # nothing is put on the first one: ranks take each its own
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device is {name!r}, which cannot be used here; try auto, cpu or cuda. {reason}") from None
    return device


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """The dtype of the networks' layers; ``auto`` is bfloat16 on a GPU that has it, and float32 elsewhere.

    Warns if bfloat16 was asked for by name and the device only emulates it, which can take ten times as long.
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
    """Whether a device computes in bfloat16 natively."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def use_tf32(device: torch.device, wanted: bool) -> None:
    """Whether float32 products and convolutions of this process go by TF32; torch's own choice is convolutions alone.

    Raises:
        ValueError: if it is wanted on a device that has none.
    """
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = wanted
    elif wanted:
        raise ValueError(f"training.tf32 is true, and the device is {device}; TF32 is CUDA's, so it should be false")


def keep_freed_memory() -> None:
    """Lets glibc keep large freed buffers rather than hand each back to the system and fault it in anew.

    A training step on the CPU frees and takes the same buffers again and again; it is 1.1 to 1.2 times faster so
    (docs/log.md). Does nothing where the C library is not glibc.
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
