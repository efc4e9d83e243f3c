"""Words that captions of Scenes use, and the captions of a scene by its index."""

from xmcgan.scenes import (
    World,
    describe,
    sample_scene,
)
from xmcgan.scenes.scene import stream

SIDED = World(sides=1.0, largest=0.8)


def captions_of(index: int, split: str = "train", world: World | None = None) -> tuple[str, ...]:
    world = world or World()
    scene = sample_scene(0, split, index, world)
    return describe(scene, stream(0, split, index, "captions"), sides=world.sides)


# A reader of its own, with its own words, so that writer and reader cannot share a mistake.
WORDS = {
    "car": "cars?|automobiles?|sedans?",
    "airplane": "airplanes?|planes?|jets?",
    "bus": "(?:city )?bus(?:es)?",
    "train": "(?:passenger )?trains?",
    "truck": "(?:delivery )?trucks?",
    "boat": "boats?|sailboats?|sailing boats?",
    "traffic light": "traffic lights?|traffic signals?",
    "fire hydrant": "(?:fire )?hydrants?",
    "stop sign": "stop signs?",
    "bench": "(?:park )?bench(?:es)?",
    "bird": "birds?",
    "sheep": "sheep",
    "umbrella": "umbrellas?",
    "sports ball": "balls?",
    "kite": "kites?",
    "cup": "cups? of coffee|(?:coffee )?cups?|mugs?",
    "banana": "bananas?",
    "apple": "apples?",
    "orange": "oranges?",
    "donut": "donuts?|doughnuts?",
    "cake": "(?:birthday )?cakes?",
    "couch": "couch(?:es)?|sofas?",
    "potted plant": "potted plants?|plant pots?|plants?",
    "clock": "clocks?",
    "vase": "vases? with flowers|(?:flower )?vases?",
    "teddy bear": "teddy bears?|stuffed bears?",
}
