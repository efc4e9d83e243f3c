"""Opens images, turns them upright and makes them square."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from xmcgan.data.crop import middle_square
from xmcgan.data.records import Crop, Record, Slice, StoredImage, image_place
from xmcgan.data.remote import SourcePath, read_part

if TYPE_CHECKING:  # the commands and worker processes that prepare data start without torch
    from torch import Tensor

Fit = Literal["squash", "crop"]

# The transposition that makes an image upright, by EXIF orientation; 1 is upright. ImageOps.exif_transpose also
# rewrites the EXIF data, which fails for some readable images.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class ImageTransform:
    """Resizes an image to a square.

    Args:
        size: side in pixels.
        fit: ``squash`` the whole image to a square (paper), or ``crop`` the middle square.
    """

    size: int
    fit: Fit = "squash"

    def __post_init__(self):
        if self.fit not in get_args(Fit):
            raise ValueError(f"fit is {self.fit!r}; it can be {', '.join(get_args(Fit))}")

    def __call__(self, record: Record) -> Tensor:
        """A record's image as uint8 pixels (3, size, size), resized with antialiasing.

        Raises:
            ValueError: naming the file, if it is not a complete, readable image.
        """
        return self.pixels(open_image(record))

    def pixels(self, image: Image.Image) -> Tensor:
        """The image as uint8 pixels (3, size, size)."""
        import torch

        return torch.from_numpy(np.array(self.square(image))).permute(2, 0, 1)

    def square(self, image: Image.Image) -> Image.Image:
        """The image at size x size pixels, unchanged if it has that size already."""
        width, height = image.size
        left, top, side = middle_square(width, height)
        box = (left, top, left + side, top + side) if self.fit == "crop" else (0, 0, width, height)
        if (width, height) != (self.size, self.size):
            image = image.resize((self.size, self.size), Image.Resampling.BICUBIC, box=box)
        return image


def open_image(record: Record, content: bytes | None = None) -> Image.Image:
    """A record's image as a viewer shows it: RGB, upright, transparency on white.

    Args:
        content: the bytes of its file, or of its part of a file, if already read.

    Raises:
        ValueError: naming the file, if it is not a complete, readable image.
    """
    source = record.image
    if isinstance(source, Crop):
        return open_image(record._replace(image=source.file), content).crop(source[1:])
    name, advice = image_place(record), ""
    if isinstance(source, StoredImage):
        advice = "; `xmcgan data verify` lists all that is damaged"
    try:
        in_place = source if content is None and isinstance(source, Path) else None
        with Image.open(in_place or io.BytesIO(image_bytes(record) if content is None else content)) as file:
            file.load()
            image = to_rgb(file)
            turn = TURNS.get(orientation(file))
            return image if turn is None else image.transpose(turn)
    except ConnectionError:
        raise
    except UnidentifiedImageError as error:
        # Not Pillow's own message: it contains a buffer address, which differs in every run.
        raise ValueError(f"{name} cannot be read as an image: Pillow does not know its format{advice}") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} cannot be read as an image: {error}{advice}") from error


def image_size(file: SourcePath) -> tuple[int, int]:
    """Width and height of an image file as a viewer shows it, without decoding its pixels.

    Raises:
        ValueError: if its header cannot be read; the message is meant to follow the file's name.
    """
    try:
        with Image.open(file if isinstance(file, Path) else io.BytesIO(file.read_bytes())) as image:
            width, height = image.size
            return (height, width) if orientation(image) >= 5 else (width, height)
    except ConnectionError:
        raise
    except UnidentifiedImageError as error:
        raise ValueError("cannot be read as an image: Pillow does not know its format") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot be read as an image: {error}") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Converts a decoded image of any mode to RGB.

    Raises:
        ValueError: if its pixel values have no known white level.
    """
    if image.mode.startswith("I"):  # 16 bits per pixel; Pillow would clip everything above 255 to white
        levels = np.asarray(image)
        if levels.min() < 0 or levels.max() > 65535:
            raise ValueError(f"its pixels range from {levels.min()} to {levels.max()}; they should be in 0 to 65535")
        image = Image.fromarray(((levels.astype(np.uint32) + 128) // 257).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; they should be of 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def orientation(image: Image.Image) -> int:
    """The EXIF orientation of a decoded image, 1 to 8; 1 (upright) if unknown."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF data; viewers then show the pixels as they are stored
        return 1


def is_upright_jpeg(content: bytes) -> bool:
    """Whether the encoded image can be kept as it is: an upright RGB JPEG.

    The content must have passed `open_image`; otherwise Pillow's errors may be raised.
    """
    with Image.open(io.BytesIO(content)) as file:
        return (file.format, file.mode) == ("JPEG", "RGB") and orientation(file) not in TURNS


def image_bytes(record: Record) -> bytes:
    """The encoded bytes of a record's image; a rectangle of a file is encoded as PNG."""
    match record.image:
        case Crop():
            encoded = io.BytesIO()
            open_image(record).save(encoded, "PNG")
            return encoded.getvalue()
        case bytes(content):
            return content
        case Slice(file, offset, length):
            return read_part(file, offset, length)
        case path:
            return path.read_bytes()


def to_images(pixels: Tensor) -> Tensor:
    """Converts uint8 pixels to float32 images in [-1, 1]."""
    return pixels.float().div_(127.5).sub_(1)
