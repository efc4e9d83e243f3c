"""A server on a free port in a thread of the test's process."""

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import uvicorn

from xmcgan.inference.pipeline import Pipeline
from xmcgan.serving.app import create_app, measured
from xmcgan.serving.models import ServedModel
from xmcgan.serving.server import address, bound
from xmcgan.serving.settings import ServeSettings


def served(name: str, pipe: Pipeline) -> ServedModel:
    """A pipeline as a server has it."""
    import copy

    return ServedModel(name, pipe, copy.deepcopy(pipe.encoder.tokenizer), 0)


@contextmanager
def running(models: Mapping[str, ServedModel], settings: ServeSettings | None = None) -> Generator[str]:
    """The address of a server that answers until the block ends."""
    app = measured(create_app(models, settings or ServeSettings()))
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="on", timeout_graceful_shutdown=10)
    server = uvicorn.Server(config)
    with bound("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        try:
            yield address(listening)
        finally:
            server.should_exit = True
            thread.join(60)  # a busy machine needs long
            assert not thread.is_alive(), "the server did not stop\n" + whereabouts(server.servers[0].get_loop())


def whereabouts(loop: asyncio.AbstractEventLoop) -> str:
    """Where every thread of the process and every task of the loop is, and whether another thread can wake the loop."""
    parts = []
    for thread in threading.enumerate():
        if thread.ident in sys._current_frames():
            parts += [f"thread {thread.name}:", *traceback.format_stack(sys._current_frames()[thread.ident])]
    for task in asyncio.all_tasks(loop):
        parts.append(f"{task}, at:")
        parts += [line for frame in task.get_stack() for line in traceback.format_stack(frame, limit=1)]
    woken = threading.Event()
    loop.call_soon_threadsafe(woken.set)
    parts.append(f"another thread woke the loop: {woken.wait(5)}")
    return "\n".join(parts)
