"""Crops of the objects that a detector finds, for the object-centric Inception Score and Fréchet distance.

Dinh, Nguyen and Hua 2022, "TISE" (O-IS, O-FID): every object with a confidence of at least 0.5 is cut out and squashed
to the size of the classifier. They use Mask R-CNN as the detector, and for O-IS an Inception-v3 fine-tuned on COCO's 80
classes as the classifier; with other networks the numbers are not comparable with theirs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from xmcgan.evaluation.networks.detections import Detections

CROP_CONFIDENCE = 0.5

LEAST_SIDE = 2
"""In pixels: narrower objects are widened to this, because nothing can be recognised in less."""


def object_crops(images_B3HW: Tensor, detections: Sequence[Detections], *, size: int) -> Tensor:
    """uint8 crops (M, 3, size, size) of the objects in B images, image by image, the most confident first.

    Args:
        images_B3HW: uint8 pixels.
        detections: the detections in each image.
        size: side in pixels to which crops are squashed, bilinear and antialiased.
    """
    _, _, height, width = images_B3HW.shape
    crops = []
    for image_3HW, found in zip(images_B3HW, detections, strict=True):
        for left, top, right, bottom in found.boxes_N4[found.scores_N >= CROP_CONFIDENCE].tolist():
            columns, rows = pixel_range(left, right, width), pixel_range(top, bottom, height)
            crop = image_3HW[None, :, rows, columns].float()
            squashed = F.interpolate(crop, (size, size), mode="bilinear", align_corners=False, antialias=True)
            crops.append(squashed.round().clamp(0, 255).to(torch.uint8))
    return torch.cat(crops) if crops else images_B3HW.new_zeros((0, 3, size, size))


def pixel_range(low: float, high: float, side: int) -> slice:
    """The pixels that a range of relative coordinates touches, inside an image and at least LEAST_SIDE of them."""
    start, stop = int(low * side), -int(-high * side // 1)
    start = max(0, min(start, side - LEAST_SIDE))
    return slice(start, min(side, max(stop, start + LEAST_SIDE)))
