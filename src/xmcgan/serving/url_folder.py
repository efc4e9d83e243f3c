"""Images that are answered as a url: files in a folder, deleted when they are old.

The only state outside memory, and any number of servers may share the folder: a file's age is that of its content.
"""

import re
import secrets
import time
from pathlib import Path

from xmcgan.runtime.files import write_bytes
from xmcgan.serving.errors import ApiError

NAME = re.compile(r"[0-9a-f]{32}\.(png|jpeg|webp)")


class UrlFolder:
    """Writes and finds images under names that nobody can guess.

    Args:
        folder: made if there is none.
        lifetime: seconds.
        megabytes: what all may hold together.
    """

    def __init__(self, folder: Path, lifetime: float, megabytes: float):
        self.folder, self.lifetime, self.limit = folder, lifetime, megabytes * 1e6
        folder.mkdir(parents=True, exist_ok=True)
        self.bytes = self.size()  # as last counted, and what this server has added since

    def write(self, content: bytes, extension: str) -> str:
        """Keeps an image; its file's name.

        Raises:
            ApiError: 429 if the folder is full.
        """
        if self.bytes + len(content) > self.limit:
            self.delete_old()
            if self.bytes + len(content) > self.limit:
                oldest = min((path.stat().st_mtime for path in self.files()), default=time.time())
                wait = max(1, int(oldest + self.lifetime - time.time()) + 1)
                raise ApiError(
                    429, "no more images can be kept for urls; take response_format b64_json, or come back later",
                    param="response_format", code="url_folder_full", retry_after=wait,
                )  # fmt: skip
        name = f"{secrets.token_hex(16)}.{extension}"
        write_bytes(self.folder / name, content)
        self.bytes += len(content)
        return name

    def find(self, name: str) -> Path | None:
        """An image's file, unless it is too old or was never there."""
        path = self.folder / name
        if not NAME.fullmatch(name) or not path.is_file() or self.is_old(path):
            return None
        return path

    def delete_old(self) -> int:
        """Deletes what is too old; how many files that were."""
        old = [path for path in self.files() if self.is_old(path)]
        for path in old:
            path.unlink(missing_ok=True)  # another server of the same folder may be faster
        self.bytes = self.size()
        return len(old)

    def is_old(self, path: Path) -> bool:
        """Whether a file's time is over."""
        return time.time() - path.stat().st_mtime > self.lifetime

    def files(self) -> list[Path]:
        """The images, and nothing else that lies in the folder."""
        return [path for path in self.folder.iterdir() if NAME.fullmatch(path.name)]

    def size(self) -> int:
        """Bytes of all images."""
        return sum(path.stat().st_size for path in self.files())
