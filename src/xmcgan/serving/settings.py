"""Limits and access of a server."""

from dataclasses import dataclass
from pathlib import Path

MAX_CAPTION = 4000
"""Most characters of a prompt; every text encoder here reads far fewer."""

MAX_BODY = 2**20
"""Most bytes of a request's body."""

BODY_SECONDS = 10.0
"""How long a client may take to send a body."""

MAX_SIZE = 1024
"""Largest side that images are enlarged to, in pixels."""


@dataclass(frozen=True)
class ServeSettings:
    """Settings of one server.

    Args:
        token: clients must send it as ``Authorization: Bearer TOKEN``; None: no token is needed.
        max_images: largest ``n`` and number of steps of one request.
        queue: most images in the queue; a request for more gets a 429.
        timeout: seconds from a request to its last image.
        rate: images a minute for each client address; 0 is no limit.
        url_folder: folder of the images that are answered as URLs; None turns URLs off.
        url_lifetime: seconds until such an image is deleted.
        url_megabytes: most that these images may take together.
        public_url: the address by which clients reach the server, if there is a proxy in between.
    """

    token: str | None = None
    max_images: int = 16
    queue: int = 128
    timeout: float = 60.0
    rate: float = 0.0
    url_folder: Path | None = None
    url_lifetime: float = 3600.0
    url_megabytes: float = 500.0
    public_url: str | None = None

    def __post_init__(self):
        for name in ("max_images", "queue", "timeout", "url_lifetime", "url_megabytes"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it should be more than 0")
        if self.rate < 0:
            raise ValueError(f"rate is {self.rate}; it should be at least 0 (no limit)")
        if self.queue < self.max_images:
            raise ValueError(f"queue is {self.queue}; it should be at least max_images, {self.max_images}")
        if self.token == "":
            raise ValueError("token is empty; leave it out to need none")
