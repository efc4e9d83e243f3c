"""The body of a request, read whole and within limits before an ASGI application runs."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


class BodyRefused(Exception):
    """A body that was not read to its end.

    Args:
        status: HTTP status: 408, 413, or 499 if the client left.
        code: the kind of error, for programs.
    """

    def __init__(self, status: int, message: str, *, code: str):
        super().__init__(message)
        self.status, self.code = status, code


async def read_body(receive: Receive, *, most: int, seconds: float) -> bytes:
    """A request's body.

    Args:
        most: longest body, in bytes.
        seconds: time limit for it to arrive.

    Raises:
        BodyRefused: if it is too long, too slow, or cut off; reading stops as soon as it is too long.
    """
    parts, size = [], 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise BodyRefused(499, "the client closed the connection", code="client_gone")
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > most:
                    raise BodyRefused(413, f"the body is larger than {most:,} bytes", code="body_too_large")
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        raise BodyRefused(408, f"the body did not arrive within {seconds:g} s", code="body_timeout") from None


def replayed(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that returns the body that was read, then passes on what follows: the client's disconnect."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
