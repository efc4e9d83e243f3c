"""Find the COCO classes that a caption names, by words, plurals, synonyms and compounds with another meaning.

At each word the longest known phrase wins, so "hot dog" is not a dog and "train car" is not a car. A phrase can also
name no class ("apple computer"). Names inside the name of another class need no exclusion: "teddy bear" is a phrase
itself.

There are two readings. ``lists`` reproduces the published lists of semantic object accuracy (docs/soa.md), which were
made by searching for substrings that end with a space: "a dog on" is listed, "by a dog." is not. They use few synonyms.
``reader`` accepts every position and every synonym, as a person would.
"""

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple


class Category(NamedTuple):
    """A class of COCO's detection task."""

    label: int  # 0 to 79: index among the 80, used by YOLO and the names of the lists
    id: int  # 1 to 90: id in COCO's annotations
    name: str


COCO_NAMES = {
    1: "person",
    2: "bicycle",
    3: "car",
    4: "motorcycle",
    5: "airplane",
    6: "bus",
    7: "train",
    8: "truck",
    9: "boat",
    10: "traffic light",
    11: "fire hydrant",
    13: "stop sign",
    14: "parking meter",
    15: "bench",
    16: "bird",
    17: "cat",
    18: "dog",
    19: "horse",
    20: "sheep",
    21: "cow",
    22: "elephant",
    23: "bear",
    24: "zebra",
    25: "giraffe",
    27: "backpack",
    28: "umbrella",
    31: "handbag",
    32: "tie",
    33: "suitcase",
    34: "frisbee",
    35: "skis",
    36: "snowboard",
    37: "sports ball",
    38: "kite",
    39: "baseball bat",
    40: "baseball glove",
    41: "skateboard",
    42: "surfboard",
    43: "tennis racket",
    44: "bottle",
    46: "wine glass",
    47: "cup",
    48: "fork",
    49: "knife",
    50: "spoon",
    51: "bowl",
    52: "banana",
    53: "apple",
    54: "sandwich",
    55: "orange",
    56: "broccoli",
    57: "carrot",
    58: "hot dog",
    59: "pizza",
    60: "donut",
    61: "cake",
    62: "chair",
    63: "couch",
    64: "potted plant",
    65: "bed",
    67: "dining table",
    70: "toilet",
    72: "tv",
    73: "laptop",
    74: "mouse",
    75: "remote",
    76: "keyboard",
    77: "cell phone",
    78: "microwave",
    79: "oven",
    80: "toaster",
    81: "sink",
    82: "refrigerator",
    84: "book",
    85: "clock",
    86: "vase",
    87: "scissors",
    88: "teddy bear",
    89: "hair drier",
    90: "toothbrush",
}
"""Official names by official id, in official order; ten ids between 1 and 90 are unused."""

CATEGORIES = tuple(Category(label, id, name) for label, (id, name) in enumerate(COCO_NAMES.items()))

