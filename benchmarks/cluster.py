"""`data prepare` on a Dask cluster of four worker processes, two of which are killed: the same files as here alone?

    python benchmarks/cluster.py [--images 3000] [--size 128] [--kill 2]

A scheduler and its workers are started on this machine and joined by address, as `--scheduler` does. The pictures are
Scenes of 640 x 480 pixels. While they are prepared, workers are killed with SIGKILL; Dask gives their images to others.
"""

import argparse
import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from distributed import LocalCluster

from xmcgan.data.prepared.cluster import dask_executor
from xmcgan.data.prepared.prepare import prepare
from xmcgan.data.records import Record
from xmcgan.scenes import World, render_scene, sample_scene


def draw(folder: Path, count: int) -> list[Record]:
    """Pictures as files; some twenty Scenes under many names."""
    for number in range(min(count, 20)):
        scene = sample_scene(0, "train", number, World())
        render_scene(scene, 640).picture.resize((640, 480)).save(folder / f"{number}.jpg", quality=95)
    return [Record(folder / f"{n % 20}.jpg", (f"picture {n}",), f"{n:06d}") for n in range(count)]


def make(records: list[Record], output: Path, size: int, **settings) -> dict:
    def entries(_split: str) -> Iterator[Record]:
        yield from records

    return prepare(
        Path("drawn"), output, name="drawn", layout="table", splits=["all"], entries=entries, size=size,
        shard_records=64, progress=False, **settings,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--kill", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        records = draw(root, options.images)
        start = time.perf_counter()
        alone = make(records, root / "alone", options.size, workers=1)["splits"]
        result = {"images": options.images, "alone_s": time.perf_counter() - start}
        with LocalCluster(n_workers=4, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster:
            victims, killed = [cluster.workers[number].pid for number in range(options.kill)], []

            def kill() -> None:
                while not (root / "cluster/all/00000.arrow").exists():
                    time.sleep(0.01)
                for process in victims:
                    os.kill(process, signal.SIGKILL)
                    killed.append(process)

            threading.Thread(target=kill, daemon=True).start()
            start = time.perf_counter()
            with dask_executor(cluster.scheduler_address) as (executor, tasks):
                made = make(records, root / "cluster", options.size, executor=executor, workers=tasks)["splits"]
            result |= {"cluster_s": time.perf_counter() - start, "killed": len(killed)}
        digests = [[shard["sha256"] for shard in each["all"]["shards"]] for each in (alone, made)]
        result |= {"shards": len(digests[0]), "same_checksums": digests[0] == digests[1]}
    print(json.dumps(result))
    if not result["same_checksums"]:
        raise SystemExit("the checksums differ")


if __name__ == "__main__":
    main()
