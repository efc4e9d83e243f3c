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
    distances_B: Tensor | None = None  # of pairs of generated images with one caption each; fewer rows

    @property
    def tensors(self) -> list[Tensor]:
        """All that are there, in one order."""
        every = (*self.real, *self.fake, *(self.encoded or ()), self.distances_B)
        return [tensor for tensor in every if tensor is not None]


def split_batch(batch: Batch, rows: int | None) -> list[Batch]:
    """The batch in micro-batches of so many rows (``check_batch_size`` has made sure of equal parts), or whole."""
    if rows is None:
        return [batch]
    slices = [slice(start, start + rows) for start in range(0, len(batch.noise_BZ), rows)]
    return [
        Batch(
            batch.images_B3HW[part],
            batch.text[part],
            batch.noise_BZ[part],
            *(None if optional is None else optional[part] for optional in (batch.traces_BTR, batch.augmentation_BU)),
        )
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
    joined = iter(tensors)

    def next_output(template: DiscriminatorOutput) -> DiscriminatorOutput:
        features = [next(joined) for _ in range(4)]
        return DiscriminatorOutput(*features, None if template.mismatched_logits_B is None else next(joined))

    first = parts[0]
    real, fake = next_output(first.real), next_output(first.fake)
    encoded = None if first.encoded is None else (next(joined), next(joined))
    return Features(real, fake, encoded, None if first.distances_B is None else next(joined))


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
