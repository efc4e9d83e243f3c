"""Precision by name, on a device that has bfloat16 or only emulates it; TF32."""

import warnings

import pytest
import torch

from xmcgan.runtime import device as module
from xmcgan.runtime.device import resolve_precision, use_tf32

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
