"""Sizes of the evaluation networks that are trained here."""

from dataclasses import dataclass
from typing import Literal

HEAD_WIDTH = 32
"""Width of an attention head of the text network."""


@dataclass(frozen=True)
class DualEncoderShape:
    """Sizes of the networks.

    Args:
        image_size: side in pixels to which images are resized, a multiple of 16 unless the image network is frozen.
        image_network: a frozen network with ImageNet weights, on whose features a head is trained; none trains an image
            network from scratch, for which some thousand images are too few.
        width: channels of the first stage of an image network that is trained.
        dim: dimension of the joint embedding space.
        text_width: width of the word embeddings, a multiple of 32, the width of an attention head.
        text_layers: layers of the text network.
        words: maximum caption length in words; longer captions are truncated.
    """

    image_size: int = 64
    image_network: Literal["efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2"] | None = None
    width: int = 32
    dim: int = 256
    text_width: int = 96
    text_layers: int = 2
    words: int = 32

    def __post_init__(self):
        for name, value in vars(self).items():
            if isinstance(value, int) and value < 1:
                raise ValueError(f"{name} is {value}; it should be at least 1")
        if self.text_width % HEAD_WIDTH:
            raise ValueError(f"text_width is {self.text_width}; it should be a multiple of {HEAD_WIDTH}")
