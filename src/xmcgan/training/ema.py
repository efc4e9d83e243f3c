"""The EMA generator, which generates the images that users see (the paper's decay is 0.999)."""

import copy
from collections.abc import Iterable
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from xmcgan.model.generator import Generator
from xmcgan.ops.batch_norm import BatchNorm2d
from xmcgan.types import TextEmbedding

Network = TypeVar("Network", bound=nn.Module)


class EMA(Generic[Network]):
    """An exponential moving average of a generator's weights.

    Batch-norm statistics are copied, not averaged, as the official implementation does: they are averages already.

    Args:
        network: the generator in training.
        decay: weight of the past at each update.
        warmup: caps the decay at (1 + updates) / (10 + updates), so that the random initial weights do not dominate a
            short run. The official implementation has no warmup.
        half_life: replaces both: the number of updates in which the weight of the past halves; early on, a twentieth
            of the updates so far (the ramp of StyleGAN2-ADA, Karras et al. 2020, arXiv:2006.06676).
    """

    def __init__(self, network: Network, *, decay: float = 0.999, warmup: bool = False, half_life: float | None = None):
        if not 0 <= decay < 1:
            raise ValueError(f"training.ema_decay is {decay}; it should be at least 0 and less than 1")
        self.network: Network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay, self.warmup, self.half_life, self.updates = decay, warmup, half_life, 0

    def next_decay(self) -> float:
        """The weight of the past at the next update."""
        if self.half_life is not None:
            return 0.5 ** (1 / min(self.half_life, (self.updates + 1) / 20))
        return min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.warmup else self.decay

    @torch.no_grad()
    def update(self, network: Network) -> None:
        """Moves the average towards the network's weights, after the network's own update."""
        decay = self.next_decay()
        for average, weight in zip(self.network.parameters(), network.parameters(), strict=True):
            average.lerp_(weight, 1 - decay)
        for average, buffer in zip(self.network.buffers(), network.buffers(), strict=True):
            average.copy_(buffer)
        self.updates += 1


@torch.no_grad()
def estimate_batch_norm(generator: Generator, inputs: Iterable[tuple[Tensor, TextEmbedding]]) -> None:
    """Replaces a generator's running statistics by their mean over forward passes with its own weights, in place.

    Averaged weights need other statistics than the generator in training, whose statistics ``EMA`` copies.

    Args:
        inputs: noise_BZ and text of each pass; with several ranks, each rank's part of them.
    """
    norms = [module for module in generator.modules() if isinstance(module, BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    generator.train()
    sums = [torch.zeros_like(buffer, dtype=torch.float64) for buffer in generator.buffers()]
    count = 0
    for norm in norms:
        norm.momentum = 1.0  # after each pass the running statistics equal its batch's
    for noise_BZ, text in inputs:
        generator(noise_BZ, text)
        for total, buffer in zip(sums, generator.buffers(), strict=True):
            total += buffer
        count += 1
    for total, buffer in zip(sums, generator.buffers(), strict=True):
        buffer.copy_(total / count)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    generator.eval()
