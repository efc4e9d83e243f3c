"""The device by its name; precision by name, where bfloat16 is native or emulated; TF32; freed memory."""

import ctypes
import sys
import warnings

import pytest
import torch

from xmcgan.runtime import device as module
from xmcgan.runtime.device import has_bfloat16, keep_freed_memory, resolve_device, resolve_precision, use_tf32

CPU = torch.device("cpu")


@pytest.mark.parametrize("native", [True, False])
def test_auto_is_float32_on_a_cpu(monkeypatch, native):
    monkeypatch.setattr(module, "has_bfloat16", lambda device: native)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve_precision("auto", CPU) is torch.float32


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_on_a_gpu_is_bfloat16_where_native(monkeypatch, native, expected):
    monkeypatch.setattr(module, "has_bfloat16", lambda device: native)
    assert resolve_precision("auto", torch.device("cuda")) is expected


def test_emulated_bfloat16_is_used_with_a_warning(monkeypatch):
    monkeypatch.setattr(module, "has_bfloat16", lambda device: False)
    with pytest.warns(UserWarning, match="bfloat16, which cpu only emulates"):
        assert resolve_precision("bfloat16", CPU) is torch.bfloat16
    assert resolve_precision("float32", CPU) is torch.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_tf32_is_switched_on_and_off():
    a = torch.randn(256, 256, device="cuda")
    exact = a.double() @ a.double()
    errors = []
    for wanted in (True, False):
        use_tf32(torch.device("cuda"), wanted)
        errors.append(float((a @ a - exact).abs().max()))
    assert errors[1] < 1e-3 < errors[0]


def test_tf32_is_for_cuda_alone():
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    former = [backend.allow_tf32 for backend in backends]
    try:
        for wanted in (True, False):
            use_tf32(torch.device("cuda"), wanted)
            assert [backend.allow_tf32 for backend in backends] == [wanted, wanted]
    finally:
        for backend, value in zip(backends, former, strict=True):
            backend.allow_tf32 = value
    use_tf32(CPU, False)
    with pytest.raises(ValueError, match=r"^training\.tf32 is true, but the device is cpu; it should be false"):
        use_tf32(CPU, True)


@pytest.mark.parametrize(("capability", "native"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_gpus_have_bfloat16_since_ampere(monkeypatch, capability, native):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert has_bfloat16(torch.device("cuda")) is native


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpu", "^device is 'gpu'; it should be auto, cpu, cuda or cuda:0, cuda:1, ...$"),
        ("cuda:99", "^device is 'cuda:99', which cannot be used here; auto takes what there is. .+$"),
    ],
)
def test_a_device_that_is_not_here_is_named(name, message):
    with pytest.raises(ValueError, match=message) as caught:
        resolve_device(name)
    assert "\n" not in str(caught.value)


def test_cuda_takes_no_memory_of_the_first_gpu(monkeypatch):
    """Each rank chooses its own GPU afterwards."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "empty", lambda *_, **__: pytest.fail("allocated"))
    assert resolve_device("cuda") == resolve_device("auto") == torch.device("cuda")


@pytest.mark.parametrize(
    ("platform", "library"), [("win32", None), ("linux", OSError("no libc.so.6")), ("linux", object())]
)
def test_other_c_libraries_are_left_as_they_are(monkeypatch, platform, library):
    """Windows; a Linux whose C library is musl, by another name or without mallopt."""

    def load(name):
        assert platform == "linux"
        if isinstance(library, OSError):
            raise library
        return library

    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", load)
    keep_freed_memory()
