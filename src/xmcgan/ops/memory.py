"""Memory layout of feature maps, and activation checkpointing."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint


def to_memory_format(x: Tensor, *, channels_last: bool) -> Tensor:
    """The map (B, C, H, W), contiguous in channels_last or in the default layout."""
    return x.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def checkpointed(block: nn.Module, *inputs: Any) -> Tensor:
    """``block(*inputs)`` with activation checkpointing: keeps only the inputs and recomputes the rest in backward.

    The recomputation uses the weights that the block has now, such as a discriminator's spectrally normalised ones,
    which exist only during the forward pass. Running statistics are updated once, in the forward pass.
    """
    if not torch.is_grad_enabled():
        return block(*inputs)
    weights = dict(block.named_parameters())
    before = {name: buffer.clone() for name, buffer in block.named_buffers()}

    def compute(*inputs: Any) -> tuple[Tensor, dict[str, Tensor]]:
        after = {name: buffer.clone() for name, buffer in before.items()}
        return functional_call(block, weights | after, inputs), after

    output, after = checkpoint(compute, *inputs, use_reentrant=False, preserve_rng_state=False)
    with torch.no_grad():
        for name, buffer in block.named_buffers():
            buffer.copy_(after[name])
    return output
