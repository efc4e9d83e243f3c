"""Writes Scenes to disk in the official layouts of COCO 2014 or Open Images, with Localized Narratives."""

import json
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from xmcgan.runtime.files import append_text, atomic_file, atomic_folder, make_folder, read_json, write_text
from xmcgan.runtime.locks import locked_folder
from xmcgan.runtime.progress import ProgressBar
from xmcgan.scenes.captions import describe
from xmcgan.scenes.draw import render_scene
from xmcgan.scenes.layouts import LAYOUTS, VERSION, Picture, narrative_line, write_json
from xmcgan.scenes.narratives import narrate
from xmcgan.scenes.scene import SPLITS, World, sample_scene, stream

MANIFEST = "scenes.json"

LARGEST = 2048
"""Side of the largest pictures, in pixels."""

_CHUNK = 250


@dataclass(frozen=True)
class _Chunk:
    """A range of scenes of one split, for one worker."""

    root: Path
    layout: str
    split: str
    start: int
    stop: int
    first_number: int
    size: int
    seed: int
    world: World


@dataclass(frozen=True)
class _Written:
    """The annotations of a chunk."""

    split: str
    pictures: list[Picture]
    narratives: str  # lines of JSON


def write_scenes(
    root: Path,
    *,
    layout: str = "coco",
    size: int = 64,
    train: int = 20_000,
    val: int = 2_000,
    evaluator: int = 4_000,
    world: World | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Writes the Scenes data set to `root` and returns `root`.

    A finished data set with the same settings is kept. The files are written to a folder beside `root` and moved to
    `root` when complete, so an interrupted data set never looks finished. Nothing is ever overwritten. If another
    process is writing `root`, waits for it.

    With several workers a calling script needs `if __name__ == "__main__":`.

    Args:
        layout: "coco" (captions and narratives) or "open-images" (narratives only), with the same pictures.
        size: side of the pictures in pixels, at least 16; they are JPEGs.
        train, val, evaluator: pictures in each of three disjoint splits; the last trains evaluation networks.
        world: the distribution of scenes; by default, the full `World`.
        seed: at least 0.
        workers: number of processes; None for one on each core. The files do not depend on it.

    Raises:
        ValueError: if the layout is unknown, a number is out of range, or all splits are empty.
        FileExistsError: if `root` holds anything else.
    """
    root, world = Path(root), world or World()
    counts = {"train": train, "val": val, "evaluator": evaluator}
    _check(layout, size, counts, seed, workers)
    manifest = {
        "name": "scenes",
        "version": VERSION,
        "seed": seed,
        "size": size,
        "most_objects": world.most_objects,
        **{"backgrounds": list(world.backgrounds), "kinds": list(world.kinds), "counts": counts},
        **_unusual(layout, world),
    }
    if not _already_there(root, manifest):  # without a lock: they may be where nothing can be written
        with locked_folder(root, "written", beside=True, wait=True):
            if not _already_there(root, manifest):
                with atomic_folder(root) as partial:
                    _write_all(partial, layout, manifest, world, workers, progress)
    elif progress:
        print(f"Scenes are already written at {root}")
    return root


def _unusual(layout: str, world: World) -> dict[str, str | float | list[str]]:
    """Settings that the manifest records only if not the default, for compatibility with older data sets."""
    usual = {"layout": "coco", "colours": list(World.colours), "sides": World.sides, "largest": World.largest}
    asked = {"layout": layout, "colours": list(world.colours), "sides": world.sides, "largest": world.largest}
    return {name: value for name, value in asked.items() if value != usual[name]}


def _check(layout: str, size: int, counts: dict[str, int], seed: int, workers: int | None) -> None:
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be {' or '.join(LAYOUTS)}, not {layout!r}")
    if size < 16:
        raise ValueError(f"size must be at least 16 pixels, not {size}")
    if size > LARGEST:
        raise ValueError(f"size must be at most {LARGEST} pixels, not {size}")
    for split, count in counts.items():
        if count < 0:
            raise ValueError(f"{split} must be at least 0 pictures, not {count}")
    if not any(counts.values()):
        raise ValueError("train, val and evaluator are all 0: there is nothing to write")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, not {seed}")
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, or None for one on every core, not {workers}")


def _already_there(root: Path, manifest: dict) -> bool:
    """Whether `root` is finished with these settings; False if it can be written."""
    if not root.exists():
        return False
    if not root.is_dir():
        raise FileExistsError(f"{root} is a file; choose another root for Scenes")
    try:
        found = read_json(root / MANIFEST)
    except (FileNotFoundError, ValueError):
        found = None
    if found == manifest:
        return True
    if found is not None:
        raise FileExistsError(
            f"{root} holds Scenes with other settings: {json.dumps(found)}, not {json.dumps(manifest)}; "
            "choose another root, or delete that folder yourself"
        )
    names = sorted(path.name for path in root.iterdir())
    if names:
        raise FileExistsError(
            f"{root} holds {', '.join(names[:3])}{' and more' if len(names) > 3 else ''} and no finished Scenes "
            f"(no readable {MANIFEST}); choose another root, or delete that folder yourself"
        )
    return False


def _write_all(root: Path, layout_name: str, manifest: dict, world: World, workers: int | None, progress: bool) -> None:
    counts, size, seed = manifest["counts"], manifest["size"], manifest["seed"]
    layout = LAYOUTS[layout_name]
    chunks, first_number = [], 1
    for split in SPLITS:
        make_folder(root / layout.folders[split])
        for start in range(0, counts[split], _CHUNK):
            stop = min(start + _CHUNK, counts[split])
            chunks.append(_Chunk(root, layout_name, split, start, stop, first_number + start, size, seed, world))
        first_number += counts[split]
    narratives = {split: root / file for split, file in layout.narratives.items()}
    for file in narratives.values():
        make_folder(file.parent)
        write_text(file, "")

    pictures: dict[str, list[Picture]] = {split: [] for split in SPLITS}
    with ProgressBar(total=sum(counts.values()), desc="writing scenes", unit="image", disable=not progress) as bar:
        for written in _work(chunks, workers):
            pictures[written.split] += written.pictures
            append_text(narratives[written.split], written.narratives)
            bar.update(len(written.pictures))
    layout.annotate(root, pictures, size)
    # Write the manifest last: a folder that has one is complete.
    write_json(root / MANIFEST, manifest)


def _work(chunks: list[_Chunk], workers: int | None) -> Iterator[_Written]:
    """Writes the chunks with several processes; yields the results in order."""
    workers = min(workers or os.cpu_count() or 1, len(chunks))
    if workers == 1:
        yield from map(_write_chunk, chunks)
        return
    # Unlike multiprocessing.Pool, an executor raises an error if its processes cannot start.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_write_chunk, chunks)


def _write_chunk(chunk: _Chunk) -> _Written:
    layout = LAYOUTS[chunk.layout]
    folder = layout.folders[chunk.split]
    pictures, lines = [], []
    for index in range(chunk.start, chunk.stop):
        scene = sample_scene(chunk.seed, chunk.split, index, chunk.world)
        number = chunk.first_number + index - chunk.start
        image_id = layout.identify(chunk.seed, chunk.split, index, number)
        drawing = render_scene(scene, chunk.size)
        path = chunk.root / folder / layout.files(folder, image_id)
        with atomic_file(path) as partial:
            drawing.picture.save(partial, "JPEG", quality=95, subsampling="4:4:4")

        captions = describe(scene, stream(chunk.seed, chunk.split, index, "captions"), sides=chunk.world.sides)
        kinds = tuple(thing.kind for thing in scene.objects)
        pictures.append(Picture(number, image_id, captions, kinds, drawing.shapes))
        rng = stream(chunk.seed, chunk.split, index, "narrative")
        narrative = narrate(scene, rng)
        lines.append(narrative_line(narrative, folder, image_id, annotator=rng.randrange(100)))
    return _Written(chunk.split, pictures, "".join(lines))
