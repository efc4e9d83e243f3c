"""Protects the pages: limits the size of a body, checks the origin of changes, sets response headers."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xmcgan.runtime.request_body import BodyRefused, read_body, replayed

MAX_BODY = 16_384  # bytes; the longest answer takes about 200
BODY_SECONDS = 10.0
POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # a personal link is in the address: no other site receives it
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "x-robots-tag": "noindex, nofollow",
}


class Guard:
    """Refuses large bodies and changes requested by another site, and sets the headers of every response.

    Args:
        https: whether annotators reach the server by HTTPS.
    """

    def __init__(self, app: ASGIApp, *, https: bool):
        self.app = app
        self.headers = HEADERS | ({"strict-transport-security": "max-age=31536000"} if https else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    headers.setdefault(name, value)  # the page of results has its own policy
                headers.setdefault("cache-control", "no-store")
            await send(message)

        headers = Headers(scope=scope)
        if scope["method"] not in ("GET", "HEAD", "OPTIONS") and not same_site(headers):
            refusal = JSONResponse({"detail": "the request comes from another site"}, 403)
            await refusal(scope, receive, with_headers)
            return
        try:
            body = await read_body(receive, most=MAX_BODY, seconds=BODY_SECONDS)
        except BodyRefused as error:
            refusal = JSONResponse({"detail": str(error)}, error.status)
            await refusal(scope, receive, with_headers)
            return
        await self.app(scope, replayed(body, receive), with_headers)


def same_site(headers: Headers) -> bool:
    """Whether the request comes from our own page, or not from a browser."""
    if (site := headers.get("sec-fetch-site")) is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")
