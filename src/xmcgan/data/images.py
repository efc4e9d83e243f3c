"""Images: opened, turned upright, and made squares."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from xmcgan.data.crop import middle_square
from xmcgan.data.records import Record, Slice

Fit = Literal["squash", "crop"]

# What makes an image upright, by its EXIF orientation; 1 is upright. ImageOps.exif_transpose does the same, but writes
# the EXIF data anew, which fails on some that can be read.
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
    """An image to a square of pixels.

    Args:
        size: side in pixels.
        fit: ``squash`` to a square (the paper), or ``crop`` the middle square.
    """

    size: int
    fit: Fit = "squash"

    def __post_init__(self):
        if self.fit not in get_args(Fit):
            raise ValueError(f"fit is {self.fit!r}; it can be {', '.join(get_args(Fit))}")

    def __call__(self, record: Record) -> Tensor:
        """Pixels of a record's image as uint8 (3, size, size), resized with antialiasing.

        Raises:
            ValueError: naming the file, if it is not an image that can be read whole.
        """
        return self.pixels(open_image(record))

    def pixels(self, image: Image.Image) -> Tensor:
        """The image as uint8 (3, size, size)."""
        return torch.from_numpy(np.array(self.square(image))).permute(2, 0, 1)

    def square(self, image: Image.Image) -> Image.Image:
        """The image at size x size pixels; one that has that size is returned as it is."""
        width, height = image.size
        left, top, side = middle_square(width, height)
        box = (left, top, left + side, top + side) if self.fit == "crop" else (0, 0, width, height)
        if (width, height) != (self.size, self.size):
            image = image.resize((self.size, self.size), Image.Resampling.BICUBIC, box=box)
        return image


def open_image(record: Record) -> Image.Image:
    """A record's image as a person sees it: decoded whole, upright, on white where it is transparent, in RGB.

    Raises:
        ValueError: naming the file, if it is not an image that can be read whole.
    """
    source = record.image
    name = f"the image of record {record.id}" if isinstance(source, bytes) else str(source)
    if isinstance(source, Slice):
        name = f"{source.file}, bytes {source.offset} to {source.offset + source.length},"
    try:
        with Image.open(io.BytesIO(image_bytes(record)) if not isinstance(source, Path) else source) as file:
            file.load()
            image = to_rgb(file)
            turn = TURNS.get(orientation(file))
            return image if turn is None else image.transpose(turn)
    except UnidentifiedImageError as error:
        # Pillow's own words have the address of a buffer in them: another one at every run.
        raise ValueError(f"{name} cannot be read as an image: it is none that Pillow knows") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} cannot be read as an image: {error}") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """A decoded image of any mode in RGB.

    Raises:
        ValueError: if its numbers are of a kind that says nothing of where white is.
    """
    if image.mode.startswith("I"):  # 16 bits a pixel, of which Pillow would cut all above 255 to white
        levels = np.asarray(image)
        if levels.min() < 0 or levels.max() > 65535:
            raise ValueError(f"its pixels go from {levels.min()} to {levels.max()}; they should be of 16 bits at most")
        image = Image.fromarray(((levels.astype(np.uint32) + 128) // 257).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("its pixels are real numbers; they should be of 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def orientation(image: Image.Image) -> int:
    """How a camera was held, 1 to 8, by the EXIF data of a decoded image; 1, upright, where they do not say."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # of EXIF data that are damaged; every viewer shows such a picture as its pixels lie
        return 1


def is_upright_jpeg(content: bytes) -> bool:
    """Whether an image's bytes can be kept: an RGB JPEG whose pixels lie as they are shown.

    Of what `open_image` has read: other content may raise what Pillow raises.
    """
    with Image.open(io.BytesIO(content)) as file:
        return (file.format, file.mode) == ("JPEG", "RGB") and orientation(file) not in TURNS


def image_bytes(record: Record) -> bytes:
    """The encoded content of a record's image."""
    match record.image:
        case bytes(content):
            return content
        case Slice(file, offset, length):
            with file.open("rb") as stream:
                stream.seek(offset)
                return stream.read(length)
        case path:
            return path.read_bytes()


def to_images(pixels: Tensor) -> Tensor:
    """uint8 pixels to float32 images in [-1, 1]."""
    return pixels.float().div_(127.5).sub_(1)
