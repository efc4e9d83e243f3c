"""The routes that draw: /v1/images/generations and /v1/images/interpolations."""

import asyncio
import base64
import json
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from PIL import Image
from starlette.responses import Response, StreamingResponse

from xmcgan import __version__
from xmcgan.inference.image_grid import image_grid
from xmcgan.inference.interpolation import Drawing, between
from xmcgan.inference.noise import MAX_SEED, NOISE
from xmcgan.inference.sample import to_image
from xmcgan.serving.access import take_images
from xmcgan.serving.drawing_queue import Closed, Drawn, QueueFull
from xmcgan.serving.encoding import QUALITY, encode
from xmcgan.serving.errors import ApiError, Json
from xmcgan.serving.models import ServedModel
from xmcgan.serving.schema import ERRORS, GenerationBody, ImageBody, InterpolationBody
from xmcgan.serving.settings import MAX_SIZE
from xmcgan.serving.state import State, state_of
from xmcgan.serving.words import attention_of, words_of

router = APIRouter(prefix="/v1/images", responses=ERRORS)


@router.post("/generations", summary="Images of a caption")
async def generations(body: GenerationBody, request: Request) -> Response:
    """Draws n images of a caption, with seeds seed, seed + 1, ..."""
    state = state_of(request)
    model, n = state.model(body.model), 1 if body.n is None else body.n
    check_count("n", n, state)
    seed = secrets.randbelow(2**32) if body.seed is None else body.seed
    if seed + n - 1 > MAX_SEED:
        raise ApiError(400, f"seed: the last image's would be {seed + n - 1}, more than {MAX_SEED}", param="seed")
    if body.response_format == "url" and state.urls is None:
        raise ApiError(400, "response_format: this server returns b64_json only", param="response_format")
    size = side(body.size, model)
    drawings = [Drawing(body.prompt, seed + k, truncation=body.truncation) for k in range(n)]
    futures = submit(request, state, model, drawings)
    answer = partial(image_entry, request, body, model, size)
    if body.stream:
        return StreamingResponse(
            events(request, state, futures, drawings, answer, body),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store"},
        )
    drawn = await collect(request, state, futures, time.monotonic())
    data = await state.in_encoding_thread(lambda: [answer(*each) for each in zip(drawings, drawn, strict=True)])
    return Json({"created": int(time.time()), "data": data, **common(body, model, size)})


@router.post("/interpolations", summary="Images between two captions or seeds")
async def interpolations(body: InterpolationBody, request: Request) -> Response:
    """Draws the steps from one caption and seed to another, and all of them side by side (``strip``)."""
    state = state_of(request)
    model = state.model(body.model)
    check_count("steps", body.steps, state)
    size = side(body.size, model)
    second_prompt = body.prompt if body.second_prompt is None else body.second_prompt
    second_seed = body.seed if body.second_seed is None else body.second_seed
    drawings = between(
        (body.prompt, second_prompt), (body.seed, second_seed), steps=body.steps, truncation=body.truncation
    )
    drawn = await collect(request, state, submit(request, state, model, drawings), time.monotonic())
    images = [to_image(each.pixels_3HW) for each in drawn]

    def files() -> tuple[list[dict[str, Any]], dict[str, Any]]:
        steps = [
            {"b64_json": in_base64(file_of(image, settings_of(drawing, model), body, size)), "share": drawing.share}
            for drawing, image in zip(drawings, images, strict=True)
        ]
        ends = {"second_prompt": second_prompt, "second_seed": second_seed, "steps": body.steps, "share": None}
        whole = file_of(image_grid(images, len(images)), settings_of(drawings[0], model) | ends, body, size)
        return steps, {"b64_json": in_base64(whole)}

    data, whole = await state.in_encoding_thread(files)
    return Json({"created": int(time.time()), "data": data, "strip": whole, **common(body, model, size)})


def common(body: ImageBody, model: ServedModel, size: int) -> dict[str, Any]:
    """The fields of every answer that apply to all of its images."""
    return {"model": model.id, "size": f"{size}x{size}", "output_format": body.output_format}


def check_count(name: str, count: int, state: State) -> None:
    """Refuses more images than one request may ask for."""
    if count > state.settings.max_images:
        raise ApiError(
            400, f"{name} is {count}; this server draws at most {state.settings.max_images} in one request",
            param=name, code="invalid_value",
        )  # fmt: skip


def side(size: str, model: ServedModel) -> int:
    """The side of the images in the answer, in pixels."""
    own = model.pipe.config.image_size
    accepted = {"auto": own} | {f"{k}x{k}": k for k in range(own, MAX_SIZE + 1, own)}
    if size not in accepted:
        raise ApiError(
            400, f"size is {size!r}; {model.id} draws {own}x{own}, and squares that are a multiple of it, up to "
            f"{MAX_SIZE}x{MAX_SIZE}, are enlarged from that",
            param="size", code="invalid_value",
        )  # fmt: skip
    return accepted[size]


