"""The values that travel between the parts, and the legend of their shapes.

Shape letters, used as name suffixes throughout (``words_BTD``):

====  =========================================================
B     examples in a batch
T     words (word pieces) of a caption, padded to one length
D     width of the text encoder's word embeddings
R     regions: the 16 x 16 locations between which and the words attention is computed
Z     noise dimensions
C     dimensions of the global condition, [sentence projection ; noise]
F     image feature of the discriminator
H, W  image height and width in pixels
====  =========================================================
"""

from typing import NamedTuple

import torch
from torch import Tensor

REGION_GRID = 16
"""Side of the map of regions (R = 16 x 16), whatever the image size."""


class TextEmbedding(NamedTuple):
    """Output of the frozen text encoder for B captions.

    A padded position is False in ``mask_BT``; its word vector is zero and nothing may depend on it.
    """

    words_BTD: Tensor
    mask_BT: Tensor
    sentence_BD: Tensor

    def to(self, device: torch.device | str) -> "TextEmbedding":
        """The same embedding on another device."""
        return TextEmbedding(*(tensor.to(device, non_blocking=True) for tensor in self))

    def rows(self, rows: Tensor | slice | list[int]) -> "TextEmbedding":
        """The embedding of some of the captions: any index of the batch dimension but a number."""
        return TextEmbedding(self.words_BTD[rows], self.mask_BT[rows], self.sentence_BD[rows])


class Batch(NamedTuple):
    """B consecutive examples of the training stream, ready for a step."""

    images_B3HW: Tensor  # in [-1, 1]
    text: TextEmbedding
    noise_BZ: Tensor
    traces_BTR: Tensor | None = None  # where each word was pointed at: distributions over regions, or rows of zeros
    augmentation_BU: Tensor | None = None  # uniform random numbers in [0, 1) for the augmentations of each example
    sentence_noise_BD: Tensor | None = None  # normal random numbers that perturb the sentence embeddings


class GeneratorOutput(NamedTuple):
    """Images, and the attention of their regions over the words."""

    images_B3HW: Tensor  # in [-1, 1]
    attention_BRT: Tensor | None  # each region's distribution over words; None with plain self-modulation


class ContrastiveFeatures(NamedTuple):
    """What the contrastive losses compare: one network's features of B images and of their captions."""

    images_BF: Tensor
    sentences_BF: Tensor
    regions_BRD: Tensor


class DiscriminatorOutput(NamedTuple):
    """A discriminator's output for B images."""

    logits_B: Tensor  # with frozen features (B, P), several for each image
    features: tuple[ContrastiveFeatures, ...]  # one entry for each network that has contrastive heads
    mismatched_logits_B: Tensor | None = None  # of the same images with other captions, if they were given

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors, in a fixed order."""
        mismatched = [] if self.mismatched_logits_B is None else [self.mismatched_logits_B]
        return [self.logits_B, *(each for features in self.features for each in features), *mismatched]
