"""Every fast operation beside its plain reference: forward and backward, taking turns, medians and their ratio.

    python benchmarks/ops.py
    python benchmarks/ops.py --dtype bfloat16 --repetitions 31 --only upsample_conv,conv_average_pool

One thread, and this process's own processor time, so that other work on the machine counts little. Sizes are those of a
64 px model of width 24 with 16 images, and 16 captions of 17 words for the word operations.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from xmcgan.ops.batch_norm import BatchNorm2d, batch_norm_reference
from xmcgan.ops.blockwise_affine import blockwise_affine, blockwise_affine_reference
from xmcgan.ops.resampling import (
    ConvAveragePool2d,
    UpsampleConv2d,
    conv_average_pool_reference,
    upsample_conv_reference,
)
from xmcgan.ops.unit_vectors import unit_rows, unit_rows_reference
from xmcgan.ops.word_context import project_word_context, project_word_context_reference
from xmcgan.ops.word_scores import region_context_cosine, region_context_cosine_reference

Operation = Callable[..., Tensor]


def operations(dtype: torch.dtype) -> dict[str, tuple[Operation, Operation, list[Tensor]]]:
    """The fast operation, its reference and their inputs, by name."""

    def random(*shape: int) -> Tensor:
        x = torch.randn(*shape, dtype=dtype)
        x = x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
        return x.requires_grad_()

    def laid_out(module: nn.Module) -> nn.Module:
        return module.to(dtype=dtype, memory_format=torch.channels_last)  # ty: ignore[no-matching-overload]

    up, pool, norm = laid_out(UpsampleConv2d(96, 48)), laid_out(ConvAveragePool2d(64, 64)), BatchNorm2d(96)
    attention = torch.randn(16, 256, 17).softmax(-1).to(dtype).requires_grad_()
    # The word scores stay in float32, as in training.
    words, regions = (torch.randn(*shape, requires_grad=True) for shape in ((16 * 17, 384), (16, 256, 384)))
    return {
        "upsample_conv": (up, lambda x: upsample_conv_reference(x, up.weight, up.bias), [random(16, 96, 16, 16)]),
        "conv_average_pool": (
            pool,
            lambda x: conv_average_pool_reference(x, pool.weight, pool.bias),
            [random(16, 64, 32, 32)],
        ),
        "batch_norm": (norm, batch_norm_reference, [random(16, 96, 32, 32)]),
        "blockwise_affine": (
            blockwise_affine,
            blockwise_affine_reference,
            [random(16, 48, 64, 64), random(16, 48, 16, 16), random(16, 48, 16, 16)],
        ),
        "unit_rows": (unit_rows, unit_rows_reference, [random(16, 256, 384)]),
        "project_word_context": (
            project_word_context,
            project_word_context_reference,
            [random(96, 384 + 128), random(96), attention, random(16, 17, 384), random(16, 128)],
        ),
        "region_context_cosine": (
            lambda a, b: region_context_cosine(unit_rows(a), unit_rows(b), 5.0),
            lambda a, b: region_context_cosine_reference(unit_rows(a), unit_rows(b), 5.0),
            [words, regions],
        ),
    }


def milliseconds(operation: Operation, inputs: list[Tensor]) -> float:
    """Processor time of one forward and backward pass."""
    began = time.process_time()
    operation(*inputs).float().sum().backward()
    took = time.process_time() - began
    for each in inputs:
        each.grad = None
    return 1e3 * took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--only", default="", help="names with commas between")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    chosen = [name for name in options.only.split(",") if name]
    print("| operation | fast, ms | reference, ms | reference / fast |\n|---|---|---|---|")
    for name, (fast, reference, inputs) in operations(getattr(torch, options.dtype)).items():
        if chosen and name not in chosen:
            continue
        found: dict[Operation, list[float]] = {fast: [], reference: []}
        for turn in range(options.repetitions + 2):
            for operation, times in found.items():
                took = milliseconds(operation, inputs)
                if turn >= 2:  # the first ones warm up
                    times.append(took)
        ours, plain = (statistics.median(times) for times in found.values())
        print(f"| {name} | {ours:.2f} | {plain:.2f} | {plain / ours:.2f} |", flush=True)


if __name__ == "__main__":
    main()
