"""Runs the application in one process on one port; shutdown loses no accepted request."""

import errno
import signal
import socket
from collections.abc import Callable, Sequence

import uvicorn

from xmcgan.inference.interpolation import Drawing, draw
from xmcgan.serving.app import create_app, measured
from xmcgan.serving.models import load_models
from xmcgan.serving.settings import ServeSettings

KEEP_ALIVE_SECONDS = 30
CONNECTIONS = 1000


def serve(
    sources: Sequence[str],
    settings: ServeSettings,
    *,
    host: str,
    port: int,
    device: str = "auto",
    ready: Callable[[str], None] = print,
) -> tuple[int, int]:
    """Serves models until SIGTERM or SIGINT, then finishes what was accepted.

    Args:
        sources: the models (``load_models``).
        port: 0 takes a free one.
        ready: called with the server's address once it listens.

    Returns:
        how many requests were accepted, and how many were answered completely; clients gave up the others.

    Raises:
        OSError: if the port is taken.
        ValueError: if a model is damaged or named twice.
    """
    with bound(host, port) as listening:
        models = load_models(sources, device=device)
        for model in models.values():  # the first batch is slower than others; no client should wait for it
            draw(model.pipe.fused, model.pipe.encoder, [Drawing("", 0)], batch_size=model.rows)
        app = measured(create_app(models, settings))
        server = Server(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                limit_concurrency=CONNECTIONS,
                backlog=CONNECTIONS,
                lifespan="on",
            ),
            lambda: ready(address(listening)),
        )
        # After shutdown uvicorn raises the signals that stopped it a second time; they must not end this process.
        kept = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            server.run(sockets=[listening])
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)
        return app.accepted, app.answered


class Server(uvicorn.Server):
    """uvicorn's server, with a callback when it listens."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]):
        super().__init__(config)
        self.ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts, then calls ``ready``."""
        await super().startup(sockets)
        if self.started:
            self.ready()


def bound(host: str, port: int) -> socket.socket:
    """A socket bound to an address, so that a taken port is an error before any model is loaded."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        other = "--host" if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL else "--port"
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}; choose another {other}") from error
    return listening


def address(listening: socket.socket) -> str:
    """The URL of a socket, for a browser."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{host}:{port}"
