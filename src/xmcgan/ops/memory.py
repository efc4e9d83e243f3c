"""Memory layout of feature maps, and activations computed twice instead of kept."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint


def to_memory_format(x: Tensor, *, channels_last: bool) -> Tensor:
    """A map (B, C, H, W) whose memory holds pixel after pixel, or channel after channel."""
    return x.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def checkpointed(block: nn.Module, *inputs: Any) -> Tensor:
    """``block(*inputs)``, of which only the inputs are kept: the backward pass computes what lies between once more.

    It does so with the weights that the block has now (the discriminator's are divided ones, for the time of a forward
    pass), and running statistics move in the forward pass alone.
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
