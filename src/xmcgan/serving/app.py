"""The application: its routes, its middleware, and how it starts and stops."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles

from xmcgan import __version__
from xmcgan.serving.access import Guard, images_a_minute
from xmcgan.serving.drawing_queue import DrawingQueue
from xmcgan.serving.encoding import MEDIA_TYPES
from xmcgan.serving.errors import ApiError, Json, install
from xmcgan.serving.images import router as images_router
from xmcgan.serving.models import ServedModel
from xmcgan.serving.monitoring import Measured, Metrics
from xmcgan.serving.schema import ERROR_SCHEMA, ERRORS, CaptionBody
from xmcgan.serving.settings import ServeSettings
from xmcgan.serving.state import State, state_of
from xmcgan.serving.url_folder import UrlFolder
from xmcgan.serving.words import words_of

STATIC = Path(__file__).parent / "static"

SWEEP_SECONDS = 60.0
"""Time between two deletions of expired images."""

SECURITY = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors *",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

router = APIRouter()


def create_app(models: Mapping[str, ServedModel], settings: ServeSettings) -> FastAPI:
    """The application that serves the page and the API.

    Args:
        models: the models by name; the first is the default.
    """
    metrics = Metrics(models)
    urls = settings.url_folder
    state = State(
        models=models,
        settings=settings,
        queue=DrawingQueue(settings.queue, metrics.batch),
        metrics=metrics,
        rate=images_a_minute(settings.rate),
        urls=None if urls is None else UrlFolder(urls, settings.url_lifetime, settings.url_megabytes),
        encoding=ThreadPoolExecutor(1, "encoding"),
    )
    metrics.waiting.set_function(lambda: len(state.queue.waiting))
    app = FastAPI(
        title="XMC-GAN", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        description="Images from captions. All errors have one shape; a 429 has a Retry-After header.",
    )  # fmt: skip
    app.state.own = state
    install(app)
    app.include_router(router)
    app.include_router(images_router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.openapi = lambda: openapi(app)  # type: ignore[method-assign]
    app.add_middleware(Guard, token=settings.token)
    return app


def measured(app: FastAPI) -> Measured:
    """The application inside the middleware that counts requests."""
    return Measured(app, app.state.own.metrics)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    """Starts the drawing thread; at shutdown it draws what was accepted."""
    state: State = app.state.own
    state.queue.start()
    sweeping = asyncio.create_task(sweep(state))
    yield
    sweeping.cancel()
    with suppress(asyncio.CancelledError):
        await sweeping
    await asyncio.to_thread(state.queue.close)
    state.encoding.shutdown()


async def sweep(state: State) -> None:
    """Deletes expired images periodically."""
    while state.urls is not None:
        await run_in_threadpool(state.urls.delete_old)
        await asyncio.sleep(SWEEP_SECONDS)


def openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI description, with this API's errors in place of FastAPI's."""
    if app.openapi_schema is None:
        schema = FastAPI.openapi(app)
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        schemas["Error"] = ERROR_SCHEMA
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for path in schema["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        app.openapi_schema = schema
    return app.openapi_schema


@router.get("/", include_in_schema=False)
async def page() -> Response:
    """The page."""
    return FileResponse(STATIC / "index.html", headers=SECURITY)


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> Response:
    """200 while the process runs."""
    return Json({"status": "ok"})


@router.get("/readyz", summary="Are images being drawn?", responses={503: ERRORS[503]})
async def readyz(request: Request) -> Response:
    """503 if the server is stopping or its drawing thread has died."""
    if not state_of(request).queue.alive:
        raise ApiError(503, "the server is stopping", code="not_ready", retry_after=5)
    return Json({"status": "ready"})


@router.get("/metrics", summary="Metrics for Prometheus", responses={401: ERRORS[401]})
async def metrics(request: Request) -> Response:
    """Counts and times of requests, images and batches, in Prometheus' text format."""
    return PlainTextResponse(state_of(request).metrics.text(), media_type="text/plain; version=0.0.4")


@router.get("/v1/models", summary="The models", responses={401: ERRORS[401]})
async def list_models(request: Request) -> Response:
    """All models, the default one first."""
    state = state_of(request)
    data = [model.describe(state.settings.max_images) for model in state.models.values()]
    return Json({"object": "list", "data": data})


@router.get("/v1/models/{model_id:path}", summary="One model", responses={code: ERRORS[code] for code in (401, 404)})
async def one_model(model_id: str, request: Request) -> Response:
    """A model by name."""
    state = state_of(request)
    return Json(state.model(model_id).describe(state.settings.max_images))


@router.post("/v1/captions", summary="The words of a caption", responses=ERRORS)
async def captions(body: CaptionBody, request: Request) -> Response:
    """The position of each word, whether it is in the model's vocabulary, and whether the caption is cut before it."""
    state = state_of(request)
    model = state.model(body.model)
    words = await state.in_encoding_thread(lambda: words_of(body.prompt, model))
    return Json({"model": model.id, "words": [word.describe() for word in words]})


@router.get("/images/{name}", summary="An image by its URL", responses={404: ERRORS[404]})
async def kept_image(name: str, request: Request) -> Response:
    """An image of an answer with URLs, until it expires."""
    urls = state_of(request).urls
    path = None if urls is None else urls.find(name)
    if path is None:
        raise ApiError(404, "there is no such image, or it has expired", code="image_not_found")
    return FileResponse(path, media_type=MEDIA_TYPES[path.suffix[1:]], headers={"X-Content-Type-Options": "nosniff"})
