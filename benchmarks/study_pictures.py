"""Four systems that differ for certain, from the synthetic data set and the packaged model: for trying out studies.

drawings     Scenes as they are drawn, at 256 px
scenes-64    the packaged model's pictures of the captions, at 64 px
elsewhere    good drawings of other captions
blurred      the drawings at 16 px, as seen through frosted glass

python benchmarks/study_pictures.py data/study-demo --captions 40
"""

import argparse
import json
from pathlib import Path

from PIL import Image, ImageFilter

from xmcgan.data.images import open_image
from xmcgan.data.layouts import read_records
from xmcgan.evaluation.image_set import random_captions
from xmcgan.scenes import write_scenes


def write_systems(folder: Path, count: int, *, model: bool = True) -> dict[str, Path]:
    """Writes the folders of four systems, or three without the model, and ``captions.jsonl``."""
    write_scenes(folder / "scenes", size=256, train=8, val=count, evaluator=4, workers=1, progress=False)
    records = read_records(str(folder / "scenes"), "coco", "val2014")
    requests = random_captions(records, count)
    pictures = {record.id: open_image(record) for record in records}
    systems = {name: folder / name for name in ("drawings", "elsewhere", "blurred", *(("scenes-64",) if model else ()))}
    for each in systems.values():
        each.mkdir(parents=True)
    ids = [request.image_id for request in requests]
    for number, request in enumerate(requests):
        own = pictures[request.image_id]
        small = own.resize((16, 16), Image.Resampling.BICUBIC).resize((256, 256), Image.Resampling.BICUBIC)
        own.save(systems["drawings"] / f"{request.id}.png")
        small.filter(ImageFilter.GaussianBlur(3)).save(systems["blurred"] / f"{request.id}.png")
        pictures[ids[(number + count // 2) % count]].save(systems["elsewhere"] / f"{request.id}.png")
    if model:
        from xmcgan import Pipeline

        pipe = Pipeline.from_pretrained("scenes-64")
        for number, request in enumerate(requests):
            pipe(request.caption, seed=number).images[0].save(systems["scenes-64"] / f"{request.id}.png")
    lines = [json.dumps({"id": each.id, "image_id": each.image_id, "caption": each.caption}) for each in requests]
    (folder / "captions.jsonl").write_text("\n".join(lines) + "\n")
    return systems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--captions", type=int, default=40)
    options = parser.parse_args()
    for name, folder in write_systems(options.folder, options.captions).items():
        print(f"{name}={folder}")


if __name__ == "__main__":
    main()
