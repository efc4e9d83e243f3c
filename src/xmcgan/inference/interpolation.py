"""Interpolation: even steps from one caption and seed to another."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xmcgan.encoders.text import TextEncoder
from xmcgan.inference.fused import FusedGenerator
from xmcgan.inference.noise import NOISE, Noise, seeded_noise
from xmcgan.inference.sample import Samples, sample_noise
from xmcgan.types import TextEmbedding


@dataclass(frozen=True)
class Drawing:
    """One image to generate: a caption and a seed, or a point between two captions and two seeds.

    ``share`` is the weight of the second, 0 to 1. At 0 the image is the first one's bit for bit, at 1 the second one's.
    """

    caption: str
    seed: int
    second_caption: str | None = None
    second_seed: int | None = None
    share: float = 0.0
    truncation: float = 1.0

    def __post_init__(self):
        if not 0 <= self.share <= 1:
            raise ValueError(f"share is {self.share}; it should be 0 to 1")

    @property
    def captions(self) -> tuple[str, ...]:
        """The caption, or the two that are mixed."""
        second = self.caption if self.second_caption is None else self.second_caption
        if self.share in (0, 1) or second == self.caption:
            return (second if self.share == 1 else self.caption,)
        return self.caption, second

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed, or the two whose noise is mixed."""
        second = self.seed if self.second_seed is None else self.second_seed
        if self.share in (0, 1) or second == self.seed:
            return (second if self.share == 1 else self.seed,)
        return self.seed, second


def between(captions: tuple[str, str], seeds: tuple[int, int], *, steps: int, truncation: float = 1.0) -> list[Drawing]:
    """``steps`` drawings from the first caption and seed to the second, both ends included.

    Raises:
        ValueError: if there are fewer than 2 steps.
    """
    if steps < 2:
        raise ValueError(f"steps is {steps}; it should be at least 2: the two ends")
    return [
        Drawing(captions[0], seeds[0], captions[1], seeds[1], step / (steps - 1), truncation) for step in range(steps)
    ]


def draw(
    fused: FusedGenerator,
    encoder: TextEncoder,
    drawings: Sequence[Drawing],
    *,
    batch_size: int | None = None,
    noise: Noise = NOISE,
) -> Samples:
    """Generate drawings that all have one caption, or all are mixtures of two (``Drawing.captions``).

    The attention of a mixture is over the words of the first caption, then of the second: (B, R, 2T).

    Raises:
        ValueError: on both kinds at once, which need batches of different shapes.
    """
    if len({len(drawing.captions) for drawing in drawings}) != 1:
        raise ValueError("single captions and mixtures of two cannot share a batch")
    noise_BZ = mixed_noise(drawings, fused.noise_dim, noise)
    if len(drawings[0].captions) == 1:
        text = encoder([drawing.captions[0] for drawing in drawings])
        return sample_noise(fused, text, noise_BZ, batch_size=batch_size)
    text, weights_BT = mixed_text(
        encoder([drawing.captions[0] for drawing in drawings]),
        encoder([drawing.captions[1] for drawing in drawings]),
        torch.tensor([drawing.share for drawing in drawings]),
    )
    return sample_noise(fused, text, noise_BZ, weights_BT=weights_BT, batch_size=batch_size)


def mixed_noise(drawings: Sequence[Drawing], dim: int, noise: Noise) -> Tensor:
    """The noise of drawings (B, Z): of two seeds, cos(a) z_1 + sin(a) z_2 with a = share pi/2.

    Its coordinates are standard-normal at every share. On a straight line their standard deviation would fall to 0.7 in
    the middle.
    """
    rows: dict[tuple[int, float], Tensor] = {}
    for truncation in {drawing.truncation for drawing in drawings}:
        seeds = list({seed for each in drawings if each.truncation == truncation for seed in each.seeds})
        own = seeded_noise(seeds, dim, noise, truncation)
        rows |= {(seed, truncation): row for seed, row in zip(seeds, own, strict=True)}

    def mixed(drawing: Drawing) -> Tensor:
        first, *second = (rows[seed, drawing.truncation] for seed in drawing.seeds)
        angle = drawing.share * math.pi / 2
        return math.cos(angle) * first + math.sin(angle) * second[0] if second else first

    return torch.stack([mixed(drawing) for drawing in drawings])


def mixed_text(first: TextEmbedding, second: TextEmbedding, share_B: Tensor) -> tuple[TextEmbedding, Tensor]:
    """Mixtures of two captions: the words of both, (B, 2T, D), and the weights of their attention.

    Words of the first caption have the weight 1 - share and words of the second have share, so that the image changes
    smoothly whatever the captions' lengths. The sentence embeddings are averaged with the same weights.
    """
    share_B1 = share_B.to(first.words_BTD)[:, None]
    text = TextEmbedding(
        torch.cat([first.words_BTD, second.words_BTD], 1),
        torch.cat([first.mask_BT, second.mask_BT], 1),
        (1 - share_B1) * first.sentence_BD + share_B1 * second.sentence_BD,
    )
    length = first.mask_BT.shape[1]
    return text, torch.cat([(1 - share_B1).expand(-1, length), share_B1.expand(-1, length)], 1)
