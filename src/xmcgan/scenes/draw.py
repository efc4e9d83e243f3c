"""Draws scenes: a picture, and the exact shape of every object in it.

Everything is drawn in relative coordinates on a larger canvas and then averaged down, so that edges are smooth and a
scene looks the same at 64 and at 256 pixels. A second map records which object owns each canvas pixel; boxes and
outlines are computed from it.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from xmcgan.scenes.scene import Scene

Ink = tuple[int, ...]  # (red, green, blue) in 0..255, with an alpha for translucent inks
Point = tuple[float, float]

PAINT: dict[str, Ink] = {
    "red": (224, 54, 50),
    "orange": (245, 134, 36),
    "yellow": (252, 206, 46),
    "green": (54, 160, 82),
    "blue": (44, 106, 214),
    "purple": (134, 78, 190),
    "pink": (246, 128, 172),
    "white": (248, 247, 243),
    "black": (46, 46, 56),
    "brown": (142, 90, 56),
}
WHITE = (255, 255, 255)
DARK: Ink = (44, 44, 54)
STEEL: Ink = (150, 158, 168)
GLASS: Ink = (176, 220, 242)
LIT_GLASS: Ink = (255, 228, 140)
SHADOW: Ink = (20, 20, 40, 64)

# The effect of weather and time of day on colours: (colour of the air, its amount far away, its amount nearby).
_AIR: dict[str, tuple[Ink, float, float]] = {
    "clear": (WHITE, 0.0, 0.0),
    "sunset": ((255, 120, 70), 0.22, 0.04),
    "night": ((18, 26, 70), 0.58, 0.10),
    "rain": ((96, 112, 130), 0.34, 0.06),
    "fog": ((206, 214, 218), 0.50, 0.16),
    "snowing": ((214, 224, 234), 0.26, 0.03),
    "indoors": (WHITE, 0.0, 0.0),
}
# From the zenith down to the horizon.
_SKY: dict[str, tuple[Ink, ...]] = {
    "clear": ((58, 142, 226), (122, 192, 243), (206, 234, 248)),
    "sunset": ((108, 72, 150), (238, 112, 104), (255, 190, 96)),
    "night": ((12, 16, 50), (26, 34, 86), (56, 66, 128)),
    "rain": ((92, 106, 124), (128, 142, 156), (164, 174, 182)),
    "fog": ((186, 196, 202), (204, 211, 214), (222, 226, 226)),
    "snowing": ((158, 174, 194), (186, 199, 214), (218, 226, 234)),
}


def mix(ink: Ink, other: Ink, amount: float) -> Ink:
    """Mixes `amount` (0..1) of `other` into `ink`; keeps the alpha of `ink`."""
    return (*(round(a + (b - a) * amount) for a, b in zip(ink[:3], other[:3], strict=True)), *ink[3:])


def lighter(ink: Ink, amount: float = 0.3) -> Ink:
    return mix(ink, WHITE, amount)


def darker(ink: Ink, amount: float = 0.22) -> Ink:
    return mix(ink, (24, 16, 44), amount)


class Pen:
    """Draws in the coordinates of one object: x from 0 to 1 over its width, y upwards from its base in the same unit.

    Solid inks also mark the object as owner of their pixels; translucent ones (shadows, glows, glints) do not.
    """

    def __init__(
        self,
        picture: ImageDraw.ImageDraw,
        owners: ImageDraw.ImageDraw,
        side: int,
        *,
        left: float = 0.0,
        base: float = 1.0,
        width: float = 1.0,
        mirrored: bool = False,
        owner: int = 0,
        air: tuple[Ink, float] = (WHITE, 0.0),
        night: bool = False,
    ):
        self._picture, self._owners, self._owner = picture, owners, owner
        self._scale = width * side
        self._left, self._base = left * side, base * side
        self._mirrored = mirrored
        self._air, self._amount = air
        self.night = night

    def _at(self, x: float, y: float) -> Point:
        if self._mirrored:
            x = 1 - x
        return self._left + x * self._scale, self._base - y * self._scale

    def _box(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        (left, bottom), (right, top) = self._at(x0, y0), self._at(x1, y1)
        left, right = min(left, right), max(left, right)
        # Pillow includes the last row and column; a shape of zero size is still a dot.
        return left, top, max(right - 1, left), max(bottom - 1, top)

    def _canvases(self, ink: Ink) -> Iterator[tuple[ImageDraw.ImageDraw, Ink | int]]:
        """The canvases that an ink goes to, with the value to draw: the picture, and the map of owners."""
        yield self._picture, mix(ink, self._air, self._amount) if self._amount else ink
        # The background, owner 0, needs no marks: the map is 0 at first.
        if self._owner and len(ink) == 3:
            yield self._owners, self._owner

    def polygon(self, points: Sequence[Point], ink: Ink) -> None:
        spots = [self._at(x, y) for x, y in points]
        for canvas, fill in self._canvases(ink):
            canvas.polygon(spots, fill=fill)

    def ellipse(self, x: float, y: float, rx: float, ry: float, ink: Ink) -> None:
        box = self._box(x - rx, y - ry, x + rx, y + ry)
        for canvas, fill in self._canvases(ink):
            canvas.ellipse(box, fill=fill)

    def disc(self, x: float, y: float, r: float, ink: Ink) -> None:
        self.ellipse(x, y, r, r, ink)

    def rect(self, x0: float, y0: float, x1: float, y1: float, ink: Ink, r: float = 0.0) -> None:
        """A box from its lower left corner (x0, y0) to (x1, y1), with corner radius `r`."""
        box = self._box(x0, y0, x1, y1)
        # Rounded corners are slow in Pillow, so invisibly small ones are left square.
        radius = r * self._scale
        for canvas, fill in self._canvases(ink):
            if radius < 1:
                canvas.rectangle(box, fill=fill)
            else:
                canvas.rounded_rectangle(box, radius, fill=fill)

    def line(self, points: Sequence[Point], width: float, ink: Ink) -> None:
        spots = [self._at(x, y) for x, y in points]
        pixels = max(1, round(width * self._scale))
        for canvas, fill in self._canvases(ink):
            canvas.line(spots, fill=fill, width=pixels, joint="curve")

    def slice(self, x: float, y: float, rx: float, ry: float, start: float, end: float, ink: Ink) -> None:
        """The sector of an ellipse from `start` to `end` degrees, counterclockwise from the right."""
        turns = np.linspace(math.radians(start), math.radians(end), 24)
        self.polygon([(x + rx * math.cos(t), y + ry * math.sin(t)) for t in turns], ink)


# ---------------------------------------------------------------------------------------------- backgrounds


def _gradient(inks: Sequence[Ink], width: int, height: int) -> Image.Image:
    """An RGB image with a vertical gradient through evenly spaced inks."""
    stops = np.linspace(0, 1, len(inks))
    rows = np.linspace(0, 1, height)
    column = np.stack([np.interp(rows, stops, [ink[c] for ink in inks]) for c in range(3)], axis=-1)
    return Image.fromarray(column.round().astype(np.uint8)[:, None]).resize((width, height))


def _ridge(rng: random.Random, low: float, high: float, waves: float, bottom: float) -> list[Point]:
    """A polygon with a rolling skyline between two heights, closed at `bottom`."""
    phase, other = rng.uniform(0, 6.3), rng.uniform(0, 6.3)
    points = []
    for x in np.linspace(0, 1, 41):
        wave = 0.6 * math.sin(waves * 6.283 * x + phase) + 0.4 * math.sin(waves * 11.3 * x + other)
        points.append((float(x), low + (high - low) * (0.5 + 0.5 * wave)))
    return [*points, (1.0, bottom), (0.0, bottom)]


def _cloud(pen: Pen, x: float, y: float, w: float, ink: Ink) -> None:
    for dx, dy, r in ((-0.30, 0.06, 0.14), (-0.10, 0.14, 0.20), (0.14, 0.10, 0.17), (0.33, 0.04, 0.12)):
        pen.disc(x + dx * w, y + dy * w, r * w, ink)
    pen.rect(x - 0.46 * w, y - 0.08 * w, x + 0.46 * w, y + 0.06 * w, ink, 0.07 * w)


def _sky(pen: Pen, rng: random.Random, weather: str, horizon: float) -> None:
    """Draws sun, moon, stars and clouds over the sky's gradient; `horizon` is its height from the bottom."""
    x = rng.uniform(0.1, 0.9)
    if weather == "night":
        for _ in range(34):
            r = rng.choice((0.003, 0.004, 0.006))
            pen.disc(rng.random(), rng.uniform(horizon + 0.08, 0.99), r, (255, 250, 220, rng.randint(150, 255)))
        y = rng.uniform(0.84, 0.90)
        for r, alpha in ((0.13, 18), (0.10, 26)):
            pen.disc(x, y, r, (230, 230, 255, alpha))
        pen.disc(x, y, 0.07, (250, 244, 214))
        for dx, dy, r in ((-0.02, 0.02, 0.016), (0.025, -0.005, 0.012), (-0.005, -0.032, 0.010)):
            pen.disc(x + dx, y + dy, r, (228, 220, 186))
        return
    if weather == "sunset":
        y = horizon + rng.uniform(0.06, 0.12)
        for r, alpha in ((0.26, 26), (0.20, 36), (0.15, 52)):
            pen.disc(x, y, r, (255, 224, 120, alpha))
        pen.disc(x, y, 0.105, (255, 236, 150))
    if weather == "clear":
        y = rng.uniform(0.86, 0.91)
        for r, alpha in ((0.15, 40), (0.115, 70)):
            pen.disc(x, y, r, (255, 246, 190, alpha))
        pen.disc(x, y, 0.08, (255, 224, 84))
    if weather == "fog":
        return
    ink = {
        "clear": (252, 254, 255),
        "sunset": (250, 158, 136),
        "rain": (84, 94, 110),
        "snowing": (232, 238, 244),
    }[weather]
    number = rng.randint(4, 5) if weather in ("rain", "snowing") else rng.randint(2, 3)
    for i in range(number):
        middle = (i + rng.uniform(0.2, 0.8)) / number
        if weather == "clear" and abs(middle - x) < 0.16:
            middle += 0.3 if middle < 0.5 else -0.3
        top = rng.uniform(0.90, 0.97) if weather == "rain" else rng.uniform(max(horizon + 0.16, 0.66), 0.95)
        _cloud(pen, middle, top, rng.uniform(0.18, 0.32) * (1.3 if weather == "rain" else 1), ink)


