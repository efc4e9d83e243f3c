"""Images inside a page, as data URLs."""

import base64
import io

from PIL import Image


def png_url(image: Image.Image) -> str:
    """An image as the data URL of a PNG."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return data_url("image/png", buffer.getvalue())


def data_url(media_type: str, content: bytes) -> str:
    """The content of an image file as a data URL."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
