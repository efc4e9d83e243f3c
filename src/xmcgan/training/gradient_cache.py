"""Gradient caching (Gao et al. 2021, arXiv:2101.06983): contrastive losses over a batch computed in micro-batches.

First, all micro-batches run forward without a graph, and the losses of the joined features give gradients with respect
to the features. Then each micro-batch runs forward again, with a graph, and backpropagates its rows of those gradients
into the networks. Activations are kept for only one micro-batch at a time.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from xmcgan.types import Batch, ContrastiveFeatures, DiscriminatorOutput

Backward = Callable[..., None]
"""Takes (loss, parameters) pairs and adds the gradient of each loss to the ``grad`` of its parameters."""


class Features(NamedTuple):
    """Image features of a batch; with the text, they determine all losses."""

    real: DiscriminatorOutput
    fake: DiscriminatorOutput
    encoded: tuple[Tensor, Tensor] | None = None  # frozen encoder's features of real and generated images
    distances_B: Tensor | None = None  # between two generated images of one caption; can have fewer rows
    penalties_BK: Tensor | None = None  # K gradient penalties on the logit, if they are due

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors that are not None, in a fixed order."""
        optional = [each for each in (self.distances_B, self.penalties_BK) if each is not None]
        return [*self.real.tensors, *self.fake.tensors, *(self.encoded or ()), *optional]


def split_batch(batch: Batch, rows: int | None) -> list[Batch]:
    """Split a batch into micro-batches of ``rows`` (``check_batch_size`` ensures equal sizes); None keeps it whole."""
    if rows is None:
        return [batch]
    slices = [slice(start, start + rows) for start in range(0, len(batch.noise_BZ), rows)]
    return [
        Batch(
            batch.images_B3HW[part],
            batch.text.rows(part),
            batch.noise_BZ[part],
            *(None if optional is None else optional[part] for optional in batch[3:]),
        )
        for part in slices
    ]


def forward_micro_batches(forwards: Sequence[Callable[[], Features]]) -> tuple[Features, Backward]:
    """Run all micro-batches forward; return their joined features as leaves, and the matching backward pass.

    A single micro-batch keeps its graph and runs forward only once.

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
    """Concatenate the features of all micro-batches and make them leaves that require gradients."""
    rows = zip(*(part.tensors for part in parts), strict=True)
    tensors = [(torch.cat(each) if len(each) > 1 else each[0]).detach().requires_grad_() for each in rows]
    joined = iter(tensors)

    def next_output(template: DiscriminatorOutput) -> DiscriminatorOutput:
        logits_B = next(joined)
        features = tuple(ContrastiveFeatures(*(next(joined) for _ in each)) for each in template.features)
        return DiscriminatorOutput(logits_B, features, None if template.mismatched_logits_B is None else next(joined))

    first = parts[0]
    real, fake = next_output(first.real), next_output(first.fake)
    encoded = None if first.encoded is None else (next(joined), next(joined))
    distances_B = None if first.distances_B is None else next(joined)
    return Features(real, fake, encoded, distances_B, None if first.penalties_BK is None else next(joined))


def backward_micro_batch(
    features: Features,
    gradients: Sequence[tuple[Sequence[Tensor | None], list[nn.Parameter]]],
    number: int,
    count: int,
) -> None:
    """Backpropagate micro-batch ``number``'s rows of the feature gradients into the parameters of each target."""
    for target, (of_features, weights) in enumerate(gradients):
        pairs = [
            (feature, gradient.chunk(count)[number])
            for feature, gradient in zip(features.tensors, of_features, strict=True)
            if feature.requires_grad and gradient is not None
        ]
        # Targets share a micro-batch's graph, and micro-batches the normalised weights' graph: the last use frees it.
        retain = number < count - 1 or target < len(gradients) - 1
        torch.autograd.backward(*zip(*pairs, strict=True), retain_graph=retain, inputs=weights)