def _field(far: Pen, near: Pen, rng: random.Random) -> None:
    far.polygon(_ridge(rng, 0.42, 0.52, 0.7, 0), (122, 190, 108))
    far.polygon(_ridge(rng, 0.37, 0.45, 0.9, 0), (98, 176, 92))
    for _ in range(rng.randint(2, 4)):
        x, y = rng.uniform(0.03, 0.97), rng.uniform(0.40, 0.44)
        far.rect(x - 0.007, y - 0.02, x + 0.007, y + 0.04, (110, 78, 54))
        far.disc(x, y + 0.065, rng.uniform(0.032, 0.046), (58, 138, 78))
    near.polygon(_ridge(rng, 0.31, 0.36, 0.5, 0), (92, 186, 78))
    near.polygon(_ridge(rng, 0.06, 0.10, 0.6, 0), (78, 172, 68))
    for _ in range(16):
        x, y, h = rng.random(), rng.uniform(0.02, 0.28), rng.uniform(0.014, 0.024)
        near.polygon([(x - 0.014, y + h), (x, y), (x + 0.014, y + h), (x + 0.002, y + h * 0.6)], (60, 148, 60))
    for _ in range(9):
        x, y = rng.random(), rng.uniform(0.02, 0.26)
        near.disc(x, y, 0.008, rng.choice(((255, 255, 250), (255, 226, 90))))


def _water(pen: Pen, rng: random.Random, top: float, light: Ink, deep: Ink) -> None:
    for i in range(8):
        pen.rect(0, 0, 1, top * (1 - i / 8), mix(light, deep, i / 7))
    for i in range(16):
        y = top * (1 - (i + rng.random()) / 16.5)
        x, w = rng.random(), rng.uniform(0.04, 0.12) * (1.4 - y)
        pen.rect(x - w / 2, y, x + w / 2, y + 0.006, (255, 255, 255, 110), 0.003)


def _beach(far: Pen, near: Pen, rng: random.Random) -> None:
    _water(far, rng, 0.46, (70, 186, 214), (44, 140, 196))
    shore = _ridge(rng, 0.27, 0.32, 0.8, 0)
    near.polygon([(x, y + 0.022) if y else (x, y) for x, y in shore], (240, 250, 250))
    near.polygon(shore, (246, 222, 160))
    near.polygon([(x, y - 0.14) if y else (x, y) for x, y in shore], (238, 208, 142))
    for _ in range(22):
        near.disc(rng.random(), rng.uniform(0.01, 0.24), rng.uniform(0.003, 0.005), (214, 180, 116))
    x, y = rng.uniform(0.06, 0.94), rng.uniform(0.03, 0.06)
    for turn in range(5):
        angle = turn * 1.2566 + 0.3
        tip = (x + 0.03 * math.cos(angle), y + 0.026 * math.sin(angle))
        near.line([(x, y), tip], 0.014, (236, 118, 92))


def _sea(far: Pen, near: Pen, rng: random.Random) -> None:
    _water(far, rng, 0.45, (60, 156, 212), (18, 88, 168))
    for _ in range(7):
        x, y, w = rng.random(), rng.uniform(0.03, 0.30), rng.uniform(0.05, 0.09)
        near.slice(x, y, w, 0.018, 0, 180, (140, 206, 236))
        near.slice(x, y - 0.006, w, 0.014, 0, 180, (34, 112, 186))


def _peaks(pen: Pen, rng: random.Random, foot: float) -> None:
    number = rng.randint(3, 4)
    for i in rng.sample(range(number), number):
        x = (i + 0.5 + rng.uniform(-0.15, 0.15)) / number
        h, w = rng.uniform(0.24, 0.36), rng.uniform(0.24, 0.32)
        rock, shade = (112, 122, 152), (88, 96, 130)
        pen.polygon([(x - w, foot), (x, foot + h), (x + w, foot)], rock)
        pen.polygon([(x, foot + h), (x + w, foot), (x + w * 0.1, foot), (x - w * 0.08, foot + h * 0.5)], shade)
        cap = [(x, foot + h)]
        for s, drop in ((0.34, 0.34), (0.18, 0.26), (0.04, 0.38), (-0.12, 0.27), (-0.34, 0.34)):
            cap.append((x + w * s, foot + h * (1 - drop)))
        pen.polygon(cap, (246, 249, 253))


def _pine(pen: Pen, x: float, y: float, h: float, ink: Ink, snowy: bool) -> None:
    pen.rect(x - 0.04 * h, y, x + 0.04 * h, y + 0.2 * h, (104, 74, 56))
    for low, high, w in ((0.14, 0.58, 0.30), (0.38, 0.80, 0.24), (0.62, 1.0, 0.17)):
        pen.polygon([(x - w * h, y + low * h), (x, y + high * h), (x + w * h, y + low * h)], ink)
        if snowy:
            top, side = y + high * h, 0.45
            rim = y + (high + (low - high) * side) * h
            pen.polygon([(x - w * h * side, rim), (x, top), (x + w * h * side, rim)], (244, 248, 252))


def _lake(far: Pen, near: Pen, rng: random.Random) -> None:
    _peaks(far, rng, 0.42)
    far.polygon(_ridge(rng, 0.43, 0.47, 1.3, 0), (62, 134, 84))
    for _ in range(9):
        _pine(far, rng.random(), rng.uniform(0.41, 0.43), rng.uniform(0.07, 0.12), (40, 108, 74), False)
    _water(near, rng, 0.41, (86, 186, 196), (30, 122, 150))


def _mountains(far: Pen, near: Pen, rng: random.Random) -> None:
    _peaks(far, rng, 0.36)
    near.polygon(_ridge(rng, 0.34, 0.39, 0.8, 0), (104, 168, 92))
    for _ in range(6):
        _pine(near, rng.random(), rng.uniform(0.31, 0.35), rng.uniform(0.10, 0.16), (46, 116, 78), False)
    near.polygon(_ridge(rng, 0.24, 0.28, 0.6, 0), (132, 190, 98))
    near.polygon(_ridge(rng, 0.05, 0.09, 0.7, 0), (116, 176, 86))
    for _ in range(6):
        x, y, r = rng.random(), rng.uniform(0.02, 0.20), rng.uniform(0.012, 0.024)
        near.slice(x, y, r * 1.4, r, 0, 180, (146, 150, 158))


def _snow(far: Pen, near: Pen, rng: random.Random) -> None:
    far.polygon(_ridge(rng, 0.42, 0.52, 0.6, 0), (208, 222, 240))
    near.polygon(_ridge(rng, 0.36, 0.42, 0.7, 0), (226, 236, 248))
    for _ in range(rng.randint(4, 6)):
        _pine(near, rng.random(), rng.uniform(0.33, 0.39), rng.uniform(0.13, 0.24), (48, 110, 92), True)
    near.polygon(_ridge(rng, 0.26, 0.31, 0.5, 0), (240, 246, 252))
    near.polygon(_ridge(rng, 0.06, 0.11, 0.6, 0), (228, 237, 248))
    for _ in range(8):
        x, y = rng.random(), rng.uniform(0.02, 0.24)
        near.ellipse(x, y, rng.uniform(0.03, 0.06), 0.007, (212, 225, 241))


