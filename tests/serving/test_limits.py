"""Load: places are bounded and given back, time is limited, what was accepted is answered."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache

import httpx
import pytest

import xmcgan.serving.drawing_queue as drawing_queue
from servers import running
from xmcgan.inference.interpolation import Drawing
from xmcgan.serving.access import images_a_minute, take_images
from xmcgan.serving.drawing_queue import Closed, DrawingQueue, QueueFull
from xmcgan.serving.errors import ApiError
from xmcgan.serving.settings import ServeSettings
from xmcgan.serving.url_folder import UrlFolder

GENERATIONS = "/v1/images/generations"


@pytest.fixture
def held(monkeypatch):
    """While the event is cleared, the drawing thread waits with the batch that it has taken."""
    go, drawn = threading.Event(), drawing_queue.draw_batch

    def waiting(batch):
        assert go.wait(30)
        return drawn(batch)

    monkeypatch.setattr(drawing_queue, "draw_batch", waiting)
    yield go
    go.set()


@cache
def client() -> httpx.Client:
    """One for the figures of all servers: to make one takes longer than to ask."""
    return httpx.Client()


def figure(url: str, name: str) -> float:
    lines = client().get(f"{url}/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


def until(condition, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def ask_and_go_on(url: str, body: dict) -> socket.socket:
    """Sends a request and returns its connection, on which the answer will come."""
    host, port = url.removeprefix("http://").split(":")
    content = json.dumps(body).encode()
    head = f"POST {GENERATIONS} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    connection = socket.create_connection((host, int(port)))
    connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
    return connection


def test_a_full_queue_answers_429_and_a_client_that_goes_frees_its_place(tiny_model, held):
    with running({"tiny": tiny_model}, ServeSettings(queue=16)) as url, ThreadPoolExecutor(4) as threads:

        def ask(n: int):
            return httpx.post(url + GENERATIONS, json={"prompt": "a car", "seed": 1, "n": n}, timeout=60)

        first = threads.submit(ask, 8)  # a whole batch: taken out of the queue, and held
        until(lambda: figure(url, "xmcgan_requests_running") >= 2 and figure(url, "xmcgan_queue_images") == 0)
        going = ask_and_go_on(url, {"prompt": "a car", "n": 12})
        until(lambda: figure(url, "xmcgan_queue_images") == 12)
        refused = ask(5)
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "queue_full"
        assert int(refused.headers["retry-after"]) >= 1
        fits = threads.submit(ask, 4)
        until(lambda: figure(url, "xmcgan_queue_images") == 16)
        going.close()
        until(lambda: figure(url, "xmcgan_queue_images") == 4)
        held.set()
        assert [len(future.result().json()["data"]) for future in (first, fits)] == [8, 4]


def test_a_stream_whose_reader_goes_frees_its_places(tiny_model, held):
    with running({"tiny": tiny_model}, ServeSettings()) as url:
        body = {"prompt": "a car", "seed": 1, "n": 16, "stream": True}
        with httpx.stream("POST", url + GENERATIONS, json=body):
            until(lambda: figure(url, "xmcgan_queue_images") == 8)
        until(lambda: figure(url, "xmcgan_queue_images") == 0)
        held.set()


def test_time_is_limited(tiny_model, held):
    with running({"tiny": tiny_model}, ServeSettings(timeout=0.3)) as url:
        answer = httpx.post(url + GENERATIONS, json={"prompt": "a car", "n": 16})
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
        assert figure(url, "xmcgan_queue_images") == 0
        held.set()


def test_a_failure_is_the_servers_and_does_not_stop_it(tiny_model, monkeypatch):
    def failing(batch):
        if batch[0].drawing.caption == "fail":
            raise RuntimeError("out of memory")
        return drawn(batch)

    drawn = drawing_queue.draw_batch
    monkeypatch.setattr(drawing_queue, "draw_batch", failing)
    with running({"tiny": tiny_model}) as url:
        answer = httpx.post(url + GENERATIONS, json={"prompt": "fail"})
        assert answer.status_code == 500
        assert answer.json()["error"]["message"] == "the server failed: RuntimeError"
        assert httpx.post(url + GENERATIONS, json={"prompt": "a car"}).status_code == 200


def test_the_rate_of_a_client(tiny_model):
    with running({"tiny": tiny_model}, ServeSettings(rate=6)) as url:
        answers = [httpx.post(url + GENERATIONS, json={"prompt": "a car", "n": 4}) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 429]
        assert 10 < int(answers[1].headers["retry-after"]) <= 20  # two more images at six a minute
        many = httpx.post(url + GENERATIONS, json={"prompt": "a car", "n": 7})
        assert (many.status_code, many.json()["error"]["param"]) == (400, "n")


def test_a_bucket_fills_again():
    clock = [100.0]
    limit = images_a_minute(60)
    limit.clock = lambda: clock[0]
    take_images(limit, "a", 60)
    take_images(limit, "b", 60)  # of another client
    clock[0] += 2.0
    take_images(limit, "a", 2)
    with pytest.raises(ApiError) as caught:
        take_images(limit, "a", 3)
    assert caught.value.retry_after == 3
    assert images_a_minute(0) is None
    take_images(None, "a", 1000)


def test_images_of_two_models_and_of_mixtures_wait_for_batches_of_their_own(tiny_model):
    queue = DrawingQueue(100)

    async def fill() -> None:
        queue.submit(tiny_model, [Drawing("a", seed) for seed in range(3)])
        queue.submit(tiny_model, [Drawing("a", 0, "b", 1, 0.5)])
        queue.submit(tiny_model, [Drawing("b", seed) for seed in range(7)])
        with pytest.raises(QueueFull):
            queue.submit(tiny_model, [Drawing("a", 0)] * 90)
        assert len(queue.waiting) == 11

    asyncio.run(fill())
    batches = [[(entry.drawing.caption, entry.drawing.seed) for entry in queue.take()] for _ in range(3)]
    assert batches == [[("a", 0), ("a", 1), ("a", 2), *(("b", k) for k in range(5))], [("a", 0)], [("b", 5), ("b", 6)]]


def test_a_queue_that_closes_draws_what_waits(tiny_model):
    async def close() -> None:
        queue = DrawingQueue(100)
        futures = queue.submit(tiny_model, [Drawing("a", seed) for seed in range(9)])
        queue.start()
        await asyncio.to_thread(queue.close)
        assert len(await asyncio.gather(*futures)) == 9
        with pytest.raises(Closed):
            queue.submit(tiny_model, [Drawing("a", 0)])

    asyncio.run(close())


def test_a_folder_of_urls_is_bounded(tmp_path):
    (tmp_path / "mine.txt").write_text("not an image of a url")
    folder = UrlFolder(tmp_path, lifetime=100, megabytes=0.001)
    name = folder.write(b"x" * 900, "png")
    with pytest.raises(ApiError) as caught:
        folder.write(b"x" * 900, "png")
    assert caught.value.status == 429
    assert 90 < caught.value.retry_after <= 101
    old = time.time() - 101
    os.utime(tmp_path / name, (old, old))
    assert folder.find(name) is None
    assert folder.find(folder.write(b"x" * 900, "png")) is not None  # in the place of the old one
    assert {path.suffix for path in tmp_path.iterdir()} == {".txt", ".png"}
    assert folder.find("../mine.txt") is None


@pytest.mark.slow
def test_sigterm_answers_what_was_accepted():
    """The command itself, stopped while six clients ask again and again: every request it took has its answer."""
    command = [sys.executable, "-m", "xmcgan", "serve", "--model", "a=scenes-64", "--port", "0", "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "serves a=scenes-64;" in line, process.communicate()
        url = line.split()[0]
        answered = threading.Semaphore(0)

        def ask(seed: int) -> int:
            answers = 0
            with suppress(httpx.TransportError):  # not accepted any more
                while True:
                    answer = httpx.post(url + GENERATIONS, json={"prompt": "a car", "n": 2, "seed": seed}, timeout=60)
                    assert len(answer.json()["data"]) == 2
                    answers += 1
                    answered.release()
            return answers

        with ThreadPoolExecutor(6) as threads:
            asked = [threads.submit(ask, seed) for seed in range(6)]
            waited_for = [answered.acquire(timeout=60) for _ in range(6)]
            process.send_signal(signal.SIGTERM)  # before anything is asserted: the clients go on until the server ends
            answers = sum(future.result() for future in asked)
        out, err = process.communicate(timeout=30)
    assert all(waited_for)
    assert out == f"stopped: {answers} of {answers} requests answered\n"
    assert (process.returncode, err) == (0, "")
