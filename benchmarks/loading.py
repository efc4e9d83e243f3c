"""Training images loaded per second on one core, from shards, from memory and from original JPEGs; and memory use.

    python benchmarks/loading.py [--source DIR] [--images 300] [--repetitions 7] [--memory-gb 4]

All are read by `ExampleStream` in this process, with one thread, from the page cache. Repetitions take turns, so that
other load on the machine affects all alike; the output is the medians of wall and process time. "memory" is the same
records as shards, held as Python objects: the difference is what shards cost. Then each step of an example is timed.
Without --source (a folder of photographs) the originals are Scenes of 640 x 480 pixels, which are easier to decode.

With --memory-gb the shards are copied until they have that size, and a DataLoader worker reads random images from them;
the output is its peak private memory (USS). The last line repeats the results as JSON.
"""

import argparse
import json
import multiprocessing
import re
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch

from xmcgan.data.images import ImageTransform, open_image
from xmcgan.data.prepared.manifest import MANIFEST
from xmcgan.data.prepared.prepare import prepare
from xmcgan.data.prepared.shards import open_shards
from xmcgan.data.records import Record
from xmcgan.data.stream import CAPTION, FLIP, ExampleStream, load_batches, random
from xmcgan.scenes import World, render_scene, sample_scene

BATCH = 16


def draw_originals(folder: Path, count: int) -> None:
    """Writes Scenes as JPEGs of 640 x 480 pixels, with a quality like COCO's."""
    for number in range(count):
        scene = sample_scene(0, "train", number, World())
        render_scene(scene, 640).picture.resize((640, 480)).save(folder / f"{number:06d}.jpg", quality=95)


def photographs(folder: Path, count: int) -> list[Record]:
    """The first images of a folder, as records."""
    files = sorted(folder.glob("*.jpg"))[:count]
    return [Record(file, ("a picture of something",), file.stem) for file in files]


def prepare_records(records: Sequence[Record], output: Path, size: int) -> None:
    def entries(_split: str) -> Iterator[Record]:
        yield from records

    prepare(Path("originals"), output, name="originals", layout="table", splits=["all"], entries=entries, size=size)


def read(records: Sequence[Record], count: int, size: int) -> tuple[float, float]:
    """Wall and process seconds for reading ``count`` examples."""
    stream = ExampleStream(records, ImageTransform(size), seed=0, flip=True)
    wall, own = time.perf_counter(), time.process_time()
    for _ in islice(load_batches(stream, start=0, batch_size=BATCH, workers=0), count // BATCH):
        pass
    return time.perf_counter() - wall, time.process_time() - own


def compare_speed(raw: Sequence[Record], prepared: Sequence[Record], size: int, repetitions: int) -> dict[str, float]:
    """Median images per second of each source, and the ratio of shards to folder."""
    count = len(raw) // BATCH * BATCH
    sources = {"folder": raw, "shards": prepared, "memory": list(prepared)}
    taken = {name: [] for name in sources}
    for repetition in range(repetitions + 1):
        for name, records in sources.items():
            seconds = read(records, count, size)
            if repetition:  # the first fills the page cache
                taken[name].append(seconds)
    speed = {}
    for kind, each in (("wall", 0), ("cpu", 1)):
        found = {name: count / statistics.median(pair[each] for pair in pairs) for name, pairs in taken.items()}
        speed |= {f"{name}_{kind}": value for name, value in found.items()}
        speed[f"ratio_{kind}"] = found["shards"] / found["folder"]
    return speed


def step_times(prepared: Sequence[Record], size: int, repetitions: int) -> dict[str, float]:
    """Median process microseconds an image of each step of an example, and of the whole example."""
    transform, held = ImageTransform(size), list(prepared)
    opened = [open_image(record) for record in held]
    stream = ExampleStream(prepared, transform, seed=0, flip=True)
    steps = {
        "read": lambda number: prepared[number],
        "decode": lambda number: open_image(held[number]),
        "random": lambda number: [random(0, use, number).integers(2) for use in (CAPTION, FLIP)],
        "to_tensor": lambda number: transform.pixels(opened[number]),
        "example": lambda number: stream[number],
    }
    taken = {name: [] for name in steps}
    for repetition in range(repetitions + 1):
        for name, step in steps.items():
            start = time.process_time()
            for number in range(len(held)):
                step(number)
            if repetition:
                taken[name].append(1e6 * (time.process_time() - start) / len(held))
    return {f"{name}_us": statistics.median(each) for name, each in taken.items()}


def enlarge(prepared: Path, gigabytes: float) -> int:
    """Copies the shards until they reach this size, and returns the number of records."""
    manifest = json.loads((prepared / MANIFEST).read_text())
    split = manifest["splits"]["all"]
    originals = list(split["shards"])
    while sum(shard["bytes"] for shard in split["shards"]) < gigabytes * 1e9:
        for shard in originals:
            name = f"{len(split['shards']):05d}.arrow"
            shutil.copyfile(prepared / "all" / shard["file"], prepared / "all" / name)
            split["shards"].append({**shard, "file": name})
    split["records"] = sum(shard["records"] for shard in split["shards"])
    (prepared / MANIFEST).write_text(json.dumps(manifest))
    return split["records"]


def peak_memory(records: Sequence[Record], size: int, seconds: float) -> dict[str, float]:
    """The peak USS of one DataLoader worker in megabytes while it reads random records."""
    stream = ExampleStream(records, ImageTransform(size), seed=0, flip=True)
    peak, read, end = 0, 0, time.monotonic() + seconds
    for batch in load_batches(stream, start=0, batch_size=BATCH, workers=1):
        [worker] = multiprocessing.active_children()
        text = Path(f"/proc/{worker.pid}/smaps_rollup").read_text()
        own = sum(int(kilobytes) for kilobytes in re.findall(r"Private_(?:Clean|Dirty):\s+(\d+)", text))
        peak, read = max(peak, own), read + len(batch.numbers)
        if time.monotonic() > end:
            break
    return {"worker_peak_uss_mb": peak / 1024, "images_read": read, "records": len(records)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="folder of original JPEGs")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--memory-gb", type=float, default=0.0)
    parser.add_argument("--memory-seconds", type=float, default=60.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        source = options.source or Path(folder, "originals")
        if not options.source:
            source.mkdir()
            draw_originals(source, options.images)
        raw = photographs(source, options.images)
        prepared = Path(folder, "prepared")
        prepare_records(raw, prepared, options.size)
        result = {"images": len(raw), "size": options.size}
        shards = open_shards(prepared, "all", layout="table")
        result |= compare_speed(raw, shards, options.size, options.repetitions)
        print("| images a second, one core | folder | shards | memory | shards / folder |\n|---|---|---|---|---|")
        for kind in ("wall", "cpu"):
            each = [result[f"{name}_{kind}"] for name in ("folder", "shards", "memory", "ratio")]
            print("| {} time | {:.0f} | {:.0f} | {:.0f} | {:.2f} |".format(kind, *each))
        steps = step_times(shards, options.size, options.repetitions)
        print("\nProcess time of an image: " + ", ".join(f"{name} {value:.0f}" for name, value in steps.items()))
        result |= steps
        if options.memory_gb:
            enlarge(prepared, options.memory_gb)
            records = open_shards(prepared, "all", layout="table")
            result |= peak_memory(records, options.size, options.memory_seconds)
            print(
                f"\nA worker that read {result['images_read']} images of {result['records']}, in "
                f"{options.memory_gb:g} GB of shards, used at most {result['worker_peak_uss_mb']:.0f} MB."
            )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