def _street(far: Pen, near: Pen, rng: random.Random) -> None:
    for shade, low, high in (((150, 168, 196), 0.60, 0.78), ((176, 124, 110), 0.46, 0.64)):
        x = -0.04
        while x < 1:
            w, top = rng.uniform(0.12, 0.2), rng.uniform(low, high)
            wall = mix(shade, rng.choice(((206, 170, 120), (96, 110, 150), (220, 196, 176))), rng.uniform(0, 0.6))
            far.rect(x, 0.3, x + w, top, wall)
            far.rect(x, top - 0.012, x + w, top, darker(wall, 0.2))
            columns = 3 if w > 0.15 else 2
            for row in range(int((top - 0.40) / 0.065)):
                for column in range(columns):
                    left = x + w * (column + 0.28) / columns
                    up = top - 0.055 - row * 0.065
                    lit = rng.random() < 0.6
                    # At night, windows shine through the dark air.
                    (near if near.night and lit else far).rect(
                        left,
                        up - 0.012,
                        left + w * 0.44 / columns,
                        up + 0.020,
                        LIT_GLASS if near.night and lit else (214, 232, 244) if lit else darker(wall, 0.3),
                    )
            x += w
    near.rect(0, 0.25, 1, 0.34, (190, 188, 190))
    near.rect(0, 0.325, 1, 0.34, (212, 210, 210))
    near.rect(0, 0.235, 1, 0.255, (148, 148, 154))
    near.rect(0, 0, 1, 0.24, (88, 90, 100))
    shift = rng.uniform(-0.1, 0.1)
    for i in range(-1, 5):
        near.rect(i * 0.25 + shift, 0.03, i * 0.25 + shift + 0.13, 0.048, (238, 226, 170))


def _desert(far: Pen, near: Pen, rng: random.Random) -> None:
    x = rng.uniform(0.1, 0.9)
    far.polygon([(x - 0.22, 0.40), (x - 0.16, 0.56), (x + 0.12, 0.56), (x + 0.17, 0.40)], (206, 112, 74))
    far.polygon([(x - 0.19, 0.48), (x - 0.175, 0.52), (x + 0.133, 0.52), (x + 0.145, 0.48)], (186, 94, 64))
    far.polygon(_ridge(rng, 0.38, 0.46, 0.7, 0), (232, 160, 92))
    near.polygon(_ridge(rng, 0.28, 0.38, 0.8, 0), (240, 178, 104))
    for _ in range(rng.randint(2, 4)):
        x, y, h = rng.uniform(0.04, 0.96), rng.uniform(0.30, 0.36), rng.uniform(0.10, 0.17)
        ink = (66, 140, 88)
        near.rect(x - 0.13 * h, y, x + 0.13 * h, y + h, ink, 0.13 * h)
        for side, low in ((-1, 0.4), (1, 0.55)):
            near.line([(x, y + low * h), (x + side * 0.34 * h, y + low * h)], 0.15 * h, ink)
            near.line(
                [(x + side * 0.34 * h, y + (low - 0.07) * h), (x + side * 0.34 * h, y + (low + 0.3) * h)],
                0.16 * h,
                ink,
            )
    near.polygon(_ridge(rng, 0.18, 0.25, 0.5, 0), (246, 192, 114))
    near.polygon(_ridge(rng, 0.05, 0.10, 0.6, 0), (236, 172, 96))
    for _ in range(8):
        x, y = rng.random(), rng.uniform(0.02, 0.22)
        near.ellipse(x, y, rng.uniform(0.02, 0.05), 0.004, (220, 152, 84))


def _kitchen(pen: Pen, rng: random.Random) -> None:
    """Draws the wall behind a table: tiles, and a window with a curtain."""
    pen.rect(0, 0, 1, 1, (206, 226, 220))
    for i in range(1, 8):
        pen.rect(i / 8 - 0.002, 0, i / 8 + 0.002, 1, (222, 237, 232))
        pen.rect(0, i / 8 - 0.002, 1, i / 8 + 0.002, (222, 237, 232))
    x = rng.choice((0.26, 0.5, 0.74)) + rng.uniform(-0.04, 0.04)
    pen.rect(x - 0.17, 0.58, x + 0.17, 0.95, (250, 250, 246), 0.01)
    pen.rect(x - 0.15, 0.60, x + 0.15, 0.93, (158, 212, 242))
    _cloud(pen, x + 0.05, 0.82, 0.13, (244, 250, 253))
    pen.slice(x - 0.04, 0.60, 0.10, 0.09, 0, 180, (122, 190, 122))
    pen.rect(x - 0.006, 0.59, x + 0.006, 0.94, (250, 250, 246))
    pen.rect(x - 0.16, 0.76, x + 0.16, 0.772, (250, 250, 246))
    pen.rect(x - 0.19, 0.565, x + 0.19, 0.59, (238, 236, 228), 0.008)


def _wooden_table(pen: Pen, rng: random.Random) -> None:
    _kitchen(pen, rng)
    pen.rect(0, 0, 1, 0.38, (188, 126, 74))
    for i, y in enumerate((0.0, 0.09, 0.19, 0.28)):
        pen.rect(0, y, 1, y + 0.092, ((182, 118, 66), (192, 128, 76))[i % 2])
        for _ in range(3):
            x, w = rng.random(), rng.uniform(0.08, 0.24)
            pen.rect(x, y + 0.02 + rng.random() * 0.05, x + w, y + 0.026 + rng.random() * 0.05, (168, 106, 58), 0.003)
    pen.rect(0, 0.368, 1, 0.385, (212, 152, 96))


def _cloth_table(pen: Pen, rng: random.Random, ink: Ink) -> None:
    _kitchen(pen, rng)
    pen.rect(0, 0, 1, 0.38, ink)
    fold = lighter(ink, 0.2)
    for i in range(-3, 10):  # checks, in perspective
        far, near = 0.5 + (i / 6 - 0.5) * 1.0, 0.5 + (i / 6 - 0.5) * 1.6
        pen.polygon([(far, 0.38), (far + 0.07, 0.38), (near + 0.115, 0.05), (near, 0.05)], (*fold, 150))
    for y, h in ((0.09, 0.06), (0.20, 0.045), (0.30, 0.032)):
        pen.rect(0, y, 1, y + h, (*fold, 150))
    pen.rect(0, 0, 1, 0.05, darker(ink, 0.12))
    for i in range(12):
        pen.disc((i + 0.5) / 12, 0.05, 0.042, darker(ink, 0.12))
    pen.rect(0, 0.372, 1, 0.385, lighter(ink, 0.45))


def _room(pen: Pen, rng: random.Random, ink: Ink) -> None:
    wall = lighter(ink, 0.22)
    pen.rect(0, 0, 1, 1, wall)
    for i in range(10):
        pen.rect(i / 10, 0.3, i / 10 + 0.05, 1, mix(wall, ink, 0.16))
    if rng.random() < 0.5:  # a picture on the wall, well to one side
        x = rng.choice((0.13, 0.87))
        pen.rect(x - 0.09, 0.62, x + 0.09, 0.86, (250, 246, 236), 0.006)
        pen.rect(x - 0.07, 0.64, x + 0.07, 0.84, (176, 216, 232))
        pen.polygon(
            [(x - 0.07, 0.64), (x - 0.01, 0.77), (x + 0.03, 0.70), (x + 0.07, 0.75), (x + 0.07, 0.64)], (112, 160, 120)
        )
    else:
        x = rng.choice((0.14, 0.86))
        pen.rect(x - 0.006, 0.3, x + 0.006, 0.66, (110, 100, 96))
        pen.ellipse(x, 0.295, 0.06, 0.012, (110, 100, 96))
        pen.disc(x, 0.69, 0.15, (255, 244, 190, 60))
        pen.polygon([(x - 0.10, 0.64), (x - 0.06, 0.76), (x + 0.06, 0.76), (x + 0.10, 0.64)], (255, 240, 196))
    pen.rect(0, 0.27, 1, 0.305, (250, 246, 238))
    pen.rect(0, 0, 1, 0.275, (198, 152, 108))
    for i in range(7):
        x = 0.5 + (i / 6 - 0.5) * 1.2
        pen.line([(x, 0.272), (0.5 + (x - 0.5) * 1.7, 0)], 0.005, (176, 130, 90))
    pen.ellipse(0.5, 0.11, 0.46, 0.085, (244, 236, 222))
    pen.ellipse(0.5, 0.11, 0.41, 0.068, mix((244, 236, 222), ink, 0.25))
    pen.ellipse(0.5, 0.11, 0.37, 0.056, (244, 236, 222))


_OUTDOORS: dict[str, tuple[Callable[[Pen, Pen, random.Random], None], float]] = {
    # name: (draw function, height of the horizon from the bottom)
    "field": (_field, 0.44),
    "beach": (_beach, 0.46),
    "sea": (_sea, 0.45),
    "lake": (_lake, 0.45),
    "snow": (_snow, 0.45),
    "street": (_street, 0.55),
    "desert": (_desert, 0.44),
    "mountains": (_mountains, 0.45),
}


# -------------------------------------------------------------------------------------------------- objects


def _wheel(pen: Pen, x: float, r: float) -> None:
    pen.disc(x, r, r, DARK)
    pen.disc(x, r, r * 0.55, (206, 212, 218))
    pen.disc(x, r, r * 0.2, (120, 126, 134))


