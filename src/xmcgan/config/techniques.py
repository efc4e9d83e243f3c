"""The sections of a configuration for training techniques that the paper does not use; all off by default."""

from dataclasses import dataclass

from xmcgan.runtime.field_types import check


@dataclass(frozen=True)
class AugmentationConfig:
    """Augmentation of what the networks see in training; off in the paper.

    The discriminator's images, real and generated, are augmented differentiably; the generator's sentences get noise.

    Args:
        translation: largest shift, as a share of the side; each image has its own.
        cutout: probability that a grey square of half the side covers part of an image.
        colour: probability that brightness, saturation and contrast change. Captions that name colours become false.
        adaptive_target: adapts the strength of the augmentation (ADA): it starts at 0, and rises while the mean sign of
            the real images' logits is above this target (StyleGAN2-ADA: 0.6), which is a sign of overfitting, and falls
            while it is below. Not adaptive unless given.
        adaptive_images: images seen in which the strength can rise from 0 to 1.
        sentence_noise: length of the random vector added to each sentence embedding that the generator sees in
            training, as a share of the embedding's own length.
    """

    translation: float = 0.0
    cutout: float = 0.0
    colour: float = 0.0
    adaptive_target: float | None = None
    adaptive_images: int = 500_000
    sentence_noise: float = 0.0

    def __post_init__(self):
        check(0 <= self.translation < 1, f"augmentation.translation is {self.translation}; a share, from 0 to below 1")
        for name in ("cutout", "colour"):
            check(0 <= getattr(self, name) <= 1, f"augmentation.{name} is {getattr(self, name)}; a probability, 0 to 1")
        target = self.adaptive_target
        check(
            target is None or -1 < target < 1,
            f"augmentation.adaptive_target is {target}; a mean sign, between -1 and 1, or left out",
        )
        check(
            target is None or self.of_images,
            "augmentation.adaptive_target is given, but there is nothing to adapt: set augmentation.translation, "
            "cutout or colour",
        )
        check(
            self.adaptive_images >= 1,
            f"augmentation.adaptive_images is {self.adaptive_images}; it should be at least 1 image",
        )
        check(
            0 <= self.sentence_noise < float("inf"),
            f"augmentation.sentence_noise is {self.sentence_noise}; a share, at least 0",
        )

    @property
    def of_images(self) -> bool:
        """Whether images are augmented."""
        return bool(self.translation or self.cutout or self.colour)


@dataclass(frozen=True)
class PenaltyConfig:
    """Gradient penalties on the discriminator's logit, each with its weight; 0 is off, as in the paper.

    Args:
        r1: gamma of gamma/2 E |dD/dx|^2 on real images (R1).
        r2: the same on generated images (R2).
        matching_aware: weight of E (|dD/dx| + |dD/ds|)^6 on real images with their captions (DF-GAN: 2).
        every: training steps between two in which the penalties are computed; they weigh that many times as much then.
    """

    r1: float = 0.0
    r2: float = 0.0
    matching_aware: float = 0.0
    every: int = 1

    def __post_init__(self):
        for name in PENALTIES:
            value = getattr(self, name)
            check(0 <= value < float("inf"), f"penalties.{name} is {value}; a weight is 0 (off) or a positive number")
        check(self.every >= 1, f"penalties.every is {self.every}; it should be at least 1 step")
        check(self.every == 1 or bool(self.active), f"penalties.every is {self.every}, but no penalty has a weight")

    @property
    def active(self) -> dict[str, float]:
        """The weights that are not 0, by name."""
        return {name: getattr(self, name) for name in PENALTIES if getattr(self, name)}


PENALTIES = ("r1", "r2", "matching_aware")
