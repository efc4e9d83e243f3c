"""The first held-out captions of Scenes, drawn unpicked: caption k with seed k, 8 x 8 pictures in one PNG.

python examples/sample_grid.py docs/images/scenes-64-samples.png
"""

import sys
from pathlib import Path

from PIL import Image

from xmcgan import Pipeline
from xmcgan.scenes import World, describe, sample_scene
from xmcgan.scenes.scene import stream

WORLD = World(most_objects=2, sides=1.0)
"""The world that scenes-64 was trained on; it never saw a picture or a caption of the split ``val``."""

ROWS, COLUMNS, GAP = 8, 8, 2


def held_out_caption(index: int) -> str:
    """The first caption of a scene of the split ``val``, seed 0."""
    scene = sample_scene(0, "val", index, WORLD)
    return describe(scene, stream(0, "val", index, "captions"), sides=WORLD.sides)[0]


def main() -> None:
    output = Path(sys.argv[1] if len(sys.argv) > 1 else "scenes-64-samples.png")
    captions = [held_out_caption(index) for index in range(ROWS * COLUMNS)]
    images = Pipeline.from_pretrained("scenes-64")(captions, seed=list(range(len(captions)))).images
    side = images[0].width + GAP
    sheet = Image.new("RGB", (COLUMNS * side - GAP, ROWS * side - GAP), "white")
    for number, image in enumerate(images):
        row, column = divmod(number, COLUMNS)
        sheet.paste(image, (column * side, row * side))
    sheet.save(output)
    for number, caption in enumerate(captions):
        print(f"{number // COLUMNS + 1}.{number % COLUMNS + 1}  {caption}")


if __name__ == "__main__":
    main()
