"""Many clients at once against `xmcgan serve`, beside a Pipeline that draws batches on its own.

    python benchmarks/serving_load.py --seconds 60 --clients 20

Both draw in turns of a few seconds, so that other work on the machine slows both alike. Prints images per second and
processor seconds per image of both, their ratio, and the latency of requests. Then stops the server with SIGTERM in the
middle of the load, and compares the answers that clients have with the requests that the server says it accepted.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from xmcgan import Pipeline

CAPTION = "a red car left of a stop sign under a night sky, number {}"


@dataclass
class Tally:
    """What the clients got."""

    images: int = 0
    seconds: list[float] = field(default_factory=list)  # of the answered requests
    statuses: dict[int, int] = field(default_factory=dict)
    broken: int = 0  # connections that ended without an answer


async def client(number: int, port: int, images: int, end: float, tally: Tally) -> None:
    """Asks again as soon as it has an answer, on one connection, until ``end`` or until the server goes."""
    turn = 0
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while time.monotonic() < end:
            body = json.dumps({"prompt": CAPTION.format((number + turn) % 40), "n": images, "seed": turn}).encode()
            began = time.monotonic()
            try:
                head = "POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                status, content = await answer(reader)
            except (ConnectionError, asyncio.IncompleteReadError):
                tally.broken += 1
                return
            tally.statuses[status] = tally.statuses.get(status, 0) + 1
            if status == 200:
                tally.images += content.count(b'"b64_json"')
                tally.seconds.append(time.monotonic() - began)
            elif status == 429:
                await asyncio.sleep(0.2)
            turn += 1
    finally:
        writer.close()


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """One HTTP answer: its status and its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(head.split("content-length:")[1].split("\r\n")[0])
    return int(head.split(" ")[1]), await reader.readexactly(length)


async def load(port: int, clients: int, images: int, seconds: float, stop: int | None = None) -> Tally:
    """All clients for some seconds; in the middle SIGTERM to the process ``stop``."""
    tally, end = Tally(), time.monotonic() + seconds
    tasks = [asyncio.create_task(client(number, port, images, end, tally)) for number in range(clients)]
    if stop is not None:
        await asyncio.sleep(seconds / 2)
        os.kill(stop, signal.SIGTERM)
    await asyncio.gather(*tasks)
    return tally


def processor_seconds(pid: int) -> float:
    """What a process has used of the processor."""
    with Path(f"/proc/{pid}/stat").open() as stat:
        parts = stat.read().rpartition(") ")[2].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


def draw_alone(pipe: Pipeline, seconds: float) -> tuple[int, float, float]:
    """Batches by a Pipeline for some seconds: images, seconds, processor seconds."""
    captions = [CAPTION.format(k) for k in range(40)]
    began, used, images = time.monotonic(), time.process_time(), 0
    while time.monotonic() - began < seconds:
        images += len(pipe(captions, seed=images).images)
    return images, time.monotonic() - began, time.process_time() - used


def main() -> int:
    """Measures, and prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="scenes-64")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--images", type=int, default=4, help="of one request")
    parser.add_argument("--seconds", type=float, default=60, help="of load, and as many of the Pipeline alone")
    parser.add_argument("--turns", type=int, default=6)
    options = parser.parse_args()
    command = [sys.executable, "-m", "xmcgan", "serve", "--model", options.model, "--port", "0"]
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline().split()[0].rpartition(":")[2])
        print(f"started in {time.monotonic() - began:.1f} s, {processor_seconds(server.pid):.1f} s of processor time")
        pipe = Pipeline.from_pretrained(options.model)
        draw_alone(pipe, 1)
        asyncio.run(load(port, options.clients, options.images, 2))
        part = options.seconds / options.turns
        alone, served, tallies = [], [], []
        for _ in range(options.turns):
            alone.append(draw_alone(pipe, part))
            used, then = processor_seconds(server.pid), time.monotonic()
            tally = asyncio.run(load(port, options.clients, options.images, part))
            served.append((tally.images, time.monotonic() - then, processor_seconds(server.pid) - used))
            tallies.append(tally)
        report(alone, served, tallies)
        answered = sum(sum(tally.statuses.values()) for tally in tallies)
        last = asyncio.run(load(port, options.clients, options.images, 6, stop=server.pid))
        print(f"SIGTERM under load: answers {last.statuses}, {last.broken} connections closed without one")
        print(server.stdout.read().strip(), f"(exit status {server.wait()})")
        print(f"answers that clients have: {answered + sum(last.statuses.values())} and those of the first 2 seconds")
    return 0


def report(alone: list, served: list, tallies: list[Tally]) -> None:
    """Prints rates, ratios and latency."""
    rates = []
    for name, turns in (("Pipeline alone", alone), ("xmcgan serve", served)):
        images, seconds, used = (sum(column) for column in zip(*turns, strict=True))
        rates.append((images / seconds, used / images))
        print(f"{name}: {images / seconds:.1f} images/s, {1000 * used / images:.1f} ms of processor time an image")
    each = [(a[0] / a[1], s[0] / s[1]) for a, s in zip(alone, served, strict=True)]
    ratios = sorted(b / a for a, b in each)
    print(f"ratio of rates: {rates[1][0] / rates[0][0]:.2f} (turns: {', '.join(f'{ratio:.2f}' for ratio in ratios)})")
    print(f"ratio of processor time an image: {rates[0][1] / rates[1][1]:.2f}")
    seconds = sorted(second for tally in tallies for second in tally.seconds)
    cuts = statistics.quantiles(seconds, n=100)
    print(f"{len(seconds)} requests: p50 {cuts[49]:.2f} s, p95 {cuts[94]:.2f} s, p99 {cuts[98]:.2f} s")
    statuses: dict[int, int] = {}
    for tally in tallies:
        for status, count in tally.statuses.items():
            statuses[status] = statuses.get(status, 0) + count
    print(f"statuses: {statuses}; broken connections: {sum(tally.broken for tally in tallies)}")


if __name__ == "__main__":
    raise SystemExit(main())
