"""Writing Scenes to disk in the official layouts of COCO 2014 or Open Images, with Localized Narratives."""

import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from xmcgan.scenes.captions import describe
from xmcgan.scenes.draw import render_scene
from xmcgan.scenes.layouts import LAYOUTS, VERSION, Picture, narrative_line, write_json
from xmcgan.scenes.narratives import narrate
from xmcgan.scenes.scene import SPLITS, World, sample_scene, stream

MANIFEST = "scenes.json"

_CHUNK = 250


@dataclass(frozen=True)
class _Chunk:
    """A run of scenes of one split, for one worker."""

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
    """What the annotation files say of a chunk."""

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
    """Writes the Scenes data set under `root` and returns `root`.

    `layout` is "coco", with captions and narratives, or "open-images", which has narratives alone. Either way the
    pictures are size x size JPEGs of the same scenes of a `world` (None: all there is). `train`, `val` and `evaluator`
    count the pictures of three disjoint splits, the last for training evaluation models. The files do not depend on
    `workers` (None: one for every core). A finished data set of the same settings is left as it is. The writing
    happens in a folder beside `root`, which takes its name only once everything is there, so an interrupted writing
    never looks finished.

    Several workers are started with multiprocessing's "spawn"; a script that calls this needs the usual
    `if __name__ == "__main__":`.

    Raises ValueError on another layout, a size under 16, a negative count or seed, no pictures at all, or fewer than
    one worker; FileExistsError when `root` holds anything else. Nothing is ever overwritten.
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
        "backgrounds": list(world.backgrounds),
        "kinds": list(world.kinds),
        "counts": counts,
        **_unusual(layout, world),
    }
    if _already_there(root, manifest):
        if progress:
            print(f"Scenes are already written at {root}")
        return root

    root.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{root.name}.partial-", dir=root.parent))
    try:
        partial.chmod(0o755)  # mkdtemp makes folders for its owner alone
        _write_all(partial, layout, manifest, world, workers, progress)
        _finish(partial, root)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return root


def _unusual(layout: str, world: World) -> dict[str, str | float | list[str]]:
    """The settings that a manifest has only where they are not the default, as in sets from before there were any."""
    usual = {"layout": "coco", "colours": list(World.colours), "sides": World.sides, "largest": World.largest}
    asked = {"layout": layout, "colours": list(world.colours), "sides": world.sides, "largest": world.largest}
    return {name: value for name, value in asked.items() if value != usual[name]}


def _check(layout: str, size: int, counts: dict[str, int], seed: int, workers: int | None) -> None:
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be {' or '.join(LAYOUTS)}, not {layout!r}")
    if size < 16:
        raise ValueError(f"size must be at least 16 pixels, not {size}")
    for split, count in counts.items():
        if count < 0:
            raise ValueError(f"{split} must count at least 0 pictures, not {count}")
    if not any(counts.values()):
        raise ValueError("train, val and evaluator are all 0: there is nothing to write")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, not {seed}")
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, or None for one on every core, not {workers}")


def _already_there(root: Path, manifest: dict) -> bool:
    """True when `root` is finished with these settings, False when it is free to be written."""
    if not root.exists():
        return False
    if not root.is_dir():
        raise FileExistsError(f"{root} is a file; choose another root for Scenes")
    try:
        found = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        found = None
    if found == manifest:
        return True
    if found is not None:
        raise FileExistsError(
            f"{root} holds Scenes with other settings: {json.dumps(found)} is there, {json.dumps(manifest)} "
            "was asked for; choose another root, or delete that folder yourself"
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
        (root / layout.folders[split]).mkdir()
        for start in range(0, counts[split], _CHUNK):
            stop = min(start + _CHUNK, counts[split])
            chunks.append(_Chunk(root, layout_name, split, start, stop, first_number + start, size, seed, world))
        first_number += counts[split]
    narratives = {split: root / file for split, file in layout.narratives.items()}
    for file in narratives.values():
        file.parent.mkdir(exist_ok=True)
        file.touch()

    pictures: dict[str, list[Picture]] = {split: [] for split in SPLITS}
    with tqdm(total=sum(counts.values()), desc="writing scenes", unit="img", disable=not progress) as bar:
        for written in _work(chunks, workers):
            pictures[written.split] += written.pictures
            with narratives[written.split].open("a", encoding="utf-8") as file:
                file.write(written.narratives)
            bar.update(len(written.pictures))
    layout.annotate(root, pictures, size)
    # The manifest goes last: what has one is complete.
    write_json(root / MANIFEST, manifest)


def _work(chunks: list[_Chunk], workers: int | None) -> Iterator[_Written]:
    """The chunks' results, in the chunks' order whoever did them."""
    workers = min(workers or os.cpu_count() or 1, len(chunks))
    if workers == 1:
        yield from map(_write_chunk, chunks)
        return
    # An executor, unlike a multiprocessing.Pool, ends with an error where its processes cannot start.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_write_chunk, chunks)


def _finish(partial: Path, root: Path) -> None:
    try:
        partial.replace(root)
    except OSError as error:
        if root.exists():
            raise FileExistsError(f"{root} appeared while Scenes were being written; it is left as it is") from error
        raise


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
        drawing.picture.save(path, quality=95, subsampling="4:4:4")

        captions = describe(scene, stream(chunk.seed, chunk.split, index, "captions"), sides=chunk.world.sides)
        kinds = tuple(thing.kind for thing in scene.objects)
        pictures.append(Picture(number, image_id, captions, kinds, drawing.shapes))
        rng = stream(chunk.seed, chunk.split, index, "narrative")
        narrative = narrate(scene, rng)
        lines.append(narrative_line(narrative, folder, image_id, annotator=rng.randrange(100)))
    return _Written(chunk.split, pictures, "".join(lines))