def _roundness(pen: Pen, x: float, y: float, rx: float, ry: float, ink: Ink) -> None:
    """Draws a crescent of shade along the lower edge of an ellipse."""
    turns = np.linspace(math.pi, 2 * math.pi, 24)
    edge = [(x + rx * math.cos(t), y + ry * math.sin(t)) for t in turns]
    inner = [(x + rx * math.cos(t), y + 0.62 * ry * math.sin(t)) for t in turns]
    pen.polygon(edge + inner[::-1], ink)


def _glass(pen: Pen) -> Ink:
    return LIT_GLASS if pen.night else GLASS


def _car(pen: Pen, ink: Ink) -> None:
    pen.ellipse(0.5, 0.01, 0.50, 0.035, SHADOW)
    pen.polygon([(0.15, 0.25), (0.31, 0.45), (0.36, 0.47), (0.63, 0.47), (0.68, 0.45), (0.86, 0.25)], ink)
    pen.rect(0, 0.08, 1, 0.29, ink, 0.08)
    pen.rect(0.02, 0.08, 0.98, 0.13, darker(ink), 0.02)
    pen.polygon([(0.24, 0.28), (0.35, 0.42), (0.48, 0.42), (0.48, 0.28)], _glass(pen))
    pen.polygon([(0.52, 0.28), (0.52, 0.42), (0.63, 0.42), (0.76, 0.28)], _glass(pen))
    pen.polygon([(0.28, 0.28), (0.38, 0.42), (0.42, 0.42), (0.33, 0.28)], (255, 255, 255, 110))
    pen.rect(0.54, 0.215, 0.62, 0.235, darker(ink, 0.35), 0.01)
    pen.rect(0.06, 0.245, 0.94, 0.265, (255, 255, 255, 60), 0.01)
    pen.ellipse(0.965, 0.21, 0.035, 0.04, (255, 240, 170))
    pen.rect(0, 0.18, 0.045, 0.24, (190, 30, 40), 0.015)
    if pen.night:
        pen.polygon([(0.97, 0.22), (1.28, 0.28), (1.28, 0.02), (0.97, 0.19)], (255, 240, 160, 70))
    for x in (0.23, 0.77):
        pen.slice(x, 0.10, 0.125, 0.125, 0, 180, darker(ink, 0.45))
        _wheel(pen, x, 0.1)


def _bus(pen: Pen, ink: Ink) -> None:
    pen.ellipse(0.5, 0.01, 0.50, 0.035, SHADOW)
    pen.rect(0, 0.07, 1, 0.54, ink, 0.05)
    pen.rect(0.01, 0.07, 0.99, 0.12, darker(ink), 0.02)
    pen.rect(0, 0.19, 1, 0.225, lighter(ink, 0.75))
    for i in range(4):
        pen.rect(0.05 + i * 0.175, 0.28, 0.20 + i * 0.175, 0.46, _glass(pen), 0.02)
        pen.polygon(
            [(0.07 + i * 0.175, 0.29), (0.12 + i * 0.175, 0.45), (0.15 + i * 0.175, 0.45), (0.1 + i * 0.175, 0.29)],
            (255, 255, 255, 100),
        )
    pen.rect(0.77, 0.10, 0.88, 0.46, lighter(_glass(pen), 0.25), 0.015)
    pen.line([(0.825, 0.10), (0.825, 0.46)], 0.012, darker(ink, 0.3))
    pen.rect(0.92, 0.27, 1, 0.46, _glass(pen), 0.02)
    pen.rect(0.05, 0.50, 0.95, 0.515, (255, 255, 255, 90), 0.006)
    pen.disc(0.965, 0.15, 0.026, (255, 240, 170))
    for x in (0.2, 0.68):
        _wheel(pen, x, 0.09)


def _truck(pen: Pen, ink: Ink) -> None:
    pen.ellipse(0.5, 0.01, 0.50, 0.035, SHADOW)
    pen.rect(0.02, 0.09, 0.96, 0.17, (74, 78, 90), 0.01)
    pen.rect(0, 0.15, 0.63, 0.56, ink, 0.02)
    for x in (0.1, 0.2, 0.3, 0.4, 0.5):
        pen.rect(x, 0.19, x + 0.02, 0.52, darker(ink, 0.13))
    pen.rect(0.02, 0.525, 0.61, 0.545, (255, 255, 255, 90))
    pen.polygon([(0.66, 0.12), (0.66, 0.47), (0.84, 0.47), (0.92, 0.29), (1.0, 0.26), (1.0, 0.12)], ink)
    pen.polygon([(0.71, 0.29), (0.71, 0.43), (0.815, 0.43), (0.875, 0.29)], _glass(pen))
    pen.polygon([(0.73, 0.29), (0.77, 0.43), (0.80, 0.43), (0.76, 0.29)], (255, 255, 255, 110))
    pen.rect(0.66, 0.12, 1.0, 0.16, darker(ink), 0.01)
    pen.disc(0.975, 0.205, 0.026, (255, 240, 170))
    for x in (0.15, 0.33, 0.82):
        _wheel(pen, x, 0.09)


def _train(pen: Pen, ink: Ink) -> None:
    for i in range(-6, 22):  # sleepers and rails run through the whole picture
        pen.rect(i / 12, -0.022, i / 12 + 0.035, 0.004, (120, 92, 72, 255))
    pen.rect(-2, -0.006, 3, 0.008, (122, 128, 138, 255))
    pen.rect(0.02, 0.03, 0.96, 0.09, (66, 70, 82), 0.02)
    pen.rect(0, 0.07, 0.47, 0.38, ink, 0.025)
    pen.polygon([(0.49, 0.07), (0.49, 0.38), (0.84, 0.38), (0.93, 0.31), (1.0, 0.14), (1.0, 0.07)], ink)
    pen.rect(0.465, 0.10, 0.495, 0.34, (66, 70, 82))
    pen.rect(0, 0.13, 0.47, 0.165, lighter(ink, 0.8))
    pen.polygon([(0.49, 0.13), (0.49, 0.165), (0.992, 0.165), (1.0, 0.14), (1.0, 0.13)], lighter(ink, 0.8))
    for x in (0.04, 0.18, 0.32, 0.53, 0.66):
        pen.rect(x, 0.22, x + 0.105, 0.32, _glass(pen), 0.015)
        pen.polygon([(x + 0.02, 0.22), (x + 0.05, 0.32), (x + 0.075, 0.32), (x + 0.045, 0.22)], (255, 255, 255, 100))
    pen.polygon([(0.80, 0.22), (0.80, 0.33), (0.86, 0.33), (0.90, 0.30), (0.935, 0.22)], _glass(pen))
    pen.disc(0.965, 0.105, 0.02, (255, 240, 170))
    for x in (0.08, 0.19, 0.32, 0.41, 0.56, 0.67, 0.80, 0.90):
        pen.disc(x, 0.042, 0.042, DARK)
        pen.disc(x, 0.042, 0.018, STEEL)


def _airplane(pen: Pen, ink: Ink) -> None:
    pen.polygon([(0.56, 0.26), (0.38, 0.44), (0.31, 0.46), (0.40, 0.26)], darker(ink, 0.30))
    pen.polygon([(0.02, 0.46), (0.12, 0.46), (0.25, 0.28), (0.08, 0.24)], darker(ink, 0.12))
    pen.polygon([(0.0, 0.28), (0.14, 0.16), (0.78, 0.12), (0.90, 0.13), (0.78, 0.31), (0.20, 0.31)], ink)
    pen.ellipse(0.80, 0.215, 0.20, 0.097, ink)
    pen.polygon([(0.08, 0.205), (0.14, 0.155), (0.78, 0.118), (0.90, 0.134), (0.97, 0.17)], lighter(ink, 0.62))
    for i in range(6):
        pen.disc(0.28 + i * 0.082, 0.248, 0.021, _glass(pen))
    pen.polygon([(0.85, 0.235), (0.85, 0.285), (0.905, 0.275), (0.945, 0.235)], _glass(pen))
    pen.polygon([(0.62, 0.19), (0.40, 0.19), (0.16, 0.02), (0.22, 0.0), (0.30, 0.0)], darker(ink, 0.2))
    pen.rect(0.36, 0.04, 0.52, 0.10, (228, 232, 238), 0.03)
    pen.disc(0.51, 0.07, 0.028, DARK)
    pen.polygon([(0.0, 0.285), (0.03, 0.30), (0.16, 0.265), (0.10, 0.24)], darker(ink, 0.3))


