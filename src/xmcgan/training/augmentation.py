"""Differentiable augmentation of what the discriminator sees (Zhao et al. 2020, arXiv:2006.10738).

Real and generated images are augmented alike, with gradients, so that the discriminator cannot memorise the real ones
and the generator learns images without the augmentation. All randomness comes from uniform numbers drawn for each
example, so that a run resumes with the same bits on any number of ranks.
"""

import torch
from torch import Tensor

from xmcgan.config import AugmentationConfig

NUMBERS = 9
"""How many uniform numbers one view of an example uses."""


def augment(images_B3HW: Tensor, uniform_BU: Tensor, config: AugmentationConfig, strength: float = 1.0) -> Tensor:
    """Images in [-1, 1] after the augmentations of ``config``.

    Args:
        uniform_BU: ``NUMBERS`` uniform random numbers in [0, 1) for each image.
        strength: factor on every probability (``AdaptiveStrength``); a translation's own is 1.
    """
    if strength == 0:
        return images_B3HW
    side = images_B3HW.shape[-1]
    _, _, cut_y, cut_x, cut, brightness, saturation, contrast, colour = uniform_BU.unbind(1)
    x = images_B3HW
    if config.colour:
        changed = change_colours(x, brightness, saturation, contrast)
        x = torch.where((colour < config.colour * strength)[:, None, None, None], changed, x)
    if config.translation:
        x = translate(x, *image_shifts(uniform_BU, side, config, strength))
    if config.cutout:
        x = torch.where((cut < config.cutout * strength)[:, None, None, None], cut_out(x, cut_y, cut_x), x)
    return x


def image_shifts(uniform_BU: Tensor, side: int, config: AugmentationConfig, strength: float) -> tuple[Tensor, Tensor]:
    """dy and dx of every image in pixels; 0 for all but a share ``strength`` of the images."""
    dy, dx = uniform_BU[:, 0], uniform_BU[:, 1]
    moved = dy < strength  # for these, dy / strength is uniform in [0, 1) again
    reach = config.translation
    return shifts((dy / strength).where(moved, 0.5), side, reach), shifts(dx.where(moved, 0.5), side, reach)


def translate_traces(
    traces_BTR: Tensor, uniform_BU: Tensor, config: AugmentationConfig, side: int, strength: float = 1.0
) -> Tensor:
    """Moves words' traces with their images, by whole regions; each keeps its sum, unless it leaves the picture."""
    if not config.translation or strength == 0:
        return traces_BTR
    grid = int(traces_BTR.shape[-1] ** 0.5)
    dy, dx = ((pixels * grid / side).round().long() for pixels in image_shifts(uniform_BU, side, config, strength))
    moved = translate(traces_BTR.unflatten(-1, (grid, grid)), dy, dx).flatten(2)
    left = moved.sum(-1, keepdim=True)
    return torch.where(left > 0, moved * (traces_BTR.sum(-1, keepdim=True) / left.clamp_min(1e-12)), moved)


def shifts(uniform_B: Tensor, side: int, largest: float) -> Tensor:
    """Whole pixels from -largest to largest, as a share of the side, all equally likely."""
    reach = int(side * largest)
    return (uniform_B * (2 * reach + 1)).long() - reach


def translate(x_BCHW: Tensor, dy_B: Tensor, dx_B: Tensor) -> Tensor:
    """Each map moved down by dy and right by dx pixels; the gap is filled with zeros (mid grey in an image)."""
    height, width = x_BCHW.shape[-2:]
    rows = torch.arange(height, device=x_BCHW.device) - dy_B[:, None]
    columns = torch.arange(width, device=x_BCHW.device) - dx_B[:, None]
    inside = ((rows >= 0) & (rows < height))[:, None, :, None] & ((columns >= 0) & (columns < width))[:, None, None]
    rows = rows.clamp(0, height - 1)[:, None, :, None].expand(-1, x_BCHW.shape[1], -1, width)
    columns = columns.clamp(0, width - 1)[:, None, None, :].expand(-1, x_BCHW.shape[1], height, -1)
    return x_BCHW.gather(2, rows).gather(3, columns) * inside


def cut_out(x_BCHW: Tensor, centre_y_B: Tensor, centre_x_B: Tensor) -> Tensor:
    """A square of half the side set to mid grey, its centre given as shares of the side."""
    places = (torch.arange(x_BCHW.shape[-1], device=x_BCHW.device) + 0.5) / x_BCHW.shape[-1]
    rows, columns = ((places - centre[:, None]).abs() < 0.25 for centre in (centre_y_B, centre_x_B))
    return x_BCHW * ~(rows[:, None, :, None] & columns[:, None, None, :])


def change_colours(x_B3HW: Tensor, brightness_B: Tensor, saturation_B: Tensor, contrast_B: Tensor) -> Tensor:
    """Brightness shifted by up to 0.5; saturation times 0 to 2; contrast times 0.5 to 1.5."""
    numbers = (brightness_B, saturation_B, contrast_B)
    brightness, saturation, contrast = (each[:, None, None, None] for each in numbers)
    x = x_B3HW + brightness - 0.5
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * 2 * saturation
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * (0.5 + contrast)
