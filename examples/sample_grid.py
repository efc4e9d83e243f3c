"""The first 64 held-out captions, none picked: caption k with seed k, 8 x 8 images in one file.

python examples/sample_grid.py docs/images/scenes-64-samples.png
python examples/sample_grid.py flowers.jpg --model runs/flowers --data data/flowers102 --split test
"""

import argparse
import sys
from pathlib import Path

from xmcgan import Pipeline
from xmcgan.data.layouts import read_records
from xmcgan.inference.image_grid import image_grid
from xmcgan.scenes import World, describe, sample_scene
from xmcgan.scenes.scene import stream

WORLD = World(most_objects=2, sides=1.0)
"""The world that scenes-64 was trained on; it never saw a picture or a caption of the split ``val``."""

ROWS, COLUMNS = 8, 8


def held_out_caption(index: int) -> str:
    """The first caption of a scene of the split ``val``, seed 0."""
    scene = sample_scene(0, "val", index, WORLD)
    return describe(scene, stream(0, "val", index, "captions"), sides=WORLD.sides)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, nargs="?", default=Path("scenes-64-samples.png"))
    parser.add_argument("--model", default="scenes-64")
    parser.add_argument("--data", help="folder of the captions; Scenes unless given")
    parser.add_argument("--split", help="of the captions; the model's validation split unless given")
    options = parser.parse_args()

    pipe = Pipeline.from_pretrained(options.model)
    if options.data is None:
        captions = [held_out_caption(index) for index in range(ROWS * COLUMNS)]
    else:
        dataset = pipe.config.dataset
        records = read_records(options.data, dataset.layout, options.split or dataset.validation_split)
        captions = [record.captions[0] for record in records[: ROWS * COLUMNS]]
    images = pipe(captions, seed=list(range(len(captions)))).images
    image_grid(images, COLUMNS).save(options.output, quality=90)
    for number, caption in enumerate(captions):
        print(f"{number // COLUMNS + 1}.{number % COLUMNS + 1}  {caption}")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(str(error))
