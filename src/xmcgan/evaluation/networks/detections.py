"""What an object detector returns: boxes, categories and scores, and colours if it recognises them."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Detections(NamedTuple):
    """Objects detected in one image, the most confident first; all tensors on the CPU.

    ``boxes_N4`` are left, top, right and bottom relative to the image's width and height, in [0, 1]. ``categories_N``
    are official COCO ids. ``colours`` is None if the detector does not recognise colours.
    """

    boxes_N4: Tensor
    categories_N: Tensor
    scores_N: Tensor
    colours: tuple[str, ...] | None = None

    def select(self, chosen_N: Tensor) -> "Detections":
        """The detections at the given positions, in that order; or those for which a mask is true."""
        positions = chosen_N.nonzero().flatten() if chosen_N.dtype == torch.bool else chosen_N
        colours = None if self.colours is None else tuple(self.colours[k] for k in positions.tolist())
        return Detections(self.boxes_N4[positions], self.categories_N[positions], self.scores_N[positions], colours)


class ObjectDetector(Protocol):
    """Finds objects of COCO categories in each image.

    ``detect_objects`` returns every object above ``floor``, so that each metric can apply its own threshold.
    """

    name: str
    weights_sha256: str
    protocol: dict[str, str]
    detectable: frozenset[int]  # the categories that it can detect
    floor: float  # the lowest score it returns

    def __call__(self, images_B3HW: Tensor) -> list[set[int]]: ...

    def detect_objects(self, images_B3HW: Tensor) -> list[Detections]: ...

    def categories(self, detections: Sequence[Detections]) -> list[set[int]]: ...  # like __call__, from found objects


def sorted_detections(boxes_N4: Tensor, categories_N: Tensor, scores_N: Tensor) -> Detections:
    """Detections in order of decreasing score; equal scores keep their order.

    Raises:
        ValueError: if the numbers of boxes, categories and scores differ.
    """
    if not len(boxes_N4) == len(categories_N) == len(scores_N):
        raise ValueError(
            f"there are {len(boxes_N4)} boxes, {len(categories_N)} categories and {len(scores_N)} scores; "
            "their numbers should be equal"
        )
    order = scores_N.argsort(descending=True, stable=True)
    return Detections(boxes_N4[order], categories_N[order], scores_N[order])


def categories_above(detections: Sequence[Detections], confidence: float) -> list[set[int]]:
    """The categories detected in each image with at least this score, as semantic object accuracy counts them."""
    return [set(each.categories_N[each.scores_N >= confidence].tolist()) for each in detections]
