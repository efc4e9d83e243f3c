"""Images that are answered as URLs: files in a folder, deleted when they expire.

This is the only state outside memory. Any number of servers can share the folder, because images expire by the
modification time of their files.
"""

import re
import secrets
import time
from pathlib import Path

from xmcgan.runtime.files import make_folder, write_bytes
from xmcgan.serving.errors import ApiError

NAME = re.compile(r"[0-9a-f]{32}\.(png|jpeg|webp)")


class UrlFolder:
    """Writes and finds images under names that nobody can guess.

    Args:
        folder: created if it does not exist.
        lifetime: seconds until an image expires.
        megabytes: most that all images may take.
    """

    def __init__(self, folder: Path, lifetime: float, megabytes: float):
        self.folder, self.lifetime, self.limit = folder, lifetime, megabytes * 1e6
        make_folder(folder)
        self.bytes = self.size()  # as last counted, plus what this server has added since

    def write(self, content: bytes, extension: str) -> str:
        """Stores an image and returns its file's name.

        Raises:
            ApiError: 429 if the folder is full.
        """
        if self.bytes + len(content) > self.limit:
            self.delete_old()
            if self.bytes + len(content) > self.limit:
                oldest = min((path.stat().st_mtime for path in self.files()), default=time.time())
                wait = max(1, int(oldest + self.lifetime - time.time()) + 1)
                raise ApiError(
                    429, "there is no room for more images as URLs; use response_format b64_json, or try again later",
                    param="response_format", code="url_folder_full", retry_after=wait,
                )  # fmt: skip
        name = f"{secrets.token_hex(16)}.{extension}"
        write_bytes(self.folder / name, content)
        self.bytes += len(content)
        return name

    def find(self, name: str) -> Path | None:
        """An image's file; None if there is none, or it has expired."""
        path = self.folder / name
        if not NAME.fullmatch(name) or not path.is_file() or self.is_old(path):
            return None
        return path

    def delete_old(self) -> int:
        """Deletes expired images and returns their number."""
        old = [path for path in self.files() if self.is_old(path)]
        for path in old:
            path.unlink(missing_ok=True)  # another server may have deleted it
        self.bytes = self.size()
        return len(old)

    def is_old(self, path: Path) -> bool:
        """Whether an image has expired."""
        return time.time() - path.stat().st_mtime > self.lifetime

    def files(self) -> list[Path]:
        """The images; other files in the folder are left alone."""
        return [path for path in self.folder.iterdir() if NAME.fullmatch(path.name)]

    def size(self) -> int:
        """Bytes of all images."""
        return sum(path.stat().st_size for path in self.files())
