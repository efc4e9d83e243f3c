"""Layers and blocks against the official implementation: forward, state and gradients (tests/golden/README.md)."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from golden_arrays import below, golden, relative_error
from xmcgan.model.blocks import DownBlock, OptimizedDownBlock, UpBlock
from xmcgan.model.modulation import AttentionalSelfModulation, SelfModulation, SpatialCondition
from xmcgan.model.spectral_norm import SpectralNorm

BLOCK = {"Conv_0": "conv1", "Conv_1": "conv2", "Conv_2": "shortcut"}
SPECTRAL_BLOCK = {f"Spectral{theirs}": ours for theirs, ours in BLOCK.items()}
CASES = {
    "spectral_dense": (lambda: nn.Linear(6, 7), {"": ""}),
    "spectral_conv3": (lambda: nn.Conv2d(4, 5, 3, padding=1), {"": ""}),
    "spectral_conv1": (lambda: nn.Conv2d(3, 5, 1), {"": ""}),
    "cond_bn": (lambda: SelfModulation(4, 6), {"Dense_0": "gamma", "Dense_1": "beta", "BatchNorm_0": "norm"}),
    "local_cond_bn": (
        lambda: AttentionalSelfModulation(5, 6),
        {"Conv_0": "gamma", "Conv_1": "beta", "BatchNorm_0": "norm"},
    ),
    "disc_optimized_block": (lambda: OptimizedDownBlock(3, 6), SPECTRAL_BLOCK),
    "disc_block_down": (lambda: DownBlock(4, 6, downsample=True), SPECTRAL_BLOCK),
    "disc_block_same": (lambda: DownBlock(4, 4, downsample=False), SPECTRAL_BLOCK),
    "gen_block": (
        lambda: UpBlock(5, 3, 6),
        BLOCK
        | {f"ConditionalBatchNorm_{n}/Dense_0": f"norm{n + 1}.gamma" for n in range(2)}
        | {f"ConditionalBatchNorm_{n}/Dense_1": f"norm{n + 1}.beta" for n in range(2)}
        | {f"ConditionalBatchNorm_{n}/BatchNorm_0": f"norm{n + 1}.norm" for n in range(2)},
    ),
    "gen_spatial_block": (
        lambda: UpBlock(5, 3, 7, AttentionalSelfModulation),
        BLOCK
        | {f"LocalConditionalBatchNorm_{n}/Conv_0": f"norm{n + 1}.gamma" for n in range(2)}
        | {f"LocalConditionalBatchNorm_{n}/Conv_1": f"norm{n + 1}.beta" for n in range(2)}
        | {f"LocalConditionalBatchNorm_{n}/BatchNorm_0": f"norm{n + 1}.norm" for n in range(2)},
    ),
}
TENSORS = {"kernel": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var", "u0": "u"}


def ours(array: np.ndarray, kind: str = "") -> Tensor:
    """Channels first: NHWC to NCHW, HWIO to OIHW, (in, out) to (out, in), u0's row to a vector."""
    tensor = torch.from_numpy(np.array(array)).double()
    if kind == "u0":
        return tensor[0]
    if kind == "kernel":
        return (tensor.permute(3, 2, 0, 1) if tensor.dim() == 4 else tensor.T).contiguous()
    return tensor.permute(0, 3, 1, 2).contiguous() if tensor.dim() == 4 else tensor


def named(arrays: dict[str, np.ndarray], modules: dict[str, str]) -> dict[str, Tensor]:
    """Arrays under the official names -> tensors under ours."""
    tensors = {}
    for name, array in arrays.items():
        path, _, kind = name.rpartition("/")
        tensors[f"{modules[path]}.{TENSORS[kind]}".removeprefix(".")] = ours(array, kind)
    return tensors


def as_condition(map_BCHW: Tensor) -> SpatialCondition:
    """A condition that is given at every location: as many words as locations, each attending to its own."""
    words_BTD = map_BCHW.flatten(2).mT
    attention_BRT = torch.eye(words_BTD.shape[1], dtype=words_BTD.dtype).expand(len(words_BTD), -1, -1)
    return SpatialCondition(attention_BRT, words_BTD, map_BCHW.new_empty(len(map_BCHW), 0))


def test_every_golden_case_is_covered():
    assert {key.split("/")[0] for key in golden("layers_blocks")} - {"meta_json"} == set(CASES)


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("case", CASES)
def test_layer(case, mode):
    build, modules = CASES[case]
    arrays = below(golden("layers_blocks"), f"{case}/")
    parameters = named(below(arrays, "params/"), modules)
    statistics = named(below(arrays, "batch_stats/"), modules)
    layer = build().double()
    layer.load_state_dict(parameters | statistics)
    layer.train(mode == "train")
    # Of the kernels alone: the discriminator divides them, its biases are left as they are.
    norms = {name: SpectralNorm(len(u)) for name, u in named(below(arrays, "spectral_norm_stats/"), modules).items()}
    for name, u in named(below(arrays, "spectral_norm_stats/"), modules).items():
        norms[name].double().train(mode == "train").u.copy_(u)

    inputs = [ours(arrays[f"in{n}"]).requires_grad_() for n in range(3) if f"in{n}" in arrays]
    arguments = [inputs[0], *(as_condition(value) if value.dim() == 4 else value for value in inputs[1:])]
    if case == "gen_spatial_block":
        # The release hands the second norm a condition that was upsampled before; ours upsamples gamma and beta.
        layer.norm2.register_forward_pre_hook(lambda _, given: (given[0], arguments[2]))
    weights = dict(layer.named_parameters())
    divided = {
        name.removesuffix("u") + "weight": norm(weights[name.removesuffix("u") + "weight"])
        for name, norm in norms.items()
    }
    out = functional_call(layer, divided, tuple(arguments[:2]))

    recorded = below(arrays, f"{mode}/")
    same(out, ours(recorded["out"]), "out")
    state = {name: norm.u for name, norm in norms.items()} | dict(layer.named_buffers())
    state_after = {
        **named(below(recorded, "state_after/batch_stats/"), modules),
        **named(below(recorded, "state_after/spectral_norm_stats/"), modules),
    }
    assert state.keys() == state_after.keys()
    for name, value in state_after.items():
        same(state[name], value, name)

    grads = torch.autograd.grad((out * ours(arrays["cot"])).sum(), [*weights.values(), *inputs])
    recorded_grads = named(below(recorded, "grad_params/"), modules)
    assert recorded_grads.keys() == weights.keys()
    for name, gradient in zip(weights, grads, strict=False):
        same(gradient, recorded_grads[name], name)
    for n, gradient in enumerate(grads[len(weights) :]):
        same(gradient, ours(recorded[f"grad_in{n}"]), f"input {n}")


def same(value: Tensor, reference: Tensor, name: str) -> None:
    """Equal to 1e-6, relative and Euclidean; what is zero but for rounding is compared absolutely."""
    reference = reference.numpy()
    if abs(reference).max() < 1e-12:
        assert value.abs().max() < 1e-12, name
    else:
        assert relative_error(value, reference) <= 1e-6, name
