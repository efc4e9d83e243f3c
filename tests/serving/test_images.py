"""Requests for images that fail, are cancelled or time out."""

import asyncio
import json
from types import SimpleNamespace

import pytest

from xmcgan.inference.interpolation import Drawing
from xmcgan.serving.drawing_queue import DrawingQueue
from xmcgan.serving.errors import ApiError
from xmcgan.serving.images import disconnected, events, submit
from xmcgan.serving.schema import GenerationBody
from xmcgan.serving.settings import ServeSettings

BODY = GenerationBody(prompt="a car", stream=True)


def state_with(queue: DrawingQueue, **settings) -> SimpleNamespace:
    return SimpleNamespace(queue=queue, rate=None, settings=ServeSettings(**settings))


def client(*messages: str) -> SimpleNamespace:
    """A client that sends these messages and then no more."""
    waiting = [*messages]

    async def receive():
        if waiting:
            return {"type": waiting.pop(0)}
        return await asyncio.Event().wait()

    return SimpleNamespace(receive=receive, client=None)


def test_a_server_that_stops_says_when_to_come_back(tiny_model):
    queue = DrawingQueue(8)
    queue.start()
    queue.close()

    async def ask():
        return submit(client(), state_with(queue), tiny_model, [Drawing("a car", 0)])

    with pytest.raises(ApiError, match="the server is stopping") as refused:
        asyncio.run(ask())
    assert (refused.value.status, refused.value.code, refused.value.retry_after) == (503, "stopping", 5)


def test_a_client_is_gone_when_it_says_so():
    async def wait(*messages: str) -> None:
        await asyncio.wait_for(disconnected(client(*messages)), 0.05)

    asyncio.run(wait("http.request", "http.disconnect"))
    with pytest.raises(TimeoutError):
        asyncio.run(wait("http.request"))


def streamed(tiny_model, error: Exception | None, **settings) -> tuple[list[dict], list[bool], Exception | None]:
    """The events of a request for two images when drawing fails, whether their places are freed, and the error."""

    async def stream():
        queue = DrawingQueue(8)  # nothing draws from it
        drawings = [Drawing("a car", seed) for seed in range(2)]
        futures = queue.submit(tiny_model, drawings)
        if error is not None:
            futures[0].set_exception(error)
        found, raised = [], None
        try:
            async for text in events(client(), state_with(queue, **settings), futures, drawings, None, BODY):
                found.append(text)
        except RuntimeError as failure:
            raised = failure
        await asyncio.sleep(0)
        assert not queue.waiting
        return found, [future.cancelled() for future in futures], raised

    texts, cancelled, raised = asyncio.run(stream())
    assert all(text.startswith("event: error\n") for text in texts)
    return [json.loads(text.partition("data: ")[2]) for text in texts], cancelled, raised


def test_a_stream_that_takes_too_long_ends_in_an_error(tiny_model):
    found, cancelled, raised = streamed(tiny_model, None, timeout=0.01)
    message = "the images were not drawn within 0.01 s"
    assert found == [{"type": "error", "error": {"message": message, "code": "timeout"}}]
    assert (cancelled, raised) == ([True, True], None)


def test_a_stream_that_fails_says_no_more_than_the_kind_of_failure(tiny_model):
    """The traceback goes to the server's log, not to the client."""
    failure = RuntimeError("secret")
    found, cancelled, raised = streamed(tiny_model, failure)
    message = "the server failed: RuntimeError"
    assert found == [{"type": "error", "error": {"message": message, "code": "internal_error"}}]
    assert (cancelled, raised) == ([False, True], failure)
