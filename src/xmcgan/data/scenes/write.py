"""Writing Scenes to disk in the official layouts of COCO 2014 and of Localized Narratives."""

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

from xmcgan.data.scenes.draw import Drawing, render_scene
from xmcgan.data.scenes.language import Narrative, describe, narrate
from xmcgan.data.scenes.scene import KINDS, SPLITS, Scene, World, sample_scene, stream

MANIFEST = "scenes.json"
VERSION = 1  # of the generator: a change of its pictures or words must change it

_CHUNK = 250
_MOST_OBJECTS = 4
_DATE = "2014-01-01 00:00:00"


@dataclass(frozen=True)
class _Chunk:
    """A run of scenes of one split, for one worker."""

    folder: Path
    split: str
    start: int
    stop: int
    first_image_id: int
    size: int
    seed: int
    world: World


@dataclass(frozen=True)
class _Written:
    """What the annotation files say of a chunk."""

    split: str
    images: list[dict]
    captions: list[dict]
    instances: list[dict]
    narratives: str  # lines of JSON


def write_scenes(
    root: Path,
    *,
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

    Pictures are size x size JPEGs of scenes of a `world` (None: all there is). `train`, `val` and `evaluator` count
    the pictures of three disjoint splits, the last for training evaluation models. The files do not depend on
    `workers` (None: one for every core). A finished data set of the same settings is left as it is. The writing
    happens in a folder beside `root`, which takes its name only once everything is there, so an interrupted writing
    never looks finished.

    Several workers are started with multiprocessing's "spawn"; a script that calls this needs the usual
    `if __name__ == "__main__":`.

    Raises ValueError on a size under 16, a negative count or seed, no pictures at all, or fewer than one worker;
    FileExistsError when `root` holds anything else. Nothing is ever overwritten.
    """
    root, world = Path(root), world or World()
    counts = {"train": train, "val": val, "evaluator": evaluator}
    _check(size, counts, seed, workers)
    manifest = {
        "name": "scenes",
        "version": VERSION,
        "seed": seed,
        "size": size,
        "most_objects": world.most_objects,
        "backgrounds": list(world.backgrounds),
        "kinds": list(world.kinds),
        "counts": counts,
        **_unusual(world),
    }
    if _already_there(root, manifest):
        if progress:
            print(f"Scenes are already written at {root}")
        return root

    root.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{root.name}.partial-", dir=root.parent))
    try:
        partial.chmod(0o755)  # mkdtemp makes folders for its owner alone
        _write_all(partial, manifest, world, workers, progress)
        _finish(partial, root)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return root


def _unusual(world: World) -> dict[str, float]:
    """The settings that a manifest has only where they are not the default, as in sets from before there were any."""
    usual, asked = World(), {"sides": world.sides, "largest": world.largest}
    return {name: value for name, value in asked.items() if value != getattr(usual, name)}


def _check(size: int, counts: dict[str, int], seed: int, workers: int | None) -> None:
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


def _write_all(folder: Path, manifest: dict, world: World, workers: int | None, progress: bool) -> None:
    counts, size, seed = manifest["counts"], manifest["size"], manifest["seed"]
    chunks, first_image_id = [], 1
    for split in SPLITS:
        (folder / f"{split}2014").mkdir()
        for start in range(0, counts[split], _CHUNK):
            stop = min(start + _CHUNK, counts[split])
            chunks.append(_Chunk(folder, split, start, stop, first_image_id + start, size, seed, world))
        first_image_id += counts[split]
    (folder / "annotations").mkdir()
    narratives = folder / "localized_narratives"
    narratives.mkdir()

    images: dict[str, list[dict]] = {split: [] for split in SPLITS}
    captions: dict[str, list[dict]] = {split: [] for split in SPLITS}
    instances: dict[str, list[dict]] = {split: [] for split in SPLITS}
    for split in SPLITS:
        _narratives_file(narratives, split).touch()
    with tqdm(total=sum(counts.values()), desc="writing scenes", unit="img", disable=not progress) as bar:
        for written in _work(chunks, workers):
            images[written.split] += written.images
            captions[written.split] += written.captions
            instances[written.split] += written.instances
            with _narratives_file(narratives, written.split).open("a", encoding="utf-8") as file:
                file.write(written.narratives)
            bar.update(len(written.images))

    for split in SPLITS:
        head = {"info": _info(split), "licenses": _LICENSES, "images": images[split]}
        _write_json(folder / f"annotations/captions_{split}2014.json", {**head, "annotations": captions[split]})
        _write_json(
            folder / f"annotations/instances_{split}2014.json",
            {**head, "annotations": instances[split], "categories": _CATEGORIES},
        )
    # The manifest goes last: what has one is complete.
    _write_json(folder / MANIFEST, manifest)


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
    written = _Written(chunk.split, [], [], [], "")
    lines = []
    for index in range(chunk.start, chunk.stop):
        scene = sample_scene(chunk.seed, chunk.split, index, chunk.world)
        image_id = chunk.first_image_id + index - chunk.start
        file_name = f"COCO_{chunk.split}2014_{image_id:012d}.jpg"
        drawing = render_scene(scene, chunk.size)
        path = chunk.folder / f"{chunk.split}2014" / file_name
        drawing.picture.save(path, quality=95, subsampling="4:4:4")

        written.images.append(_image(image_id, file_name, chunk.size))
        captions = describe(scene, stream(chunk.seed, chunk.split, index, "captions"), sides=chunk.world.sides)
        for k, caption in enumerate(captions):
            number = (image_id - 1) * len(captions) + k + 1
            written.captions.append({"image_id": image_id, "id": number, "caption": caption})
        written.instances.extend(_instances(scene, drawing, image_id))
        rng = stream(chunk.seed, chunk.split, index, "narrative")
        narrative = narrate(scene, rng)
        lines.append(_narrative_line(narrative, chunk.split, image_id, annotator=rng.randrange(100)))
    return _Written(chunk.split, written.images, written.captions, written.instances, "".join(lines))


def _image(image_id: int, file_name: str, size: int) -> dict:
    return {
        "license": 1,
        "file_name": file_name,
        "coco_url": "",
        "height": size,
        "width": size,
        "date_captured": _DATE,
        "flickr_url": "",
        "id": image_id,
    }


def _instances(scene: Scene, drawing: Drawing, image_id: int) -> list[dict]:
    return [
        {
            "segmentation": [[round(value, 2) for value in shape.outline]],
            "area": round(shape.area, 4),
            "iscrowd": 0,
            "image_id": image_id,
            "bbox": [round(value, 2) for value in shape.box],
            "category_id": KINDS[thing.kind].id,
            "id": (image_id - 1) * _MOST_OBJECTS + k + 1,
        }
        for k, (thing, shape) in enumerate(zip(scene.objects, drawing.shapes, strict=True))
    ]


def _narrative_line(narrative: Narrative, split: str, image_id: int, annotator: int) -> str:
    dataset = f"scenes_{split}2014"
    line = {
        "dataset_id": dataset,
        "image_id": str(image_id),
        "annotator_id": annotator,
        "caption": narrative.caption,
        "timed_caption": [
            {"utterance": spoken.words, "start_time": spoken.start, "end_time": spoken.end}
            for spoken in narrative.utterances
        ],
        "traces": [[{"x": p.x, "y": p.y, "t": p.t} for p in stroke] for stroke in narrative.strokes],
        "voice_recording": f"{dataset}/{dataset}_{image_id:012d}_{annotator}.ogg",
    }
    return json.dumps(line) + "\n"


def _narratives_file(folder: Path, split: str) -> Path:
    return folder / f"coco_{split}_localized_narratives.jsonl"


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _info(split: str) -> dict:
    return {
        "description": f"Scenes, {split} split, in the layout of COCO 2014",
        "url": "",
        "version": str(VERSION),
        "year": 2014,
        "contributor": "xmcgan",
        "date_created": _DATE[:10].replace("-", "/"),
    }


_LICENSES = [{"url": "https://www.apache.org/licenses/LICENSE-2.0", "id": 1, "name": "Apache License 2.0"}]
_CATEGORIES = [
    {"supercategory": kind.supercategory, "id": kind.id, "name": kind.name}
    for kind in sorted(KINDS.values(), key=lambda kind: kind.id)
]
