"""Images as files with the settings that made them."""

import io
import json
from collections.abc import Mapping
from typing import Any, Literal

from PIL import Image, PngImagePlugin, UnidentifiedImageError

Format = Literal["png", "jpeg", "webp"]

MEDIA_TYPES: dict[str, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}

QUALITY = 90
"""Quality of JPEG and WebP unless ``output_compression`` sets another."""

USER_COMMENT, DESCRIPTION, SOFTWARE = 0x9286, 0x010E, 0x0131  # tags of EXIF


def encode(
    image: Image.Image, settings: Mapping[str, Any], *, format: Format, size: int, quality: int = QUALITY
) -> bytes:
    """An image file with its settings: PNG text chunks (Description, Software, xmcgan), or the same in EXIF.

    Args:
        settings: the settings that made the image, stored as JSON; ``prompt`` is also the description.
        size: side in pixels; the image is enlarged to it smoothly.
        quality: quality of JPEG and WebP, 0 to 100.
    """
    if size != image.width:
        image = image.resize((size * image.width // image.height, size), Image.Resampling.LANCZOS)
    text = json.dumps(settings, ensure_ascii=True)
    description, software = str(settings["prompt"]), f"xmcgan {settings['version']}"
    buffer = io.BytesIO()
    if format == "png":
        chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt("Description", description)
        chunks.add_text("Software", software)
        chunks.add_text("xmcgan", text)
        image.save(buffer, "PNG", pnginfo=chunks, compress_level=3)
        return buffer.getvalue()
    exif = Image.Exif()
    exif[DESCRIPTION], exif[SOFTWARE] = description.encode("ascii", "replace").decode(), software
    exif.get_ifd(0x8769)[USER_COMMENT] = b"ASCII\0\0\0" + text.encode()
    image.save(buffer, format.upper(), quality=quality, exif=exif)
    return buffer.getvalue()


def read_settings(content: bytes) -> dict[str, Any]:
    """The settings stored in an image file that ``encode`` made.

    Raises:
        ValueError: if it has none, or is not an image.
    """
    try:
        image = Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        raise ValueError("the file is not an image") from None
    text = getattr(image, "text", {}).get("xmcgan")
    if text is None:
        comment = image.getexif().get_ifd(0x8769).get(USER_COMMENT, b"")
        text = comment.removeprefix(b"ASCII\0\0\0").decode() if isinstance(comment, bytes) else ""
    if not text:
        raise ValueError("the image holds no settings of xmcgan")
    return json.loads(text)
