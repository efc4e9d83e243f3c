"""Opening, shuffling and resuming 12 million pairs: seconds and memory, on a synthetic manifest of 6,000 shards.

    python benchmarks/twelve_million.py [--shards 6000] [--records 2000] [--read 300]

The shards of one record set are linked under 6,000 names, so the disk holds one shard and the library sees 12 million
records. Each part runs in a process of its own, whose memory is measured: what the process has to itself (USS), less
what it had after importing the library. The last line repeats the results as JSON.
"""

import argparse
import hashlib
import io
import json
import multiprocessing
import os
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from xmcgan.data.images import ImageTransform
from xmcgan.data.prepared.shard_file import write_shard
from xmcgan.data.prepared.shards import open_shards
from xmcgan.data.records import Record
from xmcgan.data.stream import ExampleStream


def own_memory() -> float:
    """Megabytes that this process has to itself."""
    text = Path("/proc/self/smaps_rollup").read_text()
    return sum(int(kilobytes) for kilobytes in re.findall(r"Private_(?:Clean|Dirty):\s+(\d+)", text)) / 1024


def make(root: Path, shards: int, records: int) -> None:
    """A prepared folder of shards that all have the content of one."""
    picture = io.BytesIO()
    Image.effect_noise((64, 64), 40).convert("RGB").save(picture, "JPEG", quality=92, subsampling="4:4:4")
    folder = root / "train"
    folder.mkdir(parents=True)
    first = folder / "00000.arrow"
    rows = (
        (Record(b"", (f"a photograph of the thing with number {n}",), f"{n:09d}"), picture.getvalue())
        for n in range(records)
    )
    write_shard(first, rows)
    known = {
        "records": records,
        "sha256": hashlib.sha256(first.read_bytes()).hexdigest(),
        "bytes": first.stat().st_size,
    }
    listed = [{"file": f"{number:05d}.arrow", **known} for number in range(shards)]
    for shard in listed[1:]:
        os.link(first, folder / shard["file"])
    split = {"records": shards * records, "texts_sha256": "0" * 64, "shards": listed}
    manifest = {"library": "xmcgan", "version": 1, "layout": "webdataset", "splits": {"train": split}}
    (root / "manifest.json").write_text(json.dumps(manifest, indent=1))


def open_and_resume(root: Path, read: int) -> dict[str, float]:
    """Opens the set, and reads on from the middle of the second epoch."""
    torch.set_num_threads(1)
    before, start, own = own_memory(), time.perf_counter(), time.process_time()
    records = open_shards(root, "train", layout="webdataset")
    opened = time.perf_counter()
    stream = ExampleStream(records, ImageTransform(64), seed=0, flip=True)
    number = len(records) + len(records) // 2
    stream[number]
    first, cpu = time.perf_counter(), time.process_time() - own
    found = {
        "records": len(records),
        "open_s": opened - start,
        "first_example_s": first - opened,
        "total_s": first - start,
        "total_cpu_s": cpu,
        "memory_mb": own_memory() - before,
    }
    begin, own = time.perf_counter(), time.process_time()
    for offset in range(1, read + 1):
        stream[number + offset]
    found |= {
        "examples_read": read,
        "ms_an_example": 1e3 * (time.perf_counter() - begin) / read,
        "cpu_ms_an_example": 1e3 * (time.process_time() - own) / read,
        "memory_after_reading_mb": own_memory() - before,
        "open_files": len(list(Path("/proc/self/fd").iterdir())),
    }
    return found


def digest(root: Path, _read: int) -> dict[str, float]:
    """What a run knows its data by, at every start."""
    start = time.perf_counter()
    open_shards(root, "train", layout="webdataset").digest()
    return {"digest_s": time.perf_counter() - start}


def in_a_process(part: Callable[[Path, int], dict[str, float]], root: Path, read: int) -> dict[str, float]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(part, (root, read))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=6000)
    parser.add_argument("--records", type=int, default=2000, help="in each shard")
    parser.add_argument("--read", type=int, default=300, help="examples read after resuming")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root, options.shards, options.records)
        result = {"shards": options.shards}
        for part in (open_and_resume, digest):
            result |= in_a_process(part, root, options.read)
    for name, value in result.items():
        print(f"{name:<26} {value:,.3f}" if isinstance(value, float) else f"{name:<26} {value:,}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