def _boat(pen: Pen, ink: Ink) -> None:
    pen.ellipse(0.5, -0.02, 0.48, 0.05, (10, 40, 80, 70))
    pen.polygon([(0.3, 0), (0.5, -0.22), (0.7, 0)], (*lighter(ink, 0.3), 60))
    pen.rect(0.485, 0.18, 0.515, 1.0, (122, 88, 62))
    pen.polygon([(0.54, 0.26), (0.54, 0.95), (0.70, 0.68), (0.93, 0.26)], ink)
    pen.polygon([(0.54, 0.26), (0.54, 0.36), (0.885, 0.36), (0.93, 0.26)], darker(ink, 0.14))
    pen.polygon([(0.46, 0.26), (0.46, 0.86), (0.12, 0.26)], (250, 249, 244))
    pen.polygon([(0.46, 0.26), (0.46, 0.86), (0.39, 0.735), (0.34, 0.26)], (226, 230, 238))
    pen.polygon([(0.515, 1.0), (0.515, 0.94), (0.64, 0.97)], lighter(ink, 0.25))
    pen.polygon([(0.0, 0.22), (1.0, 0.22), (0.86, 0.04), (0.80, 0.0), (0.20, 0.0), (0.12, 0.04)], ink)
    pen.polygon([(0.0, 0.22), (1.0, 0.22), (0.965, 0.175), (0.035, 0.175)], lighter(ink, 0.7))
    pen.polygon([(0.12, 0.04), (0.20, 0.0), (0.80, 0.0), (0.86, 0.04)], darker(ink, 0.3))
    for x in (0.3, 0.5, 0.7):
        pen.disc(x, 0.105, 0.027, (250, 246, 226))
    for y, w in ((-0.035, 0.42), (-0.085, 0.28)):
        pen.rect(0.5 - w, y, 0.5 + w, y + 0.014, (255, 255, 255, 120), 0.007)


def _traffic_light(pen: Pen, ink: Ink) -> None:
    pen.ellipse(0.5, 0.02, 0.55, 0.09, SHADOW)
    pen.rect(0.16, 0, 0.84, 0.14, (72, 76, 88), 0.05)
    pen.rect(0.40, 0.05, 0.60, 1.1, (92, 98, 110))
    pen.rect(0.42, 0.05, 0.47, 1.1, (255, 255, 255, 60))
    pen.rect(0, 0.95, 1, 2.5, (52, 55, 66), 0.2)
    pen.rect(0.07, 1.02, 0.93, 2.43, (36, 38, 48), 0.16)
    lights = (("red", 2.14), ("yellow", 1.72), ("green", 1.30))
    for name, y in lights:
        lamp = {"red": (255, 60, 50), "yellow": (255, 212, 40), "green": (50, 220, 100)}[name]
        if ink == PAINT[name]:
            pen.disc(0.5, y, 0.42, (*lamp, 70))
            pen.disc(0.5, y, 0.27, lamp)
            pen.disc(0.43, y + 0.08, 0.09, (255, 255, 255, 170))
            pen.disc(0.5, y, 0.62, (*lamp, 34))
        else:
            pen.disc(0.5, y, 0.18, mix(lamp, (36, 38, 48), 0.76))


def _fire_hydrant(pen: Pen, ink: Ink) -> None:
    pen.ellipse(0.5, 0.03, 0.56, 0.08, SHADOW)
    pen.rect(0, 0.56, 1, 0.82, darker(ink, 0.12), 0.05)
    pen.rect(0, 0.53, 0.1, 0.85, darker(ink, 0.3), 0.03)
    pen.rect(0.9, 0.53, 1, 0.85, darker(ink, 0.3), 0.03)
    pen.rect(0.2, 0.08, 0.8, 1.02, ink, 0.03)
    pen.rect(0.26, 0.14, 0.36, 0.98, (255, 255, 255, 80), 0.04)
    pen.rect(0.66, 0.10, 0.8, 1.0, darker(ink, 0.16), 0.02)
    pen.slice(0.5, 1.03, 0.34, 0.26, 0, 180, ink)
    pen.rect(0.12, 0.97, 0.88, 1.07, darker(ink, 0.22), 0.04)
    pen.rect(0.42, 1.25, 0.58, 1.4, darker(ink, 0.22), 0.03)
    pen.disc(0.5, 0.68, 0.19, darker(ink, 0.28))
    pen.disc(0.5, 0.68, 0.12, lighter(ink, 0.35))
    pen.rect(0.12, 0.2, 0.88, 0.28, darker(ink, 0.18), 0.03)
    pen.rect(0.06, 0, 0.94, 0.12, darker(ink, 0.28), 0.03)


def _stop_sign(pen: Pen, ink: Ink) -> None:
    pen.ellipse(0.5, 0.01, 0.3, 0.05, SHADOW)
    pen.rect(0.45, 0, 0.55, 0.9, STEEL)
    pen.rect(0.46, 0, 0.49, 0.9, (255, 255, 255, 90))

    def octagon(r: float) -> list[Point]:
        r /= math.cos(math.pi / 8)
        return [
            (0.5 + r * math.cos(math.pi / 8 + k * math.pi / 4), 1.25 + r * math.sin(math.pi / 8 + k * math.pi / 4))
            for k in range(8)
        ]

    pen.polygon(octagon(0.5), darker(ink, 0.15))
    pen.polygon(octagon(0.48), (252, 250, 248))
    pen.polygon(octagon(0.43), ink)
    white, low, high, w = (252, 250, 248), 1.12, 1.38, 0.045
    middle = (low + high) / 2
    pen.line(
        [(0.29, high - 0.02), (0.27, high), (0.18, high), (0.16, high - 0.05), (0.18, middle), (0.27, middle),
         (0.29, middle - 0.05), (0.27, low), (0.18, low), (0.16, low + 0.02)], w, white)  # fmt: skip
    pen.line([(0.33, high), (0.49, high)], w, white)
    pen.line([(0.41, high), (0.41, low - 0.02)], w, white)
    pen.ellipse(0.585, middle, 0.085, 0.15, white)
    pen.ellipse(0.585, middle, 0.04, 0.105, ink)
    pen.line([(0.73, low - 0.02), (0.73, high), (0.81, high), (0.845, high - 0.06), (0.81, middle - 0.01),
              (0.73, middle - 0.01)], w, white)  # fmt: skip


def _bench(pen: Pen, ink: Ink) -> None:
    pen.ellipse(0.5, 0.01, 0.52, 0.04, SHADOW)
    for x in (0.10, 0.84):
        pen.rect(x, 0, x + 0.06, 0.56, (70, 72, 84), 0.015)
        pen.rect(x - 0.03, 0, x + 0.09, 0.03, (70, 72, 84), 0.01)
    for y, shade in ((0.50, 0.0), (0.39, 0.06), (0.28, 0.12)):
        pen.rect(0.02, y, 0.98, y + 0.10 if y > 0.45 else y + 0.085, darker(ink, shade), 0.02)
        pen.rect(0.04, y + 0.065, 0.96, y + 0.075, (255, 255, 255, 60))
    pen.rect(0, 0.17, 1, 0.25, lighter(ink, 0.12), 0.02)
    pen.rect(0.01, 0.15, 0.99, 0.185, darker(ink, 0.3), 0.01)


def _bird(pen: Pen, ink: Ink) -> None:
    pen.polygon([(0.30, 0.30), (0.0, 0.38), (0.04, 0.26), (0.0, 0.18), (0.30, 0.20)], darker(ink, 0.18))
    pen.polygon([(0.38, 0.30), (0.44, 0.66), (0.56, 0.76), (0.66, 0.30)], darker(ink, 0.34))
    pen.ellipse(0.52, 0.24, 0.31, 0.17, ink)
    pen.slice(0.54, 0.24, 0.25, 0.17, 195, 345, lighter(ink, 0.6))
    pen.disc(0.77, 0.36, 0.145, ink)
    pen.polygon([(0.89, 0.41), (1.0, 0.35), (0.89, 0.31)], (250, 168, 44))
    pen.polygon([(0.32, 0.26), (0.22, 0.62), (0.28, 0.80), (0.42, 0.72), (0.62, 0.30), (0.52, 0.20)], darker(ink, 0.12))
    pen.polygon([(0.30, 0.62), (0.31, 0.75), (0.41, 0.68), (0.46, 0.56)], lighter(ink, 0.3))
    pen.disc(0.80, 0.40, 0.034, WHITE)
    pen.disc(0.808, 0.40, 0.022, (28, 28, 38))
    for x in (0.46, 0.54):
        pen.line([(x, 0.09), (x - 0.07, 0.015)], 0.022, (236, 150, 44))
    pen.rect(0.39, 0.0, 0.47, 0.02, (236, 150, 44))


def _sheep(pen: Pen, ink: Ink) -> None:
    skin = (58, 54, 62) if ink != PAINT["black"] else (206, 182, 160)
    pen.ellipse(0.48, 0.015, 0.44, 0.035, SHADOW)
    for x in (0.18, 0.30, 0.56, 0.68):
        pen.rect(x, 0, x + 0.065, 0.26, skin, 0.02)
    for x, y, r in ((0.16, 0.36, 0.16), (0.26, 0.50, 0.17), (0.44, 0.54, 0.18), (0.62, 0.50, 0.17),
                    (0.70, 0.36, 0.15), (0.54, 0.28, 0.15), (0.34, 0.27, 0.15)):  # fmt: skip
        pen.disc(x, y, r, ink)
    pen.ellipse(0.43, 0.38, 0.3, 0.2, ink)
    for x, y, r in ((0.28, 0.36, 0.08), (0.46, 0.44, 0.09), (0.58, 0.32, 0.07)):
        pen.slice(x, y, r, r, 200, 340, darker(ink, 0.12))
    pen.polygon([(0.74, 0.56), (0.66, 0.62), (0.70, 0.48)], skin)
    pen.ellipse(0.85, 0.46, 0.15, 0.17, skin)
    pen.disc(0.78, 0.60, 0.085, ink)
    pen.disc(0.86, 0.63, 0.085, ink)
    pen.disc(0.89, 0.50, 0.030, WHITE)
    pen.disc(0.897, 0.50, 0.017, (24, 24, 32))


