"""Gradient caching: losses of a whole batch whose networks see a part at a time."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch._functorch.config
from torch import Tensor, nn

from xmcgan.losses.objective import Terms
from xmcgan.types import Batch, DiscriminatorOutput


class Features(NamedTuple):
    """What discriminator and frozen encoder see in a batch's images: of this, and of text, the losses are made."""

    real: DiscriminatorOutput
    fake: DiscriminatorOutput
    encoded: tuple[Tensor, Tensor] | None = None  # of real and generated images

    @property
    def tensors(self) -> list[Tensor]:
        """All of them, each a row an example."""
        return [*self.real, *self.fake, *(self.encoded or ())]


def parts_of(batch: Batch, rows: int | None) -> list[Batch]:
    """The batch in parts of so many rows (``check_shares`` has seen that they come out even), or whole."""
    if rows is None:
        return [batch]
    slices = [slice(start, start + rows) for start in range(0, len(batch.noise_BZ), rows)]
    traces = batch.traces_BTR
    return [
        Batch(batch.images_B3HW[part], batch.text[part], batch.noise_BZ[part], None if traces is None else traces[part])
        for part in slices
    ]


def observe(looks: Sequence[Callable[[], Features]]) -> tuple[Features, Callable[..., None]]:
    """The features of a whole batch of which each look sees a part, and the way back from losses to weights.

    The features are leaves. Losses of them give gradients of features, and these go on into the networks. So what the
    networks keep for a backward pass need be that of one part at a time, while a contrastive loss is of the whole
    batch: gradient caching (Gao et al. 2021, arXiv:2101.06983). All parts are looked at without a graph; on the way
    back each is looked at again, and its own rows of the gradients pass through. A single part is looked at once.

    Returns:
        the features, and a function of pairs (terms, weights): it adds the gradient of each terms' total to the
        ``grad`` of its weights.
    """
    if len(looks) == 1:
        kept = looks[0]()
        seen, looks = joined([kept]), [lambda: kept]
    else:
        with torch.no_grad():
            seen = joined([look() for look in looks])

    def go_back(*aims: tuple[Terms, list[nn.Parameter]]) -> None:
        gradients = [torch.autograd.grad(terms.total, seen.tensors, allow_unused=True) for terms, _ in aims]
        pulls = [(each, weights) for each, (_, weights) in zip(gradients, aims, strict=True)]
        for number, look in enumerate(looks):
            pass_on(look(), pulls, number, len(looks))

    return seen, go_back


def joined(parts: list[Features]) -> Features:
    """The features of all parts as one, and as leaves."""
    rows = zip(*(part.tensors for part in parts), strict=True)
    tensors = [(torch.cat(each) if len(each) > 1 else each[0]).detach().requires_grad_() for each in rows]
    count = len(DiscriminatorOutput._fields)
    real, fake, rest = tensors[:count], tensors[count : 2 * count], tensors[2 * count :]
    encoded = (rest[0], rest[1]) if rest else None
    return Features(DiscriminatorOutput(*real), DiscriminatorOutput(*fake), encoded)


def pass_on(
    features: Features, pulls: Sequence[tuple[Sequence[Tensor | None], list[nn.Parameter]]], number: int, count: int
) -> None:
    """Adds to the ``grad`` of each pull's weights what part ``number`` of the features' gradients makes of it."""
    for pull, (gradients, weights) in enumerate(pulls):
        pairs = [
            (feature, gradient.chunk(count)[number])
            for feature, gradient in zip(features.tensors, gradients, strict=True)
            if feature.requires_grad and gradient is not None
        ]
        # Pulls share the graph of a part, and parts that of the normalised weights: only the very last may free them.
        more = number < count - 1 or pull < len(pulls) - 1
        torch.autograd.backward(*zip(*pairs, strict=True), retain_graph=more, inputs=weights)
