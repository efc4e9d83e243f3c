"""Access and limits: the token, the size of a body, images a minute."""

import asyncio
import math
import secrets
import time
from collections import OrderedDict

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xmcgan.serving.errors import ApiError
from xmcgan.serving.settings import BODY_SECONDS, MAX_BODY

GUARDED = ("/v1/", "/metrics")
"""Paths that need the token. The page does not, nor do images, whose URLs cannot be guessed."""


class Guard:
    """ASGI middleware: checks the token, then reads the whole body within its limits before the application runs."""

    def __init__(self, app: ASGIApp, token: str | None):
        self.app, self.token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            if self.token is not None and scope["path"].startswith(GUARDED):
                check_token(dict(scope["headers"]).get(b"authorization", b""), self.token)
            body = await read_body(receive) if scope["method"] in ("POST", "PUT", "PATCH") else b""
        except ApiError as error:
            await error.response()(scope, receive, send)
            return
        await self.app(scope, replayed(body, receive), send)


def check_token(header: bytes, token: str) -> None:
    """Refuses a request without the token; the comparison takes constant time."""
    kind, _, given = header.partition(b" ")
    if kind.lower() != b"bearer" or not secrets.compare_digest(given.strip(), token.encode()):
        raise ApiError(401, "the token is missing or wrong; send Authorization: Bearer TOKEN", code="invalid_api_key")


async def read_body(receive: Receive) -> bytes:
    """A request's body.

    Raises:
        ApiError: 413 if it is too large, 408 if it comes too slowly.
    """
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ApiError(499, "the client closed the connection", code="client_gone")
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > MAX_BODY:
                    raise ApiError(413, f"the body is larger than {MAX_BODY:,} bytes", code="body_too_large")
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        raise ApiError(408, f"the body did not arrive within {BODY_SECONDS:g} s", code="body_timeout") from None


def replayed(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives the body already read, and after it what comes next: the disconnect."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


class RateLimit:
    """Images a minute for each client, by a token bucket that holds one minute's.

    Args:
        rate: images a minute; 0 is no limit.
    """

    CLIENTS = 10_000

    def __init__(self, rate: float):
        self.rate = rate
        self.buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # images left, at what time

    def take(self, client: str, images: int) -> None:
        """Takes images out of a client's bucket.

        Raises:
            ApiError: 400 if it can never hold so many, 429 if it does not hold them now.
        """
        if not self.rate:
            return
        if images > self.rate:
            raise ApiError(400, f"{images} images are more than this server's limit of {self.rate:g} a minute",
                           param="n", code="rate_limit_exceeded")  # fmt: skip
        now = time.monotonic()
        left, then = self.buckets.pop(client, (self.rate, now))
        left = min(self.rate, left + (now - then) * self.rate / 60)
        enough = left >= images
        self.buckets[client] = (left - images if enough else left, now)
        if len(self.buckets) > self.CLIENTS:
            self.buckets.popitem(last=False)
        if not enough:
            wait = math.ceil((images - left) * 60 / self.rate)
            raise ApiError(429, f"the limit is {self.rate:g} images a minute; try again in {wait} s",
                           code="rate_limit_exceeded", retry_after=wait)  # fmt: skip
