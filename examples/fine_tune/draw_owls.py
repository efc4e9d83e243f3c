"""One hundred captioned drawings of owls, a kind that the packaged model has never seen, to fine-tune it on.

python examples/fine_tune/draw_owls.py data/owls

Writes ``train/owl-000.png`` with its caption in ``train/owl-000.txt`` and so on: the layout ``folder``.
"""

import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw

COUNT = 100
SIDE = 128
SCALE = 4  # drawn larger, then reduced: smooth edges

COLOURS = {
    "red": (200, 50, 45), "orange": (232, 130, 40), "yellow": (235, 200, 60), "green": (70, 150, 70),
    "blue": (60, 105, 190), "purple": (130, 80, 170), "pink": (235, 140, 175), "brown": (130, 85, 55),
    "white": (240, 240, 236), "gray": (130, 130, 136),
}  # fmt: skip

PLACES = {  # sky or wall, ground
    "on the grass": ((150, 200, 240), (90, 160, 70)),
    "in the snow": ((185, 205, 220), (245, 248, 250)),
    "on the beach": ((120, 190, 235), (232, 214, 160)),
    "on a wooden table": ((225, 215, 200), (150, 100, 60)),
    "on the grass at night": ((20, 25, 60), (30, 65, 40)),
    "in the desert at sunset": ((240, 150, 90), (205, 160, 95)),
}


def draw_owl(colour: str, place: str, at: str, rng: random.Random) -> Image.Image:
    """An owl of a colour in a place, left, in the middle or right."""
    side = SIDE * SCALE
    sky, ground = PLACES[place]
    image = Image.new("RGB", (side, side), sky)
    pen = ImageDraw.Draw(image)
    horizon = side * rng.uniform(0.6, 0.7)
    pen.rectangle((0, horizon, side, side), fill=ground)
    size = side * rng.uniform(0.4, 0.5)
    x = side * {"left": 0.3, "middle": 0.5, "right": 0.7}[at] + side * rng.uniform(-0.04, 0.04)
    y = horizon + size * rng.uniform(-0.2, -0.1)
    body = COLOURS[colour]
    dark, light = (tuple(int(c * 0.7) for c in body), tuple(int(c + (255 - c) * 0.55) for c in body))

    def ellipse(dx: float, dy: float, rx: float, ry: float, fill: tuple[int, ...]) -> None:
        pen.ellipse((x + size * (dx - rx), y + size * (dy - ry), x + size * (dx + rx), y + size * (dy + ry)), fill=fill)

    def triangle(*points: tuple[float, float], fill: tuple[int, ...]) -> None:
        pen.polygon([(x + size * dx, y + size * dy) for dx, dy in points], fill=fill)

    for way in (-1, 1):
        triangle((way * 0.34, -0.3), (way * 0.3, -0.68), (way * 0.06, -0.45), fill=dark)  # ear tufts
        ellipse(way * 0.12, 0.52, 0.08, 0.05, (230, 150, 40))  # feet
    ellipse(0, 0.05, 0.38, 0.48, body)
    ellipse(0, 0.2, 0.24, 0.3, light)
    ellipse(0, -0.25, 0.35, 0.28, body)
    for way in (-1, 1):
        ellipse(way * 0.36, 0.1, 0.1, 0.3, dark)  # wings
        ellipse(way * 0.15, -0.26, 0.15, 0.15, (255, 255, 255))
        ellipse(way * 0.14, -0.25, 0.07, 0.07, (25, 20, 20))
    triangle((-0.06, -0.18), (0.06, -0.18), (0, -0.04), fill=(240, 160, 40))
    return image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def caption_of(colour: str, place: str, at: str) -> str:
    """What is in the drawing, in words that the packaged model knows, but for the owl."""
    article = "an" if colour == "orange" else "a"
    side = "" if at == "middle" else f" on the {at}"
    return f"{article} {colour} owl {place}{side}"


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "data/owls") / "train"
    if folder.exists():
        sys.exit(f"{folder} is there already; name another folder")
    folder.mkdir(parents=True)
    rng = random.Random(0)
    for number in range(COUNT):
        described = rng.choice(list(COLOURS)), rng.choice(list(PLACES)), rng.choice(["left", "middle", "right"])
        draw_owl(*described, rng).save(folder / f"owl-{number:03}.png")
        (folder / f"owl-{number:03}.txt").write_text(caption_of(*described) + "\n")
    print(f"{COUNT} drawings with captions are in {folder}")


if __name__ == "__main__":
    main()