def submit(
    request: Request, state: State, model: ServedModel, drawings: Sequence[Drawing]
) -> "list[asyncio.Future[Drawn]]":
    """Queues images for a client.

    Raises:
        ApiError: 429 or 503.
    """
    take_images(state.rate, request.client.host if request.client else "", len(drawings))
    try:
        return state.queue.submit(model, drawings)
    except QueueFull as full:
        raise ApiError(
            429,
            f"the queue is full ({state.settings.queue} images); {full}",
            code="queue_full",
            retry_after=full.seconds,
        ) from None
    except Closed:
        raise ApiError(503, "the server is stopping", code="stopping", retry_after=5) from None


async def collect(
    request: Request, state: State, futures: "Sequence[asyncio.Future[Drawn]]", began: float
) -> list[Drawn]:
    """Waits for images. If the client disconnects, or they take too long, those not yet drawn are cancelled.

    Raises:
        ApiError: 499 or 504.
    """
    gone = asyncio.ensure_future(disconnected(request))
    drawn = asyncio.ensure_future(asyncio.wait(futures, return_when=asyncio.FIRST_EXCEPTION))
    try:
        left = max(0.0, began + state.settings.timeout - time.monotonic())
        await asyncio.wait({gone, drawn}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if drawn.done():
            return [future.result() for future in futures]
        if gone.done():
            raise ApiError(499, "the client closed the connection", code="client_gone")
        raise ApiError(504, f"the images were not drawn within {state.settings.timeout:g} s", code="timeout")
    finally:
        gone.cancel()
        if not drawn.done():
            drawn.cancel()
            state.queue.cancel(futures)


async def disconnected(request: Request) -> None:
    """Returns when the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def settings_of(drawing: Drawing, model: ServedModel) -> dict[str, Any]:
    """The settings that made an image, to be stored in its file."""
    settings = {
        "prompt": drawing.caption,
        "seed": drawing.seed,
        "truncation": drawing.truncation,
        "noise": NOISE,
        "model": model.id,
        "step": model.pipe.step,
        "version": __version__,
    }
    if drawing.second_caption is not None:
        settings |= {"second_prompt": drawing.second_caption, "second_seed": drawing.second_seed}
        settings |= {"share": drawing.share}
    return settings


def in_base64(content: bytes) -> str:
    """Bytes as base64 text, for JSON."""
    return base64.b64encode(content).decode()


def file_of(image: Image.Image, settings: dict[str, Any], body: ImageBody, size: int) -> bytes:
    """An image as a file, in the format that the request names."""
    quality = QUALITY if body.output_compression is None else body.output_compression
    return encode(image, settings, format=body.output_format, size=size, quality=quality)


def image_entry(
    request: Request, body: GenerationBody, model: ServedModel, size: int, drawing: Drawing, drawn: Drawn
) -> dict[str, Any]:
    """The answer's entry for one image."""
    state = state_of(request)
    content = file_of(to_image(drawn.pixels_3HW), settings_of(drawing, model), body, size)
    entry: dict[str, Any] = {"seed": drawing.seed}
    if body.response_format == "url" and state.urls is not None:
        entry["url"] = state.url(request, state.urls.write(content, body.output_format))
    else:
        entry["b64_json"] = in_base64(content)
    if "attention" in body.include:
        words = words_of(drawing.caption, model)
        entry["words"] = [word.describe() for word in words]
        if drawn.attention_RT is not None:
            for word, shares in zip(entry["words"], attention_of(words, drawn.attention_RT), strict=True):
                word["attention"] = shares
    return entry


async def events(
    request: Request, state: State, futures: "Sequence[asyncio.Future[Drawn]]", drawings: Sequence[Drawing], answer,
    body: GenerationBody,
) -> AsyncIterator[str]:  # fmt: skip
    """One event per image, in order, as soon as each is drawn."""
    began = time.monotonic()
    try:
        for number, (drawing, future) in enumerate(zip(drawings, futures, strict=True)):
            (drawn,) = await collect(request, state, [future], began)
            entry = await state.in_encoding_thread(partial(answer, drawing, drawn))
            yield event("image_generation.completed", {
                "type": "image_generation.completed", "created_at": int(time.time()), "index": number,
                "output_format": body.output_format, **entry,
            })  # fmt: skip
    except ApiError as error:
        yield event("error", {"type": "error", "error": {"message": error.message, "code": error.code}})
    except Exception as error:  # too late for an error status: the status has been sent
        message = f"the server failed: {type(error).__name__}"
        yield event("error", {"type": "error", "error": {"message": message, "code": "internal_error"}})
        raise
    finally:
        state.queue.cancel(futures)


def event(name: str, content: dict[str, Any]) -> str:
    """A server-sent event."""
    return f"event: {name}\ndata: {json.dumps(content, ensure_ascii=True)}\n\n"
