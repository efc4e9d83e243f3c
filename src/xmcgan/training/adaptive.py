"""Adaptive strength of the augmentation: ADA (Karras et al. 2020, arXiv:2006.06676, section 3.1).

The heuristic r_t = E sign(D(x)) over real images is near 1 if the discriminator is sure of all of them, as it is once
it has memorised them. Every four steps the strength p moves up or down by a fixed amount, towards r_t = target.
"""

from typing import Any

UPDATE_EVERY = 4
"""Training steps between two changes of the strength, as in StyleGAN2-ADA."""


class AdaptiveStrength:
    """The strength p in [0, 1] by which the probability of every augmentation is multiplied.

    Args:
        target: target value of the mean sign of real images' logits.
        images: number of images over which p can rise from 0 to 1.
    """

    def __init__(self, *, target: float, images: int):
        self.target, self.images = target, images
        self.strength, self.signs, self.seen, self.steps = 0.0, 0.0, 0, 0

    def update(self, sign: float, images: int) -> None:
        """Takes a step's mean sign of the real images' logits, and the number of images that it was trained on."""
        self.signs, self.seen, self.steps = self.signs + sign, self.seen + images, self.steps + 1
        if self.steps < UPDATE_EVERY:
            return
        change = self.seen / self.images
        above = self.signs / self.steps - self.target
        self.strength = min(1.0, max(0.0, self.strength + (change if above > 0 else -change if above < 0 else 0.0)))
        self.signs, self.seen, self.steps = 0.0, 0, 0

    def state(self) -> dict[str, Any]:
        """The state for a checkpoint. It is exact: JSON keeps every digit of a float."""
        return {"strength": self.strength, "signs": self.signs, "seen": self.seen, "steps": self.steps}

    def load(self, state: dict[str, Any]) -> None:
        """The inverse of ``state``.

        Raises:
            ValueError: if something is missing, or not a number.
        """
        for name, kind in (("strength", float), ("signs", float), ("seen", int), ("steps", int)):
            if not isinstance(state.get(name), kind):
                raise ValueError(f"the strength of the augmentation is damaged: {name} is {state.get(name)!r}")
        self.strength, self.signs = state["strength"], state["signs"]
        self.seen, self.steps = state["seen"], state["steps"]