NAMED = {
    "person": "person, people, human, man, gentleman, woman, lady, child, kid, boy, girl, baby, toddler, guy, adult",
    "bicycle": "bicycle, bike",
    "car": "car, auto, racecar, sportscar",
    "motorcycle": "motorcycle, motor cycle, motorbike, motor bike, dirt bike, scooter",
    "airplane": "airplane, plane, jet, aircraft",
    "bus": "bus, minibus, schoolbus",
    "train": "train",
    "truck": "truck, firetruck, dumptruck",
    "boat": "boat, ship, sailboat, motorboat, rowboat, speedboat, houseboat, tugboat, steamboat, battleship",
    "traffic light": "traffic light",
    "fire hydrant": "hydrant, firehydrant",
    "stop sign": "stop sign, stopsign",
    "parking meter": "parking meter",
    "bench": "bench, workbench",
    "bird": "bird, hummingbird, blackbird, bluebird, seabird, shorebird",
    "cat": "cat, kitten",
    "dog": "dog, puppy",
    "horse": "horse, racehorse, workhorse",
    "sheep": "sheep",
    "cow": "cow",
    "elephant": "elephant",
    "bear": "bear",
    "zebra": "zebra",
    "giraffe": "giraffe",
    "backpack": "backpack, rucksack",
    "umbrella": "umbrella",
    "handbag": "handbag, hand bag, purse",
    "tie": "tie",
    "suitcase": "suitcase, suit case",
    "frisbee": "frisbee",
    "skis": "skis",
    "snowboard": "snowboard, snow board",
    "sports ball": "ball",
    "kite": "kite",
    "baseball bat": "baseball bat",
    "baseball glove": "baseball glove",
    "skateboard": "skateboard, skate board",
    "surfboard": "surfboard, surf board",
    "tennis racket": "racket",
    "bottle": "bottle",
    "wine glass": "wine glass",
    "cup": "cup, mug, teacup",
    "fork": "fork",
    "knife": "knife, pocketknife",
    "spoon": "spoon, teaspoon",
    "bowl": "bowl",
    "banana": "banana",
    "apple": "apple",
    "sandwich": "sandwich",
    "orange": "oranges",
    "broccoli": "broccoli",
    "carrot": "carrot",
    "hot dog": "hot dog, hotdog, chili dog, corn dog, cheese dog",
    "pizza": "pizza",
    "donut": "donut",
    "cake": "cake, cheesecake",
    "chair": "chair, armchair",
    "couch": "couch, sofa",
    "potted plant": "potted plant",
    "bed": "bed",
    "dining table": "table",
    "toilet": "toilet, toilet bowl",
    "tv": "tv, monitor, screen, flatscreen",
    "laptop": "laptop",
    "mouse": "computer mouse",
    "remote": "remote",
    "keyboard": "keyboard",
    "cell phone": "cell phone, mobile phone",
    "microwave": "microwave, microwave oven",
    "oven": "oven",
    "toaster": "toaster",
    "sink": "sink",
    "refrigerator": "refrigerator, fridge",
    "book": "book, notebook, textbook, cookbook, scrapbook, yearbook",
    "clock": "clock",
    "vase": "vase",
    "scissors": "scissors, scissor",
    "teddy bear": "teddy bear, teddybear",
    "hair drier": "hair dryer, hairdryer, hair drier, hairdrier",
    "toothbrush": "toothbrush, tooth brush",
}
"""Names of each class in both readings, singular if there is one. "orange" is left out: it is usually the colour."""

SYNONYMS = {
    "person": "teenager, infant, pedestrian, player, batter, catcher, pitcher, umpire, skier, snowboarder, surfer, "
    "skateboarder, skater, rider, cyclist, bicyclist, biker, driver, officer, policeman, fireman, cowboy, chef, bride, "
    "groom, student, tourist, passenger, soldier, worker, businessman, fisherman, couple, family, crowd",
    "car": "automobile, taxi, sedan, suv, limousine, minivan",
    "motorcycle": "moped",
    "airplane": "aeroplane, biplane, seaplane, jetliner, airliner",
    "train": "locomotive",
    "truck": "pickup",
    "boat": "canoe, kayak, yacht, ferry, gondola",
    "traffic light": "traffic signal, stop light, stoplight",
    "bird": "duck, goose, swan, seagull, gull, pigeon, parrot, owl, eagle, hawk, pelican, ostrich, flamingo, peacock",
    "cat": "kitty",
    "horse": "pony, foal",
    "sheep": "lamb",
    "cow": "bull, calf, cattle",
    "backpack": "back pack, bookbag, knapsack",
    "umbrella": "parasol",
    "tie": "necktie, bowtie",
    "suitcase": "luggage, briefcase",
    "baseball glove": "baseball mitt, catchers mitt",
    "tennis racket": "racquet",
    "wine glass": "wineglass, glass of wine, glasses of wine",
    "sandwich": "burger, hamburger, cheeseburger",
    "donut": "doughnut",
    "cake": "cupcake, cup cake",
    "couch": "loveseat, love seat",
    "potted plant": "houseplant, house plant",
    "bed": "daybed, bunkbed",
    "tv": "television",
    "laptop": "lap top, macbook, netbook",
    "remote": "wiimote",
    "cell phone": "cellphone, smartphone, smart phone, flip phone, iphone",
    "oven": "stove",
    "teddy bear": "stuffed bear, toy bear",
    "hair drier": "blow dryer, blowdryer, blow drier",
}
"""Further names in the ``reader`` reading; the published lists do not include captions with them."""

OTHER = (
    "train car, subway car, passenger car, rail car, street car, car train, apple computer, apple laptop, "
    "apple desktop, apple logo, apple mouse, toilet paper, ball game, ball player, ball field, meat ball, cup cake, "
    "toy elephant, stuffed elephant, stuffed bear, toy bear, pit bull, record player, dvd player, cd player"
)
"""Phrases that contain a name but mean none of the classes, unless they are a synonym above."""

ANY_ENDING = "wine glasses, sandwiches, hot dog, hotdog, chili dog, corn dog, cheese dog"
"""Names that count without a following space in both readings: their lists include such captions."""

