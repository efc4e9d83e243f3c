"""Gradient caching (Gao et al. 2021, arXiv:2101.06983): contrastive losses of a whole batch in micro-batches.

All micro-batches go forward without a graph. Losses of the joined features give gradients of the features. On the way
back each micro-batch goes forward again, with a graph, and its rows of those gradients continue into the networks. So
activations are kept for one micro-batch at a time.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from xmcgan.types import Batch, DiscriminatorOutput

Backward = Callable[..., None]
"""Takes (loss, weights) pairs and adds the gradient of each loss to the ``grad`` of its weights."""


class Features(NamedTuple):
    """The features of a batch's images from which, with the text, all losses are computed."""

    real: DiscriminatorOutput
    fake: DiscriminatorOutput
    encoded: tuple[Tensor, Tensor] | None = None  # by the frozen encoder, of real and generated images

    @property
    def tensors(self) -> list[Tensor]:
        """All of them, one row an example."""
        return [*self.real, *self.fake, *(self.encoded or ())]


def split_batch(batch: Batch, rows: int | None) -> list[Batch]:
    """The batch in micro-batches of so many rows (``check_batch_size`` has made sure of equal parts), or whole."""
    if rows is None:
        return [batch]
    slices = [slice(start, start + rows) for start in range(0, len(batch.noise_BZ), rows)]
    traces = batch.traces_BTR
    return [
        Batch(batch.images_B3HW[part], batch.text[part], batch.noise_BZ[part], None if traces is None else traces[part])
        for part in slices
    ]


def forward_micro_batches(forwards: Sequence[Callable[[], Features]]) -> tuple[Features, Backward]:
    """The joined features of all micro-batches, as leaves, and the backward pass from losses of them to weights.

    A single micro-batch goes forward once only, and keeps its graph.

    Args:
        forwards: the forward pass of each micro-batch.
    """
    if len(forwards) == 1:
        kept = forwards[0]()
        features, forwards = join([kept]), [lambda: kept]
    else:
        with torch.no_grad():
            features = join([forward() for forward in forwards])

    def backward(*targets: tuple[Tensor, list[nn.Parameter]]) -> None:
        gradients = [
            (torch.autograd.grad(loss, features.tensors, allow_unused=True), weights) for loss, weights in targets
        ]
        for number, forward in enumerate(forwards):
            backward_micro_batch(forward(), gradients, number, len(forwards))

    return features, backward


def join(parts: list[Features]) -> Features:
    """The features of all micro-batches as one, and as leaves."""
    rows = zip(*(part.tensors for part in parts), strict=True)
    tensors = [(torch.cat(each) if len(each) > 1 else each[0]).detach().requires_grad_() for each in rows]
    count = len(DiscriminatorOutput._fields)
    real, fake, rest = tensors[:count], tensors[count : 2 * count], tensors[2 * count :]
    encoded = (rest[0], rest[1]) if rest else None
    return Features(DiscriminatorOutput(*real), DiscriminatorOutput(*fake), encoded)


def backward_micro_batch(
    features: Features,
    gradients: Sequence[tuple[Sequence[Tensor | None], list[nn.Parameter]]],
    number: int,
    count: int,
) -> None:
    """Continues micro-batch ``number``'s rows of the features' gradients into the weights of each target."""
    for target, (of_features, weights) in enumerate(gradients):
        pairs = [
            (feature, gradient.chunk(count)[number])
            for feature, gradient in zip(features.tensors, of_features, strict=True)
            if feature.requires_grad and gradient is not None
        ]
        # Targets share a micro-batch's graph, and micro-batches that of the normalised weights: the last one frees it.
        retain = number < count - 1 or target < len(gradients) - 1
        torch.autograd.backward(*zip(*pairs, strict=True), retain_graph=retain, inputs=weights)
