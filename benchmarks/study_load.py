"""Fifty annotators at once, the server killed five times in between: is an answer lost, an item over its number?

    python benchmarks/study_load.py
    python benchmarks/study_load.py --database postgresql

Annotators answer as the page does: an answer is sent again, under the same key, until the server acknowledges it. They
pause between answers, two seconds on average, which is quicker than people are. Latency is that of a request that saves
an answer and reserves the next item, as the annotator waits for it; requests that a kill cut off are counted apart.
"""

import argparse
import asyncio
import contextlib
import json
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
from sqlalchemy import select

from xmcgan.study.storage import open_database, read_answers, reading, sqlite_url
from xmcgan.study.tables import ANSWER, ITEM

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))


class Server:
    """The command, as a process of its own."""

    def __init__(self, study: Path, database_url: str, port: int):
        self.command = [sys.executable, "-m", "xmcgan", "study", "serve", str(study), "--port", str(port)]
        self.command += ["--database", database_url]
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Counts:
    """What annotators saw."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.cut = 0
        self.acknowledged: list[str] = []


async def insist(client: httpx.AsyncClient, counts: Counts, path: str, body: object, until: float) -> dict | None:
    """Sends a request until there is a reply, as the page does; None when the time is over."""
    attempt = 0
    while time.monotonic() < until:
        began = time.perf_counter()
        try:
            response = await client.post(path, json=body)
        except httpx.TransportError:
            counts.cut += 1
            await asyncio.sleep(min(8.0, 0.4 * 2**attempt) * random.uniform(0.5, 1.5))
            attempt += 1
            continue
        counts.statuses[response.status_code] += 1
        if path.endswith("/answer"):
            counts.latencies.append(time.perf_counter() - began)
        return response.json() if response.status_code == 200 else None
    return None


async def annotate(client: httpx.AsyncClient, counts: Counts, token: str, until: float, pause: float) -> None:
    """One annotator, until the time is over."""
    draw = random.Random(token)
    at = f"/api/a/{token}"
    await asyncio.sleep(draw.uniform(0, pause))
    await insist(client, counts, f"{at}/consent", None, until)
    step = await insist(client, counts, f"{at}/introduced", {"criterion": "realism"}, until)
    while step is not None and step["screen"] == "task" and time.monotonic() < until:
        await asyncio.sleep(draw.expovariate(1 / pause))
        order = draw.sample(range(4), 4)
        key = uuid4().hex
        body = {"key": step["task"]["key"], "client_key": key, "ranking": [[each] for each in order], "seconds": 1.0}
        step = await insist(client, counts, f"{at}/answer", body, until + 30)
        if step is not None:
            counts.acknowledged.append(key)


async def run(server: Server, tokens: list[str], port: int, seconds: float, kills: int, pause: float) -> Counts:
    """All annotators, and the kills evenly between."""
    counts = Counts()
    limits = httpx.Limits(max_connections=len(tokens), max_keepalive_connections=len(tokens))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, limits=limits) as client:
        server.start()
        for _ in range(300):
            with contextlib.suppress(httpx.TransportError):
                if (await client.get("/health")).status_code == 200:
                    break
            await asyncio.sleep(0.1)
        until = time.monotonic() + seconds
        people = [asyncio.create_task(annotate(client, counts, token, until, pause)) for token in tokens]
        for _ in range(kills):
            await asyncio.sleep(seconds / (kills + 1))
            server.kill()
            server.start()
        await asyncio.gather(*people)
    server.kill()
    return counts


def check(database_url: str, counts: Counts, quota: int) -> dict[str, object]:
    """What the store holds, against what was acknowledged."""
    database = open_database(database_url)
    with reading(database) as connection:
        stored = set(connection.execute(select(ANSWER.c.client_key)).scalars())
        taken = connection.execute(select(ITEM.c.taken).where(ITEM.c.kind == "main")).scalars().all()
    database.engine.dispose()
    _, answers = read_answers(database_url)
    per_item = Counter((each.item_id, each.criterion) for each in answers if each.kind == "main")
    distinct = {(each.item_id, each.annotator) for each in answers if each.kind == "main"}
    ordered = sorted(counts.latencies)
    return {
        "acknowledged": len(counts.acknowledged),
        "acknowledged_but_missing": len(set(counts.acknowledged) - stored),
        "items_over_their_number": sum(count > quota for count in per_item.values()),
        "slots_over_their_number": sum(each > quota for each in taken),
        "answers_twice_of_one_annotator": sum(per_item.values()) - len(distinct),
        "items_complete": sum(count == quota for count in per_item.values()),
        "statuses": dict(counts.statuses),
        "cut_off_and_sent_again": counts.cut,
        "latency_p50_ms": round(1000 * ordered[len(ordered) // 2], 1),
        "latency_p95_ms": round(1000 * ordered[int(0.95 * len(ordered))], 1),
        "latency_max_ms": round(1000 * ordered[-1], 1),
    }


@contextlib.contextmanager
def database_of(kind: str, folder: Path) -> Iterator[str]:
    """The URL of an empty database whose commits wait for the disk."""
    if kind == "sqlite":
        yield sqlite_url(folder)
        return
    import postgres

    with postgres.postgres(durable=True) as url:
        yield url


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--annotators", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--pause", type=float, default=2.0, help="mean seconds between an annotator's answers")
    parser.add_argument("--captions", type=int, default=600)
    options = parser.parse_args()
    from studies import make_study

    with tempfile.TemporaryDirectory() as name, socket.socket() as probe:
        folder = Path(name)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        with database_of(options.database, folder) as url:
            study = make_study(folder, url, captions=options.captions, annotators=5, links=options.annotators,
                               criteria=("realism",), attention_every=10, repeat_every=10)  # fmt: skip
            tokens = [line.rsplit("/", 1)[1] for line in (study / "links.txt").read_text().split()]
            server = Server(study, url, port)
            counts = asyncio.run(run(server, tokens, port, options.seconds, options.kills, options.pause))
            found = {"database": options.database, "kills": options.kills} | check(url, counts, 5)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