def _umbrella(pen: Pen, ink: Ink) -> None:
    pen.ellipse(0.5, 0.01, 0.32, 0.035, SHADOW)
    pen.rect(0.48, 0, 0.52, 0.95, (232, 226, 214))
    pen.rect(0.505, 0, 0.52, 0.9, (196, 186, 172))
    pen.slice(0.5, 0.52, 0.5, 0.44, 0, 180, ink)
    pale = lighter(ink, 0.72)
    pen.polygon(_rib(-0.64) + _rib(-0.25)[::-1], pale)
    pen.polygon(_rib(0.25) + _rib(0.64)[::-1], pale)
    for i in range(5):
        shade = pale if i in (1, 3) else ink
        pen.slice(0.1 + i * 0.2, 0.525, 0.1, 0.045, 180, 360, darker(shade, 0.14))
    pen.rect(0.48, 0.93, 0.52, 1.0, (232, 226, 214), 0.015)


def _rib(part: float) -> list[Point]:
    """A seam of the umbrella from its rim to its top; `part` is -1 at the left rim and 1 at the right."""
    return [(0.5 + part * 0.5 * math.cos(t), 0.52 + 0.44 * math.sin(t)) for t in np.linspace(0, math.pi / 2, 10)]


def _sports_ball(pen: Pen, ink: Ink) -> None:
    pen.ellipse(0.5, 0.02, 0.42, 0.06, SHADOW)
    pen.disc(0.5, 0.5, 0.5, ink)
    stripe = (252, 251, 248) if ink != PAINT["white"] else (70, 74, 90)

    def meridian(part: float) -> list[Point]:
        return [(0.5 + 0.5 * part * math.cos(t), 0.5 + 0.5 * math.sin(t)) for t in np.linspace(-1.5708, 1.5708, 16)]

    pen.polygon(meridian(-0.80) + meridian(-0.46)[::-1], stripe)
    pen.polygon(meridian(0.32) + meridian(0.70)[::-1], stripe)
    _roundness(pen, 0.5, 0.5, 0.5, 0.5, (20, 16, 40, 44))
    pen.ellipse(0.36, 0.74, 0.10, 0.07, (255, 255, 255, 150))
    pen.disc(0.5, 0.965, 0.035, darker(stripe, 0.1))


def _kite(pen: Pen, ink: Ink) -> None:
    tail = [(0.5, 0.38), (0.58, 0.28), (0.44, 0.18), (0.56, 0.09), (0.50, 0.0)]
    pen.line([(0.5, 0.8), (0.2, -0.6)], 0.012, (255, 255, 255, 120))
    pen.line(tail, 0.025, darker(ink, 0.25))
    for (x, y), shade in zip(tail[1:4], (0.0, 0.5, 0.0), strict=True):
        bow = lighter(ink, shade)
        pen.polygon([(x, y), (x - 0.10, y + 0.05), (x - 0.10, y - 0.05)], bow)
        pen.polygon([(x, y), (x + 0.10, y + 0.05), (x + 0.10, y - 0.05)], bow)
    top, left, right, bottom, middle = (0.5, 1.3), (0.0, 0.92), (1.0, 0.92), (0.5, 0.36), (0.5, 0.92)
    pen.polygon([top, left, middle], ink)
    pen.polygon([top, right, middle], lighter(ink, 0.42))
    pen.polygon([left, bottom, middle], lighter(ink, 0.42))
    pen.polygon([right, bottom, middle], darker(ink, 0.10))
    pen.line([top, bottom], 0.022, darker(ink, 0.4))
    pen.line([left, right], 0.022, darker(ink, 0.4))


def _cup(pen: Pen, ink: Ink) -> None:
    pen.ellipse(0.42, 0.02, 0.46, 0.05, SHADOW)
    ring = [(0.77 + 0.19 * math.cos(t), 0.44 + 0.21 * math.sin(t)) for t in np.linspace(-1.75, 1.75, 18)]
    pen.line(ring, 0.085, darker(ink, 0.1))
    pen.polygon([(0, 0.76), (0.78, 0.76), (0.70, 0.08), (0.64, 0.02), (0.14, 0.02), (0.08, 0.08)], ink)
    pen.ellipse(0.39, 0.045, 0.27, 0.045, ink)
    pen.polygon([(0.60, 0.76), (0.78, 0.76), (0.70, 0.08), (0.58, 0.03)], darker(ink, 0.12))
    pen.polygon([(0.09, 0.66), (0.18, 0.66), (0.21, 0.14), (0.16, 0.14)], (255, 255, 255, 100))
    pen.ellipse(0.39, 0.76, 0.39, 0.10, lighter(ink, 0.35))
    pen.ellipse(0.39, 0.75, 0.33, 0.072, (92, 56, 38))
    pen.ellipse(0.36, 0.765, 0.18, 0.03, (136, 90, 60))
    for x in (0.28, 0.48):
        wave = [(x + 0.035 * math.sin(t * 2.2), 0.86 + 0.10 * t) for t in np.linspace(0, 3, 12)]
        pen.line(wave, 0.035, (255, 255, 255, 120))


def _banana(pen: Pen, ink: Ink) -> None:
    pen.ellipse(0.5, 0.02, 0.38, 0.045, SHADOW)
    outer = [(0.5 + 0.5 * math.cos(t), 0.50 + 0.5 * math.sin(t)) for t in np.linspace(math.pi, 2 * math.pi, 25)]
    inner = [(0.5 + 0.42 * math.cos(t), 0.53 + 0.25 * math.sin(t)) for t in np.linspace(2 * math.pi, math.pi, 25)]
    pen.polygon(outer + inner, ink)
    ridge = [(0.5 + 0.46 * math.cos(t), 0.52 + 0.38 * math.sin(t)) for t in np.linspace(3.35, 6.1, 20)]
    pen.polygon(outer[3:-3] + ridge[::-1], darker(ink, 0.14))
    pen.line(ridge, 0.018, darker(ink, 0.26))
    pen.line(
        [(0.5 + 0.43 * math.cos(t), 0.53 + 0.30 * math.sin(t)) for t in np.linspace(3.7, 5.0, 12)],
        0.022,
        (255, 255, 255, 130),
    )
    pen.polygon([(0.0, 0.50), (0.08, 0.53), (0.07, 0.58), (0.01, 0.58)], (112, 78, 44))
    pen.polygon([(1.0, 0.50), (0.92, 0.53), (0.955, 0.575), (0.995, 0.56)], (112, 78, 44))


def _apple(pen: Pen, ink: Ink) -> None:
    pen.ellipse(0.5, 0.03, 0.42, 0.06, SHADOW)
    pen.ellipse(0.34, 0.48, 0.34, 0.40, ink)
    pen.ellipse(0.66, 0.48, 0.34, 0.40, ink)
    pen.ellipse(0.40, 0.20, 0.22, 0.20, ink)
    pen.ellipse(0.60, 0.20, 0.22, 0.20, ink)
    _roundness(pen, 0.5, 0.45, 0.49, 0.45, (40, 10, 40, 40))
    pen.ellipse(0.5, 0.83, 0.13, 0.045, darker(ink, 0.3))
    pen.line([(0.5, 0.82), (0.51, 0.94), (0.56, 1.06)], 0.055, (104, 70, 44))
    leaf = [(0.53, 0.93), (0.62, 1.07), (0.78, 1.10), (0.86, 1.05), (0.78, 0.93), (0.64, 0.88)]
    pen.polygon(leaf, (86, 174, 76) if ink != PAINT["green"] else (44, 116, 60))
    pen.ellipse(0.25, 0.63, 0.075, 0.12, (255, 255, 255, 150))


def _orange(pen: Pen, ink: Ink) -> None:
    pen.ellipse(0.5, 0.02, 0.42, 0.06, SHADOW)
    pen.disc(0.5, 0.5, 0.5, ink)
    _roundness(pen, 0.5, 0.5, 0.5, 0.5, (140, 40, 0, 56))
    for x, y in ((0.30, 0.36), (0.44, 0.24), (0.62, 0.34), (0.76, 0.48), (0.56, 0.52), (0.40, 0.60), (0.70, 0.68)):
        pen.disc(x, y, 0.022, darker(ink, 0.16))
    pen.ellipse(0.30, 0.72, 0.10, 0.075, (255, 255, 255, 150))
    pen.polygon([(0.50, 0.93), (0.60, 1.03), (0.74, 1.04), (0.86, 0.96), (0.72, 0.90)], (74, 158, 74))
    pen.disc(0.5, 0.95, 0.045, (96, 120, 52))


