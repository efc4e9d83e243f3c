"""The state that the routes of one server share."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request

from xmcgan.runtime.rate_limit import RateLimit
from xmcgan.serving.drawing_queue import DrawingQueue
from xmcgan.serving.errors import ApiError
from xmcgan.serving.models import ServedModel
from xmcgan.serving.monitoring import Metrics
from xmcgan.serving.settings import ServeSettings
from xmcgan.serving.url_folder import UrlFolder

T = TypeVar("T")


@dataclass(frozen=True)
class State:
    """The models, queue, limits and metrics."""

    models: Mapping[str, ServedModel]
    settings: ServeSettings
    queue: DrawingQueue
    metrics: Metrics
    rate: RateLimit | None
    urls: UrlFolder | None
    encoding: ThreadPoolExecutor  # a single thread, the only one that may use the models' tokenizers

    def model(self, name: str | None) -> ServedModel:
        """A model by name; the first one for None.

        Raises:
            ApiError: 404 if there is no model of that name.
        """
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            message = f"there is no model {name!r}; this server has {', '.join(self.models)}"
            raise ApiError(404, message, param="model", code="model_not_found")
        return self.models[name]

    async def in_encoding_thread(self, make: Callable[[], T]) -> T:
        """Calls a function in the encoding thread, to keep the event loop free."""
        return await asyncio.get_running_loop().run_in_executor(self.encoding, make)

    def url(self, request: Request, name: str) -> str:
        """The URL of a stored image, as the client of this request reaches it."""
        base = self.settings.public_url or str(request.base_url)
        return f"{base.rstrip('/')}/images/{name}"


def state_of(request: Request) -> State:
    """The state of the application that answers a request."""
    return request.app.state.own
