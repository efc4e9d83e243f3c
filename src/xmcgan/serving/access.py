"""Access and limits: the token, the size of a body, images per minute."""

import math
import secrets

from starlette.types import ASGIApp, Receive, Scope, Send

from xmcgan.runtime.rate_limit import RateLimit
from xmcgan.runtime.request_body import BodyRefused, read_body, replayed
from xmcgan.serving.errors import ApiError
from xmcgan.serving.settings import BODY_SECONDS, MAX_BODY

GUARDED = ("/v1/", "/metrics")
"""Paths that need the token. The page does not, and neither do images, whose URLs cannot be guessed."""


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
            reads = scope["method"] in ("POST", "PUT", "PATCH")
            body = await read_body(receive, most=MAX_BODY, seconds=BODY_SECONDS) if reads else b""
        except BodyRefused as refused:
            error = ApiError(refused.status, str(refused), code=refused.code)
            await error.response()(scope, receive, send)
            return
        except ApiError as error:
            await error.response()(scope, receive, send)
            return
        await self.app(scope, replayed(body, receive), send)


def check_token(header: bytes, token: str) -> None:
    """Refuses a request without the token; the comparison takes constant time."""
    kind, _, given = header.partition(b" ")
    if kind.lower() != b"bearer" or not secrets.compare_digest(given.strip(), token.encode()):
        raise ApiError(401, "the token is missing or wrong; send Authorization: Bearer TOKEN", code="invalid_api_key")


def images_a_minute(rate: float) -> RateLimit | None:
    """A limit on each client's images per minute, whose buckets hold one minute's; None for a rate of 0: no limit."""
    return RateLimit(rate, rate / 60) if rate else None


def take_images(limit: RateLimit | None, client: str, images: int) -> None:
    """Takes images out of a client's bucket.

    Raises:
        ApiError: 400 if it can never hold so many, 429 if it does not hold them now.
    """
    if limit is None:
        return
    if images > limit.burst:
        raise ApiError(400, f"{images} images are more than this server's limit of {limit.burst:g} a minute",
                       param="n", code="rate_limit_exceeded")  # fmt: skip
    if seconds := limit.take(client, images):
        wait = math.ceil(seconds - 1e-9)  # so that rounding errors do not add a second to a whole number
        raise ApiError(429, f"the limit is {limit.burst:g} images a minute; try again in {wait} s",
                       code="rate_limit_exceeded", retry_after=wait)  # fmt: skip
