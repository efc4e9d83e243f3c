"""Pictures that do not reveal where they come from: one size, one format, random names, one length in bytes.

Pictures of a caption are padded to the length of the longest, since smooth pictures compress better than detailed ones
and file lengths could reveal a system. The padding is a private chunk of the PNG, which viewers ignore.
"""

import io
import os
import re
import secrets
import zlib
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from xmcgan.runtime.files import write_bytes

NAME = re.compile(r"[A-Za-z0-9_-]{22}")
CHUNK = 12  # bytes of a PNG chunk around its content
END = b"\x00\x00\x00\x00IEND\xaeB`\x82"


class Written(NamedTuple):
    """A picture in the study's folder."""

    name: str  # without .png
    sha256: str


def write_alike(folder: Path, pictures: Mapping[str, Image.Image]) -> dict[str, Written]:
    """Writes pictures of one caption under random names, in random order, with equal lengths and times.

    Args:
        pictures: RGB, of one size, by system.

    Returns:
        The written file of each system.
    """
    encoded = {}
    for system, picture in pictures.items():
        content = io.BytesIO()
        Image.fromarray(np.asarray(picture)).save(content, "PNG")  # from the pixels alone: no text, profile or time
        encoded[system] = content.getvalue()
    length = max(len(content) for content in encoded.values()) + CHUNK
    written = {}
    for system in sorted(encoded, key=lambda _: secrets.randbits(64)):
        content = padded(encoded[system], length)
        name = secrets.token_urlsafe(16)
        path = write_bytes(folder / f"{name}.png", content)
        os.utime(path, (0, 0))
        written[system] = Written(name, sha256(content).hexdigest())
    return written


def padded(png: bytes, length: int) -> bytes:
    """The same picture in a file of ``length`` bytes, at least 12 more than it has."""
    filler = b"fiLl" + bytes(length - len(png) - CHUNK)
    chunk = (len(filler) - 4).to_bytes(4, "big") + filler + zlib.crc32(filler).to_bytes(4, "big")
    return png.removesuffix(END) + chunk + END


def noise(size: int, seed: str) -> Image.Image:
    """A square of random colours (``size``, ``size``), with a grain of 1/32 of its side."""
    generator = np.random.default_rng(list(sha256(seed.encode()).digest()))
    grain = generator.integers(0, 256, (min(32, size), min(32, size), 3), dtype=np.uint8)
    return Image.fromarray(grain).resize((size, size), Image.Resampling.NEAREST)


def picture_file(folder: Path, name: str) -> Path | None:
    """The file of a picture's name; None for anything that is not a picture of this folder."""
    path = folder / f"{name}.png"
    return path if NAME.fullmatch(name) and path.is_file() and not path.is_symlink() else None