def _donut(pen: Pen, ink: Ink) -> None:
    pen.ellipse(0.5, 0.03, 0.50, 0.055, SHADOW)
    dough = (222, 164, 98)
    pen.ellipse(0.5, 0.25, 0.5, 0.25, darker(dough, 0.12))
    pen.ellipse(0.5, 0.33, 0.5, 0.27, dough)
    rim = []
    for t in np.linspace(0, 2 * math.pi, 49):
        drip = 1 + 0.035 * math.sin(7 * t)
        rim.append((0.5 + 0.475 * drip * math.cos(t), 0.37 + 0.26 * drip * math.sin(t)))
    pen.polygon(rim, ink)
    pen.slice(0.5, 0.38, 0.40, 0.20, 100, 175, lighter(ink, 0.35))
    pen.slice(0.5, 0.37, 0.36, 0.165, 95, 180, ink)
    pen.ellipse(0.5, 0.375, 0.16, 0.085, darker(dough, 0.5))
    pen.slice(0.5, 0.36, 0.15, 0.075, 180, 360, darker(dough, 0.1))
    sprinkles = (PAINT["yellow"], WHITE, PAINT["red"], (70, 170, 240), PAINT["green"])
    for i in range(14):
        t, r = i * 0.4488 + 0.2, 0.66 + 0.12 * (i % 3 - 1)
        x, y = 0.5 + 0.46 * r * math.cos(t), 0.375 + 0.245 * r * math.sin(t)
        turn = i * 1.9
        dx, dy = 0.026 * math.cos(turn), 0.018 * math.sin(turn)
        pen.line([(x - dx, y - dy), (x + dx, y + dy)], 0.022, sprinkles[i % 5])


def _cake(pen: Pen, ink: Ink) -> None:
    sponge = (236, 196, 132) if ink != PAINT["brown"] else (112, 68, 44)
    pen.ellipse(0.5, 0.03, 0.52, 0.06, SHADOW)
    pen.ellipse(0.5, 0.06, 0.5, 0.06, (206, 214, 224))
    pen.ellipse(0.5, 0.075, 0.5, 0.055, (240, 244, 248))
    pen.ellipse(0.5, 0.12, 0.40, 0.05, darker(sponge, 0.1))
    pen.rect(0.10, 0.12, 0.90, 0.56, sponge)
    pen.ellipse(0.5, 0.30, 0.40, 0.04, lighter(ink, 0.2))
    pen.rect(0.10, 0.30, 0.90, 0.345, lighter(ink, 0.2))
    pen.rect(0.10, 0.44, 0.90, 0.58, ink)
    for i, drop in enumerate((0.10, 0.05, 0.13, 0.07, 0.12, 0.05, 0.09)):
        x = 0.10 + 0.8 * i / 7
        pen.rect(x, 0.44 - drop, x + 0.8 / 7 + 0.001, 0.5, ink, 0.055)
    pen.ellipse(0.5, 0.58, 0.40, 0.075, lighter(ink, 0.28))
    pen.rect(0.80, 0.14, 0.90, 0.56, (30, 10, 40, 26))
    for x, stick in ((0.28, PAINT["red"]), (0.5, PAINT["blue"]), (0.72, PAINT["red"])):
        pen.rect(x - 0.022, 0.58, x + 0.022, 0.80, lighter(stick, 0.3))
        pen.rect(x - 0.022, 0.65, x + 0.022, 0.69, WHITE)
        pen.disc(x, 0.86, 0.09, (255, 220, 120, 60))
        pen.polygon([(x, 0.92), (x + 0.036, 0.84), (x, 0.80), (x - 0.036, 0.84)], (255, 190, 50))


def _couch(pen: Pen, ink: Ink) -> None:
    pen.ellipse(0.5, 0.01, 0.50, 0.035, SHADOW)
    for x in (0.08, 0.86):
        pen.rect(x, 0, x + 0.06, 0.08, (110, 74, 48))
    pen.rect(0.05, 0.12, 0.95, 0.52, ink, 0.08)
    pen.rect(0.10, 0.25, 0.495, 0.48, lighter(ink, 0.12), 0.05)
    pen.rect(0.505, 0.25, 0.90, 0.48, lighter(ink, 0.12), 0.05)
    pen.rect(0.05, 0.06, 0.95, 0.2, darker(ink, 0.16), 0.03)
    pen.rect(0.11, 0.17, 0.497, 0.28, lighter(ink, 0.22), 0.035)
    pen.rect(0.503, 0.17, 0.89, 0.28, lighter(ink, 0.22), 0.035)
    pen.rect(0, 0.06, 0.13, 0.36, darker(ink, 0.06), 0.055)
    pen.rect(0.87, 0.06, 1, 0.36, darker(ink, 0.06), 0.055)
    pillow = (250, 244, 226) if ink != PAINT["white"] else (238, 186, 96)
    pen.polygon([(0.17, 0.25), (0.15, 0.41), (0.31, 0.44), (0.34, 0.27)], pillow)


def _potted_plant(pen: Pen, ink: Ink) -> None:
    pen.ellipse(0.5, 0.03, 0.40, 0.06, SHADOW)
    leaf, shade = (66, 164, 84), (42, 128, 70)
    for angle, reach, tone in (
        (150, 0.60, shade),
        (30, 0.60, shade),
        (122, 0.76, leaf),
        (58, 0.76, leaf),
        (90, 0.86, shade),
    ):
        t = math.radians(angle)
        dx, dy = math.cos(t), math.sin(t)
        tip = (0.5 + reach * dx * 0.96, 0.54 + reach * dy)
        middle = (0.5 + reach * 0.55 * dx, 0.54 + reach * 0.55 * dy)
        blade = [
            (0.5, 0.5),
            (middle[0] - 0.115 * dy, middle[1] + 0.115 * dx),
            (tip[0] - 0.04 * dy - 0.03 * dx, tip[1] - 0.08 * dy),
            tip,
            (middle[0] + 0.115 * dy, middle[1] - 0.115 * dx),
        ]
        pen.polygon(blade, tone)
        pen.line([(0.5, 0.54), tip], 0.02, lighter(tone, 0.3))
    pen.polygon([(0.17, 0.46), (0.83, 0.46), (0.70, 0.0), (0.30, 0.0)], ink)
    pen.polygon([(0.64, 0.46), (0.83, 0.46), (0.70, 0.0), (0.58, 0.0)], darker(ink, 0.16))
    pen.rect(0.12, 0.42, 0.88, 0.56, lighter(ink, 0.16), 0.03)
    pen.rect(0.14, 0.41, 0.86, 0.435, darker(ink, 0.25))
    pen.polygon([(0.27, 0.38), (0.33, 0.38), (0.38, 0.06), (0.34, 0.06)], (255, 255, 255, 90))


def _clock(pen: Pen, ink: Ink) -> None:
    pen.disc(0.53, 0.47, 0.49, (20, 20, 40, 44))
    pen.disc(0.5, 0.5, 0.5, ink)
    pen.disc(0.5, 0.5, 0.40, darker(ink, 0.25))
    pen.disc(0.5, 0.5, 0.375, (253, 250, 240))
    for hour in range(12):
        t = math.radians(hour * 30)
        inner = 0.27 if hour % 3 == 0 else 0.31
        pen.line(
            [
                (0.5 + inner * math.cos(t), 0.5 + inner * math.sin(t)),
                (0.5 + 0.345 * math.cos(t), 0.5 + 0.345 * math.sin(t)),
            ],
            0.03 if hour % 3 == 0 else 0.018,
            (60, 60, 72),
        )
    pen.line([(0.5, 0.5), (0.36, 0.62)], 0.05, (44, 44, 56))
    pen.line([(0.5, 0.5), (0.66, 0.70)], 0.036, (44, 44, 56))
    pen.disc(0.5, 0.5, 0.04, PAINT["red"])
    pen.slice(0.5, 0.5, 0.46, 0.46, 110, 160, (255, 255, 255, 70))


