"""A grid of images."""

from collections.abc import Sequence

from PIL import Image


def image_grid(images: Sequence[Image.Image], columns: int, gap: int = 2) -> Image.Image:
    """A grid filled row by row, with ``columns`` images in a row, or fewer if there are fewer.

    Args:
        images: at least one, all of one size.
        gap: white pixels between two images.
    """
    columns = min(columns, len(images))
    width, height = images[0].size
    rows = -(-len(images) // columns)
    grid = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        grid.paste(image, (column * (width + gap), row * (height + gap)))
    return grid
