"""Owls by the packaged model and by the model that was fine-tuned on the drawings: one PNG.

python examples/fine_tune/before_and_after.py runs/owls fine-tune.png
"""

import sys

from PIL import Image

from xmcgan import Pipeline
from xmcgan.inference.image_grid import image_grid

CAPTIONS = (
    "a red owl on the grass",
    "a blue owl in the snow on the left",
    "a blue owl in the snow on the right",
    "a yellow owl on the beach",
    "a purple owl in the desert at sunset on the right",
    "a white owl on the grass at night",
    "an orange owl on the beach at night",
    "two umbrellas on a beach at sunset",
)
SIDE = 128  # images are enlarged twice


def main(run: str, output: str) -> None:
    before, after = Pipeline.from_pretrained("scenes-64"), Pipeline.from_pretrained(run)
    rows = [before(CAPTIONS, seed=1).images, after(CAPTIONS, seed=1).images, after(CAPTIONS, seed=2).images]
    images = [image.resize((SIDE, SIDE), Image.Resampling.BICUBIC) for row in rows for image in row]
    image_grid(images, len(CAPTIONS)).save(output, optimize=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} RUN OUTPUT.png")
    try:
        main(*sys.argv[1:])
    except (ValueError, OSError) as error:
        sys.exit(str(error))