def _vase(pen: Pen, ink: Ink) -> None:
    pen.ellipse(0.5, 0.03, 0.42, 0.07, SHADOW)
    petals = (246, 128, 172) if ink != PAINT["red"] else (252, 206, 46)
    for x, y, r, petal in ((0.2, 1.32, 0.2, petals), (0.8, 1.36, 0.2, (255, 250, 244)), (0.5, 1.53, 0.22, petals)):
        pen.line([(0.5, 0.9), (x, y)], 0.04, (66, 150, 78))
        for k in range(5):
            t = math.radians(90 + 72 * k)
            pen.disc(x + 0.55 * r * math.cos(t), y + 0.55 * r * math.sin(t), 0.47 * r, petal)
        pen.disc(x, y, 0.32 * r, (252, 190, 50) if petal != (252, 206, 46) else (200, 90, 40))
    pen.polygon([(0.5, 0.95), (0.24, 1.12), (0.30, 1.02)], (66, 150, 78))
    pen.polygon([(0.5, 0.95), (0.78, 1.10), (0.68, 1.0)], (66, 150, 78))
    profile = (
        (0.24, 0.0),
        (0.30, 0.06),
        (0.44, 0.28),
        (0.5, 0.46),
        (0.44, 0.64),
        (0.27, 0.80),
        (0.22, 0.90),
        (0.29, 1.0),
    )
    pen.polygon([(0.5 - w, y) for w, y in profile] + [(0.5 + w, y) for w, y in reversed(profile)], ink)
    pen.polygon(
        [(0.5 + 0.35 * w, y) for w, y in profile] + [(0.5 + w, y) for w, y in reversed(profile)], darker(ink, 0.14)
    )
    pen.rect(0.005, 0.42, 0.995, 0.50, lighter(ink, 0.55))
    pen.rect(0.21, 0.96, 0.79, 1.02, lighter(ink, 0.25), 0.03)
    pen.ellipse(0.23, 0.60, 0.05, 0.1, (255, 255, 255, 130))


def _teddy_bear(pen: Pen, ink: Ink) -> None:
    pale = lighter(ink, 0.5) if ink != PAINT["white"] else (240, 214, 196)
    pen.ellipse(0.5, 0.02, 0.50, 0.05, SHADOW)
    for x in (0.24, 0.76):
        pen.disc(x, 1.06, 0.14, darker(ink, 0.1))
        pen.disc(x, 1.06, 0.08, pale)
    pen.ellipse(0.13, 0.44, 0.13, 0.22, darker(ink, 0.12))
    pen.ellipse(0.87, 0.44, 0.13, 0.22, darker(ink, 0.12))
    pen.ellipse(0.5, 0.38, 0.33, 0.34, ink)
    pen.ellipse(0.5, 0.38, 0.21, 0.23, pale)
    pen.ellipse(0.5, 0.85, 0.36, 0.30, ink)
    pen.ellipse(0.5, 0.76, 0.17, 0.13, pale)
    for x in (0.22, 0.78):
        pen.disc(x, 0.16, 0.16, darker(ink, 0.1))
        pen.disc(x, 0.16, 0.09, pale)
    for x in (0.36, 0.64):
        pen.disc(x, 0.92, 0.04, (36, 32, 38))
        pen.disc(x + 0.012, 0.932, 0.014, WHITE)
    pen.ellipse(0.5, 0.80, 0.06, 0.042, (52, 40, 40))
    pen.line([(0.44, 0.72), (0.5, 0.695), (0.56, 0.72)], 0.022, (52, 40, 40))
    pen.polygon([(0.5, 0.60), (0.36, 0.66), (0.36, 0.53)], PAINT["red"])
    pen.polygon([(0.5, 0.60), (0.64, 0.66), (0.64, 0.53)], PAINT["red"])
    pen.disc(0.5, 0.60, 0.04, darker(PAINT["red"]))


_PAINTERS: dict[str, Callable[[Pen, Ink], None]] = {
    "car": _car,
    "airplane": _airplane,
    "bus": _bus,
    "train": _train,
    "truck": _truck,
    "boat": _boat,
    "traffic light": _traffic_light,
    "fire hydrant": _fire_hydrant,
    "stop sign": _stop_sign,
    "bench": _bench,
    "bird": _bird,
    "sheep": _sheep,
    "umbrella": _umbrella,
    "sports ball": _sports_ball,
    "kite": _kite,
    "cup": _cup,
    "banana": _banana,
    "apple": _apple,
    "orange": _orange,
    "donut": _donut,
    "cake": _cake,
    "couch": _couch,
    "potted plant": _potted_plant,
    "clock": _clock,
    "vase": _vase,
    "teddy bear": _teddy_bear,
}


# ------------------------------------------------------------------------------------------------- pictures


@dataclass(frozen=True)
class Shape:
    """The visible part of one object, in pixels of the picture."""

    box: tuple[float, float, float, float]  # left, top, width, height
    area: float
    outline: tuple[float, ...]  # x, y, x, y, ... around it


@dataclass(frozen=True)
class Drawing:
    """A picture (RGB, size x size) and the shapes of the scene's objects, in their order."""

    picture: Image.Image
    shapes: tuple[Shape, ...]


def draw_scene(scene: Scene, size: int) -> Image.Image:
    """The scene as an RGB picture of size x size pixels.

    Raises:
        ValueError: if `size` is below 16.
    """
    return render_scene(scene, size).picture


def render_scene(scene: Scene, size: int) -> Drawing:
    """The scene as a picture of size x size pixels, with the shapes of its objects.

    Raises:
        ValueError: if `size` is below 16.
    """
    if size < 16:
        raise ValueError(f"size must be at least 16 pixels, not {size}")
    fineness = 4 if size <= 128 else 3
    side = size * fineness
    picture = Image.new("RGB", (side, side))
    owners = Image.new("L", (side, side), 0)
    ink = ImageDraw.Draw(picture, "RGBA")
    marks = ImageDraw.Draw(owners)
    air, far_air, near_air = _AIR[scene.weather]
    night = scene.weather == "night"
    rng = random.Random(scene.detail)

    far = Pen(ink, marks, side, air=(air, far_air))
    near = Pen(ink, marks, side, air=(air, far_air * 0.75), night=night)
    _paint_background(scene, picture, Pen(ink, marks, side), far, near, rng)
    for number, thing in enumerate(scene.objects, start=1):
        pen = Pen(
            ink,
            marks,
            side,
            left=thing.left,
            base=thing.top + thing.height,
            width=thing.width,
            mirrored=thing.mirrored and thing.kind not in ("stop sign", "clock"),  # their text or dial must be readable
            owner=number,
            air=(air, near_air),
            night=night,
        )
        _PAINTERS[thing.kind](pen, PAINT[thing.colour])
    _fall(Pen(ink, marks, side), scene.weather, rng)

    owned = np.asarray(owners)
    shapes = tuple(_shape(owned == number, fineness) for number in range(1, len(scene.objects) + 1))
    return Drawing(picture.reduce(fineness), shapes)


def _paint_background(scene: Scene, picture: Image.Image, clear: Pen, far: Pen, near: Pen, rng: random.Random) -> None:
    if scene.weather != "indoors":
        painter, horizon = _OUTDOORS[scene.background]
        side = picture.width
        picture.paste(_gradient(_SKY[scene.weather], side, round(side * (1 - horizon) + 1)), (0, 0))
        # Hills may leave a gap below the horizon: continue the lowest sky colour.
        picture.paste(_SKY[scene.weather][-1], (0, round(side * (1 - horizon)), side, side))
        _sky(clear, rng, scene.weather, horizon)
        painter(far, near, rng)
    elif scene.background == "wooden table":
        _wooden_table(near, rng)
    elif scene.background == "tablecloth":
        _cloth_table(near, rng, PAINT[scene.colour or "red"])
    else:
        _room(near, rng, PAINT[scene.colour or "blue"])


def _fall(pen: Pen, weather: str, rng: random.Random) -> None:
    """Draws rain, snow or mist in front of everything."""
    if weather == "rain":
        for _ in range(70):
            x, y, length = rng.uniform(-0.05, 1.05), rng.random(), rng.uniform(0.03, 0.07)
            pen.line([(x, y), (x - 0.3 * length, y - length)], 0.004, (226, 238, 250, 150))
    elif weather == "snowing":
        for _ in range(75):
            pen.disc(rng.random(), rng.random(), rng.choice((0.005, 0.007, 0.010)), (255, 255, 255, 235))
    elif weather == "fog":
        for _ in range(5):
            y, h = rng.uniform(0.1, 0.62), rng.uniform(0.03, 0.07)
            pen.rect(-0.1, y, 1.1, y + h, (236, 240, 240, 44), h / 2)


def _shape(mine: np.ndarray, fineness: int) -> Shape:
    """The shape of an object from the canvas pixels that it owns (side x side, bool)."""
    rows = np.flatnonzero(mine.any(axis=1))
    columns = np.flatnonzero(mine.any(axis=0))
    if not rows.size:
        return Shape((0.0, 0.0, 0.0, 0.0), 0.0, ())
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    # The outline follows the left edge down and the right edge up, which is exact except for overhangs.
    steps = np.unique(np.linspace(0, rows.size - 1, 20).round().astype(int))
    levels = rows[steps]
    lefts = mine[levels].argmax(axis=1)
    rights = mine.shape[1] - mine[levels, ::-1].argmax(axis=1)
    heights = levels + (np.arange(levels.size) == levels.size - 1)  # the last row has its lower edge
    down = np.stack([lefts, heights], axis=1)
    up = np.stack([rights, heights], axis=1)[::-1]
    outline = np.concatenate([down, up]).reshape(-1) / fineness
    box = (left / fineness, top / fineness, (right - left) / fineness, (bottom - top) / fineness)
    return Shape(box, float(mine.sum()) / fineness**2, tuple(outline.tolist()))