IRREGULAR = {
    "person": "persons",
    "man": "men",
    "woman": "women",
    "child": "children",
    "gentleman": "gentlemen",
    "policeman": "policemen",
    "fireman": "firemen",
    "businessman": "businessmen",
    "fisherman": "fishermen",
    "goose": "geese",
    "calf": "calves",
    "knife": "knives",
    "pocketknife": "pocketknives",
    "mouse": "mice",
}
"""Irregular plurals, by the last word of a phrase."""

NO_PLURAL = {
    "people",
    "aircraft",
    "sheep",
    "cattle",
    "broccoli",
    "luggage",
    "skis",
    "oranges",
    "scissors",
    "wine",
    "glasses",
    "sandwiches",
}

Reading = Literal["lists", "reader"]


def plural(phrase: str) -> str:
    """The plural of a phrase, or the phrase itself if it has none."""
    *before, last = phrase.split()
    if last in NO_PLURAL:
        return phrase
    if last in IRREGULAR:
        last = IRREGULAR[last]
    elif last.endswith(("s", "x", "z", "ch", "sh")):
        last += "es"
    elif last.endswith("y") and last[-2] not in "aeiou":
        last = f"{last[:-1]}ies"
    else:
        last += "s"
    return " ".join([*before, last])


def phrases(names: str) -> Iterator[tuple[str, ...]]:
    """Singular and plural of every phrase in a line of the tables above, as tuples of words."""
    for name in names.split(", "):
        yield tuple(name.split())
        yield tuple(plural(name).split())


class Phrase(NamedTuple):
    """A known phrase and the class it names."""

    words: tuple[str, ...]
    category: int | None  # official id; None if it names no class
    prefix: int  # number of its words that a space must follow in the ``lists`` reading; 0 if none must


def lexicon(*tables: dict[str, str]) -> dict[str, list[Phrase]]:
    """Known phrases by first word, longest first."""
    meaning: dict[tuple[str, ...], int | None] = dict.fromkeys(phrases(OTHER))
    for table in tables:
        for category in CATEGORIES:
            meaning |= dict.fromkeys(phrases(table[category.name]) if category.name in table else (), category.id)
    anywhere = set(phrases(ANY_ENDING))
    known: dict[str, list[Phrase]] = {}
    for words in sorted(meaning, key=len, reverse=True):
        # In "microwave oven." the space after "microwave", which already names the class, is enough.
        prefix = next(n for n in range(1, len(words) + 1) if meaning.get(words[:n], -1) == meaning[words])
        phrase = Phrase(words, meaning[words], 0 if words in anywhere else prefix)
        known.setdefault(words[0], []).append(phrase)
    return known


LEXICONS: dict[Reading, dict[str, list[Phrase]]] = {"lists": lexicon(NAMED), "reader": lexicon(NAMED, SYNONYMS)}
RUN = re.compile(r"[a-z0-9]+(?:[ -]+[a-z0-9]+)*")
WORD = re.compile(r"[a-z0-9]+")


def classes_in(caption: str, *, reading: Reading = "lists") -> set[int]:
    """The official ids of the COCO classes that a caption names.

    Args:
        reading: ``lists`` reproduces the official lists of SOA, where a name counts only before a space; ``reader``
            accepts a name anywhere and more synonyms.

    Raises:
        ValueError: on an unknown reading.
    """
    if reading not in LEXICONS:
        raise ValueError(f"reading is {reading!r}; it should be one of {', '.join(LEXICONS)}")
    known, text = LEXICONS[reading], caption.lower()
    found: set[int] = set()
    for run in RUN.finditer(text):  # phrases do not extend across punctuation
        words = tuple(WORD.findall(run.group()))
        place = 0
        while place < len(words):
            phrase = phrase_at(words, place, known)
            if phrase is None:
                place += 1
                continue
            if phrase.category is not None and (
                reading == "reader" or not phrase.prefix or followed_by_space(text, run, place + phrase.prefix)
            ):
                found.add(phrase.category)
            place += len(phrase.words)
    return found


def phrase_at(words: tuple[str, ...], place: int, known: dict[str, list[Phrase]]) -> Phrase | None:
    """The longest known phrase that starts at a position."""
    for phrase in known.get(words[place], ()):
        if words[place : place + len(phrase.words)] == phrase.words:
            return phrase
    return None


def followed_by_space(text: str, run: re.Match[str], count: int) -> bool:
    """Whether a space follows the first ``count`` words of a run of words."""
    end = [match.end() for match in WORD.finditer(text, *run.span())][count - 1]
    return text[end : end + 1] == " "
