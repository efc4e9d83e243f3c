"""Where a process computes: its device and its memory."""

import ctypes
import sys

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
