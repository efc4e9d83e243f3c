"""``xmcgan serve``."""

import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

TOKEN = "XMCGAN_TOKEN"

EXTRA = ("fastapi", "uvicorn", "starlette", "prometheus_client", "pydantic")


def serve(
    *,
    model: str = "scenes-64",
    models: list[str] | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    max_images: int = 16,
    queue: int = 128,
    timeout: float = 60.0,
    rate: float = 0.0,
    url_folder: Path | None = None,
    url_lifetime: float = 3600.0,
    public_url: str | None = None,
    device: str = "auto",
) -> int:
    """Serve a page to generate images on, and an HTTP API for image clients.

    On SIGTERM or Ctrl-C it finishes the requests that it has accepted (docs/serving.md).

    Args:
        model: a run, a checkpoint, a saved pipeline, a hub name, or scenes-64; NAME=MODEL gives it a name.
        models: more models, to choose from and to compare.
        host: address to listen on; 0.0.0.0 means all addresses.
        port: port to listen on; 0 takes a free one.
        token: bearer token that clients must send; can also be set in the environment variable XMCGAN_TOKEN.
        max_images: most images of one request.
        queue: most images in the queue; a request for more gets a 429.
        timeout: seconds that a request may take.
        rate: images per minute for each client address; 0 is no limit.
        url_folder: folder of the images that are answered as URLs; by default a temporary one, deleted at the end.
        url_lifetime: seconds until such an image is deleted.
        public_url: address by which clients reach the server, if there is a proxy in between.
        device: auto, cpu, cuda, ...

    Examples:
        xmcgan serve
        xmcgan serve --model runs/first --models scenes-64 --host 0.0.0.0 --token SECRET
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"--port is {port}; it should be 0 to 65535")
    run = serving()
    from xmcgan.serving.settings import ServeSettings

    sources = [model, *(models or [])]
    with tempfile.TemporaryDirectory(prefix="xmcgan-urls-") as own_folder:
        settings = ServeSettings(
            token=os.environ.get(TOKEN) if token is None else token,
            max_images=max_images,
            queue=queue,
            timeout=timeout,
            rate=rate,
            url_folder=Path(own_folder) if url_folder is None else url_folder,
            url_lifetime=url_lifetime,
            public_url=public_url,
        )
        ready = partial(announce, sources)
        accepted, answered = run(sources, settings, host=host, port=port, device=device, ready=ready)
    print(f"stopped: {answered} of {accepted} requests answered", flush=True)
    return 0


def announce(sources: list[str], url: str) -> None:
    """Prints where the server is."""
    print(f"{url} serves {', '.join(sources)}; Ctrl-C stops", flush=True)


def serving() -> Callable[..., tuple[int, int]]:
    """The function that serves.

    Raises:
        ValueError: with the extra to install, if it is missing.
    """
    try:
        from xmcgan.serving.server import serve as run
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in EXTRA:
            raise
        raise ValueError(f"{error.name} is not installed; serving needs pip install 'xmcgan[serve]'") from None
    return run
