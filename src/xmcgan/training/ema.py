"""The averaged generator: the one that draws (the paper's decay is 0.999)."""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


class EMA(Generic[Network]):
    """An exponential moving average of a generator's weights.

    Batch-norm statistics are copied, not averaged, as the official implementation does: they are averages already.

    Args:
        network: the generator in training.
        decay: weight of the past at each update.
        warmup: holds the decay under (1 + updates) / (10 + updates), so that a short run is not ruled by its first,
            random weights. The official implementation has none.
    """

    def __init__(self, network: Network, *, decay: float = 0.999, warmup: bool = False):
        if not 0 <= decay < 1:
            raise ValueError(f"training.ema_decay is {decay}; it should be at least 0 and less than 1")
        self.network: Network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay, self.warmup, self.updates = decay, warmup, 0

    @torch.no_grad()
    def update(self, network: Network) -> None:
        """Moves the average towards the network's weights, after the network's own update."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.warmup else self.decay
        for average, weight in zip(self.network.parameters(), network.parameters(), strict=True):
            average.lerp_(weight, 1 - decay)
        for average, buffer in zip(self.network.buffers(), network.buffers(), strict=True):
            average.copy_(buffer)
        self.updates += 1
