"""Scenes: what is drawn is what is said, and what is written is COCO's and Localized Narratives' own layout."""

import ast
import csv
import dataclasses
import hashlib
import itertools
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

import xmcgan.scenes as scenes
from xmcgan.scenes import (
    BACKGROUNDS,
    KINDS,
    SPLITS,
    Scene,
    SceneObject,
    World,
    describe,
    draw_scene,
    narrate,
    render_scene,
    sample_scene,
    write_scenes,
)
from xmcgan.scenes import write as write_module
from xmcgan.scenes.scene import stream

COUNTS = {"train": 12, "val": 5, "evaluator": 7}
SIZE = 32


SIDED = World(sides=1.0, largest=0.8)


def captions_of(index: int, split: str = "train", world: World | None = None) -> tuple[str, ...]:
    world = world or World()
    scene = sample_scene(0, split, index, world)
    return describe(scene, stream(0, split, index, "captions"), sides=world.sides)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("data") / "scenes", size=SIZE, **COUNTS, workers=1, progress=False)


def files_under(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---------------------------------------------------------------------------------------------- the sampling


def test_a_scene_has_as_many_objects_as_asked_for():
    most = {n: {len(sample_scene(0, "train", i, World(n)).objects) for i in range(200)} for n in (1, 2, 4)}
    assert most == {1: {1}, 2: {1, 2}, 4: {1, 2, 3, 4}}
    for wrong in (0, 5):
        with pytest.raises(ValueError, match="most_objects must be 1 to 4"):
            World(wrong)


def test_a_world_has_only_what_it_names():
    world = World(3, ("beach", "lake"), ("car", "boat", "kite"))
    scenes = [sample_scene(0, "train", i, world) for i in range(200)]
    assert {scene.background for scene in scenes} == {"beach", "lake"}
    assert {thing.kind for scene in scenes for thing in scene.objects} == {"car", "boat", "kite"}
    few = World(3, ("beach", "lake"), ("car", "boat", "kite"), ("red", "yellow"))
    coloured = [sample_scene(0, "train", i, few) for i in range(200)]
    assert {thing.colour for scene in coloured for thing in scene.objects} == {"red", "yellow"}
    for wrong, message in (
        ({"kinds": ("dragon",)}, "unknown kind dragon"),
        ({"backgrounds": ("moon",)}, "unknown background moon"),
        ({"kinds": ()}, "unknown kind"),
        ({"backgrounds": ("sea",), "kinds": ("car",)}, "no car can stand on the background sea"),
        ({"colours": ("mauve",)}, "unknown colour mauve"),
        ({"colours": ()}, "unknown colour"),
        ({"kinds": ("stop sign",), "colours": ("blue",), "backgrounds": ("street",)}, "no stop sign on the background"),
        ({"sides": 1.01}, "sides must be a probability, 0 to 1, not 1.01"),
        ({"sides": float("nan")}, "sides must be a probability"),
        ({"largest": 0.4}, "largest must be 0.5 to 1"),
    ):
        with pytest.raises(ValueError, match=message):
            World(**wrong)


def test_a_scene_is_a_pure_function_of_seed_split_and_index():
    assert sample_scene(3, "val", 17) == sample_scene(3, "val", 17)
    others = [sample_scene(4, "val", 17), sample_scene(3, "train", 17), sample_scene(3, "val", 18)]
    assert all(other != sample_scene(3, "val", 17) for other in others)


def test_scenes_and_captions_of_the_whole_world_are_those_of_version_1():
    """Sets that are written already must be what the same settings give now."""
    said = hashlib.sha256()
    for split in SPLITS:
        for i in range(200):
            scene = dataclasses.astuple(sample_scene(0, split, i))
            said.update(json.dumps([scene, captions_of(i, split)]).encode())
    assert said.hexdigest() == "c28bb8f0e7cf7cdf5785eafc77089300f0ce32cd2396d051f6b24028bf1fc4b0"
    assert write_module.VERSION == 1


def test_a_world_of_sides_has_no_lone_object_in_the_middle():
    many = [sample_scene(0, "train", i, SIDED) for i in range(600)]
    lone = [s.objects[0] for s in many if len(s.objects) == 1]
    assert len(lone) > 200
    assert all(thing.x <= 0.38 or thing.x >= 0.62 for thing in lone)
    assert 0.4 < sum(thing.x < 0.5 for thing in lone) / len(lone) < 0.6
    whole = [sample_scene(0, "train", i, World(sides=1.0)) for i in range(600)]
    assert max(thing.width for thing in lone) < 0.86 * max(s.objects[0].width for s in whole if len(s.objects) == 1)
    # One on the ground and one above it are on either side.
    assert all(abs(s.objects[0].x - s.objects[1].x) > 0.3 for s in many if len(s.objects) == 2)


def test_no_two_pictures_are_the_same_within_or_across_splits():
    pictures = {draw_scene(sample_scene(0, split, i), 16).tobytes() for split in SPLITS for i in range(60)}
    assert len(pictures) == 180


def test_kinds_have_coco_official_ids_and_supercategories():
    official = {
        "car": (3, "vehicle"), "airplane": (5, "vehicle"), "bus": (6, "vehicle"), "train": (7, "vehicle"),
        "truck": (8, "vehicle"), "boat": (9, "vehicle"), "traffic light": (10, "outdoor"),
        "fire hydrant": (11, "outdoor"), "stop sign": (13, "outdoor"), "bench": (15, "outdoor"),
        "bird": (16, "animal"), "sheep": (20, "animal"), "umbrella": (28, "accessory"),
        "sports ball": (37, "sports"), "kite": (38, "sports"), "cup": (47, "kitchen"), "banana": (52, "food"),
        "apple": (53, "food"), "orange": (55, "food"), "donut": (60, "food"), "cake": (61, "food"),
        "couch": (63, "furniture"), "potted plant": (64, "furniture"), "clock": (85, "indoor"),
        "vase": (86, "indoor"), "teddy bear": (88, "indoor"),
    }  # fmt: skip
    assert {name: (kind.id, kind.supercategory) for name, kind in KINDS.items()} == official


def test_scenes_are_mostly_of_one_and_two_objects_and_use_every_kind_and_background():
    many = [sample_scene(0, "train", i) for i in range(3000)]
    shares = [sum(len(s.objects) == n for s in many) / len(many) for n in (1, 2, 3, 4)]
    assert shares == pytest.approx([0.40, 0.35, 0.17, 0.08], abs=0.03)
    assert {thing.kind for s in many for thing in s.objects} == set(KINDS)
    assert {s.background for s in many} == set(BACKGROUNDS)


def test_objects_are_placed_on_their_backgrounds():
    for i in range(1500):
        scene = sample_scene(0, "train", i)
        place = BACKGROUNDS[scene.background]
        assert scene.weather in place.weathers
        for thing in scene.objects:
            assert thing.kind in (place.high if thing.high else place.low)
            assert thing.colour in KINDS[thing.kind].colours
            assert thing.left >= 0
            assert thing.left + thing.width <= 1
            assert thing.top >= 0
            assert thing.top + thing.height <= 1
            # On the ground, the water or the table, which fill the lower half; or up over the horizon.
            assert thing.y < 0.5 if thing.high else thing.top + thing.height > 0.7


def test_the_main_object_is_big():
    lone = [s.objects[0] for s in (sample_scene(0, "train", i) for i in range(1000)) if len(s.objects) == 1]
    assert min(max(thing.width, thing.height) for thing in lone) > 0.25


@pytest.mark.parametrize(("seed", "split", "index"), [(-1, "train", 0), (0, "test", 0), (0, "train", -1)])
def test_sampling_refuses_unknown_splits_and_negative_numbers(seed, split, index):
    with pytest.raises(ValueError, match=r"must be"):
        sample_scene(seed, split, index)


# ----------------------------------------------------------------------------------------------- the drawing


def test_the_same_scene_is_the_same_picture_at_64_and_at_256():
    for i in range(12):
        small = np.asarray(draw_scene(sample_scene(0, "val", i), 64), float)
        large = np.asarray(draw_scene(sample_scene(0, "val", i), 256).reduce(4), float)
        assert np.abs(small - large).mean() < 4, i
        assert np.corrcoef(small.ravel(), large.ravel())[0, 1] > 0.985, i


@pytest.mark.parametrize("size", [16, 64, 96])
def test_shapes_lie_in_the_picture_and_fill_their_things_boxes(size):
    for i in range(60):
        scene = sample_scene(1, "train", i)
        drawing = render_scene(scene, size)
        assert drawing.picture.size == (size, size)
        assert len(drawing.shapes) == len(scene.objects)
        for thing, shape in zip(scene.objects, drawing.shapes, strict=True):
            left, top, width, height = shape.box
            assert left >= 0
            assert top >= 0
            assert left + width <= size
            assert top + height <= size
            assert 0 < shape.area <= width * height
            slack = 1.0 + 0.03 * size * max(thing.width, thing.height)
            edges = np.array([left, top, left + width, top + height])
            meant = np.array([thing.left, thing.top, thing.left + thing.width, thing.top + thing.height]) * size
            assert np.abs(edges - meant).max() < slack, (i, thing.kind, edges, meant)
            outline = np.array(shape.outline).reshape(-1, 2)
            assert outline.min(0) == pytest.approx((left, top), abs=0.08 * size)
            assert outline.max(0) == pytest.approx((left + width, top + height), abs=0.08 * size)


def test_boxes_contain_the_pixels_of_their_objects():
    """Taken away, a thing uncovers its box and nothing much outside but its shadow and glow."""
    scene = Scene("field", None, "clear", (SceneObject("sports ball", "red", 0.3, 0.4, 0.4, 0.4, False, False),), 5)
    with_ball = np.asarray(draw_scene(scene, 64), int)
    without = np.asarray(draw_scene(Scene("field", None, "clear", (), 5), 64), int)
    changed = np.abs(with_ball - without).max(axis=-1) > 90
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    left, top, width, height = render_scene(scene, 64).shapes[0].box
    assert (columns[0], rows[0]) == pytest.approx((left, top), abs=1.5)
    assert (columns[-1] + 1, rows[-1] + 1) == pytest.approx((left + width, top + height), abs=1.5)


def test_colours_match_their_names():
    for colour, channel in (("red", 0), ("green", 1), ("blue", 2)):
        thing = SceneObject("sports ball", colour, 0.3, 0.4, 0.4, 0.4, False, False)
        centre = draw_scene(Scene("beach", None, "clear", (thing,), 1), 64).getpixel((32, 38))
        assert isinstance(centre, tuple)
        assert int(np.argmax(centre)) == channel


def test_hidden_parts_are_not_in_the_box():
    behind = SceneObject("car", "red", 0.1, 0.5, 0.5, 0.235, False, False)
    before = SceneObject("bus", "blue", 0.4, 0.5, 0.5, 0.27, False, False)
    alone = render_scene(Scene("street", None, "clear", (behind,), 1), 64).shapes[0]
    hidden = render_scene(Scene("street", None, "clear", (behind, before), 1), 64).shapes[0]
    assert hidden.area < 0.75 * alone.area
    assert hidden.box[2] < 0.75 * alone.box[2]


def test_drawing_refuses_tiny_pictures():
    with pytest.raises(ValueError, match="at least 16"):
        draw_scene(sample_scene(0, "train", 0), 15)


# ---------------------------------------------------------------------------------------------- the language

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
COLOUR = "red|orange|yellow|green|blue|purple|pink|white|black|brown|chocolate"
PHRASE = re.compile(
    r"\b(?P<count>an?|two|three|four) (?:(?:little|fluffy|striped|bright|shiny|fresh|round) )?"
    rf"(?:(?P<colour>{COLOUR}) )?(?P<noun>{'|'.join(f'(?:{w})' for w in WORDS.values())})\b(?! sky)"
    rf"(?: showing (?P<showing>{COLOUR})| with (?P<frosting>{COLOUR}) frosting| in (?:an? )?(?P<pot>{COLOUR}) pots?)?"
)
NUMBERS = {"a": 1, "an": 1, "two": 2, "three": 3, "four": 4}
PLACES = {
    "field": r"grass|grassy|green field|meadow",
    "beach": r"beach|sand by the sea",
    "sea": r"ocean|blue sea|on the sea|the water",
    "lake": r"lake",
    "snow": r"snowy (?:field|ground|landscape)|(?:on|above) the snow",
    "street": r"street|city\b(?! bus)",
    "desert": r"desert",
    "mountains": r"front of mountains|the mountains(?<!by the mountains)|snowy mountains|mountain (?:landscape|valley)",
    "wooden table": r"wood(?:en)? (?:kitchen )?table|brown table",
    "tablecloth": r"tablecloth|cloth|(?:red|blue|green|yellow|pink|purple) table",
    "room": r"room|wall",
}
WEATHERS = {
    "clear": r"sunny|blue sky|bright day|sunshine",
    "sunset": r"sunset|orange sky|evening",
    "night": r"night|moon|starry|dark",
    "rain": r"rain|rainy",
    "fog": r"fog|foggy",
    "snowing": r"falling snow|snowing|snowfall",
}


def read(caption: str, scene: Scene) -> list[tuple[re.Match, list[SceneObject]]]:
    """The noun phrases of a caption and the things they mean; asserts that there are just so many of them."""
    found = []
    for match in PHRASE.finditer(caption.lower().rstrip(".")):
        kind = next(kind for kind, words in WORDS.items() if re.fullmatch(words, match["noun"]))
        colour = match["colour"] or match["showing"] or match["frosting"] or match["pot"]
        colour = {"chocolate": "brown", None: {"orange": "orange", "stop sign": "red"}.get(kind)}.get(colour, colour)
        assert colour, f"no colour for the {kind} in {caption!r}"
        things = [t for t in scene.objects if (t.kind, t.colour) == (kind, colour)]
        assert len(things) == NUMBERS[match["count"]], f"{caption!r} of {scene}"
        found.append((match, things))
    assert found, f"nothing is named in {caption!r}"
    return found


@pytest.mark.parametrize(
    ("world", "count", "often"),
    [
        (World(), 1200, ("left of", "right of", "above", "below", "between", "beside", "side", "either")),
        (SIDED, 300, ("left of", "right of", "side", "either")),
    ],
    ids=["all there is", "sides"],
)
def test_captions_are_true(world, count, often):
    seen = dict.fromkeys(("left of", "right of", "above", "below", "between", "beside", "side", "either"), 0)
    for i in range(count):
        scene = sample_scene(0, "train", i, world)
        for caption in captions_of(i, world=world):
            text = caption.lower().rstrip(".")
            found = read(caption, scene)
            context = f"{caption!r} of {scene}"
            for (one, a), (other, b) in itertools.pairwise(found):
                link = text[one.end() : other.start()].strip()
                if re.fullmatch(r"(?:is |are )?(?:to the )?left of", link):
                    assert max(t.x for t in a) < min(t.x for t in b) - 0.1, context
                    seen["left of"] += 1
                elif re.fullmatch(r"(?:is |are )?(?:to the )?right of", link):
                    assert min(t.x for t in a) > max(t.x for t in b) + 0.1, context
                    seen["right of"] += 1
                elif re.search(r"\b(above|over)$", link):
                    assert max(t.y for t in a) < min(t.y for t in b) - 0.1, context
                    seen["above"] += 1
                elif re.search(r"\b(below|beneath)$", link):
                    assert min(t.y for t in a) > max(t.y for t in b) + 0.1, context
                    seen["below"] += 1
                elif re.search(r"(next to|beside)$", link):
                    assert abs(a[0].x - b[0].x) < 0.55, context
                    assert a[0].high == b[0].high, context
                    seen["beside"] += 1
                elif link in ("on the left and", "at left and"):
                    assert a[0].x < 0.4 < 0.6 < b[0].x, context
                    seen["either"] += 1
                elif link == "between":
                    (third,) = found[2][1]
                    assert min(b[0].x, third.x) < a[0].x < max(b[0].x, third.x), context
                    seen["between"] += 1
            if re.search(r"\b(on|at) the left\b(?! and)", text):
                assert len(found) == 1
                assert found[0][1][0].x < 0.4, context
                seen["side"] += 1
            if re.search(r"\b(on|at) the right\b", text) and "on the left and" not in text:
                assert len(found) == 1
                assert found[0][1][0].x > 0.6, context
            if re.search(r"\bin the (middle|center)\b", text):
                assert abs(found[0][1][0].x - 0.5) < 0.1, context
    assert min(seen[relation] for relation in often) >= 20, seen  # or the reader no longer reads


def test_captions_name_sides_as_often_as_the_world_asks():
    def share(world: World) -> float:
        """Of the captions of scenes whose objects are not equal, those that name a side."""
        scenes = [(i, sample_scene(0, "train", i, world)) for i in range(150)]
        named = [
            re.search(r"\b(left|right)\b", caption) is not None
            for i, scene in scenes
            if len({(thing.kind, thing.colour) for thing in scene.objects}) == len(scene.objects)
            for caption in captions_of(i, world=world)
        ]
        return sum(named) / len(named)

    by_itself, half, always = (share(dataclasses.replace(SIDED, sides=chance)) for chance in (0.0, 0.5, 1.0))
    assert by_itself < 0.4
    assert 0.5 < half < 0.85
    assert always == 1


def test_captions_name_the_right_background_and_weather():
    named = {"place": 0, "weather": 0}
    for i in range(800):
        scene = sample_scene(0, "train", i)
        for caption in captions_of(i):
            text = caption.lower()
            for place, pattern in PLACES.items():
                if re.search(pattern, text):
                    assert place == scene.background, f"{caption!r} of {scene}"
                    named["place"] += 1
            for weather, pattern in WEATHERS.items():
                if re.search(rf"\b(?:{pattern})\b", text):
                    assert weather == scene.weather, f"{caption!r} of {scene}"
                    named["weather"] += 1
            if scene.colour:
                for colour in re.findall(rf"({COLOUR}) (?:wall|room|table\b|tablecloth|cloth)", text):
                    assert colour == scene.colour, f"{caption!r} of {scene}"
    assert named["place"] > 0.75 * 800 * 5
    assert named["weather"] > 0.4 * 800 * 5


def test_captions_are_five_different_ones_of_6_to_16_words_in_good_grammar():
    lengths = []
    for i in range(1500):
        captions = captions_of(i)
        assert len(set(captions)) == 5
        for caption in captions:
            lengths.append(len(caption.split()))
            assert 6 <= lengths[-1] <= 16, caption
            assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|  | ,|None|[{}]", caption, re.IGNORECASE), caption
            assert not re.search(
                r"\b(two|three|four) (?:(?!and )\w+ ){0,2}?(car|bus|boat|bird|cup|apple)\b", caption
            ), caption
            assert not re.search(r"\b(\w+) \1\b", caption, re.IGNORECASE), caption
    assert np.mean(np.array(lengths) <= 14) > 0.98


def test_empty_scene_cannot_be_described():
    for speak in (describe, narrate):
        with pytest.raises(ValueError, match="without objects"):
            speak(Scene("field", None, "clear", (), 0), stream(0, "train", 0, "captions"))


def test_the_language_is_varied():
    first_words = {caption.lower().split()[0] for i in range(400) for caption in captions_of(i)}
    assert {"a", "an", "two", "there", "in", "under", "on", "we"} <= first_words
    everything = {caption for i in range(400) for caption in captions_of(i)}
    assert len(everything) > 0.95 * 2000


def test_narratives_are_long_timed_and_traced_over_what_they_name():
    circled = 0
    for i in range(250):
        scene = sample_scene(0, "val", i)
        told = narrate(scene, stream(0, "val", i, "narrative"))
        assert 30 <= len(told.caption.split()) <= 70
        assert 2 <= len(re.findall(r"\.(?: |$)", told.caption)) <= 6
        assert told.caption == " ".join(said.words for said in told.utterances)
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|  | ,|None|[{}]", told.caption, re.IGNORECASE)
        ends = [0.0, *(said.end for said in told.utterances)]
        assert all(end <= said.start + 1e-6 < said.end for end, said in zip(ends, told.utterances, strict=False))
        for stroke in told.strokes:
            times = [point.t for point in stroke]
            assert times == sorted(times)
            assert told.utterances[0].start <= times[0]
            assert times[-1] <= told.utterances[-1].end
            assert all(-0.15 < point.x < 1.15 and -0.15 < point.y < 1.15 for point in stroke)
        # While a thing is first named, the mouse is on its box.
        for thing in scene.objects:
            assert any(_on_box(stroke, thing) for stroke in told.strokes), (told.caption, thing)
        if len(scene.objects) == 1:
            circled += _named_while_circled(told, scene.objects[0])
    assert circled >= 80


def _on_box(stroke, thing: SceneObject) -> bool:
    return all(
        abs(p.x - thing.x) <= 0.6 * thing.width + 0.011 and abs(p.y - thing.y) <= 0.6 * thing.height + 0.011
        for p in stroke
    )


def _named_while_circled(told, thing: SceneObject) -> bool:
    stroke = next(stroke for stroke in told.strokes if _on_box(stroke, thing))
    said = [u.words for u in told.utterances if u.end > stroke[0].t + 1e-6 and u.start < stroke[-1].t - 1e-6]
    words = re.sub(r"[.,]", "", " ".join(said).lower())
    assert re.search(WORDS[thing.kind], words), (told.caption, words)
    return True


# ----------------------------------------------------------------------------------------------- on the disk


def test_the_files_have_their_official_names(root):
    first = 1
    for split, count in COUNTS.items():
        names = sorted(path.name for path in (root / f"{split}2014").iterdir())
        assert names == [f"COCO_{split}2014_{first + i:012d}.jpg" for i in range(count)]
        first += count
        assert (root / f"annotations/captions_{split}2014.json").is_file()
        assert (root / f"annotations/instances_{split}2014.json").is_file()
        assert (root / f"localized_narratives/coco_{split}_localized_narratives.jsonl").is_file()
    manifest = json.loads((root / "scenes.json").read_text())
    assert manifest == {
        "name": "scenes",
        "version": 1,
        "seed": 0,
        "size": SIZE,
        "most_objects": 4,
        "backgrounds": list(BACKGROUNDS),
        "kinds": list(KINDS),
        "counts": COUNTS,
    }


def test_the_files_of_open_images_have_their_official_names_and_columns(root, tmp_path):
    settings = {"size": SIZE, **COUNTS, "progress": False}
    other = write_scenes(tmp_path / "open", layout="open-images", workers=2, **settings)
    assert {str(path.relative_to(other)) for path in other.iterdir()} | {
        str(path.relative_to(other)) for path in (other / "localized_narratives").iterdir()
    } == {f"{split}{name}" for split in ("train", "validation", "test") for name in ("", "-annotations-bbox.csv")} | {
        "class-descriptions-boxable.csv",
        "localized_narratives",
        "localized_narratives/open_images_train_v6_localized_narratives-00000-of-00001.jsonl",
        "localized_narratives/open_images_validation_localized_narratives.jsonl",
        "localized_narratives/open_images_test_localized_narratives.jsonl",
        "scenes.json",
    }
    names = [path.name for split in ("train", "validation", "test") for path in (other / split).iterdir()]
    assert len(set(names)) == sum(COUNTS.values())
    assert all(re.fullmatch(r"[0-9a-f]{16}\.jpg", name) for name in names)
    assert {path.read_bytes() for path in other.glob("*/*.jpg")} == {path.read_bytes() for path in root.glob("*/*.jpg")}

    header, *rows = csv.reader((other / "train-annotations-bbox.csv").open(newline=""))
    official = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction"
    assert ",".join(header) == f"{official},IsInside"
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    assert {row[0] for row in rows} == {path.stem for path in (other / "train").iterdir()}
    assert len(rows) == sum(len(sample_scene(0, "train", i).objects) for i in range(COUNTS["train"]))
    names = dict(csv.reader((other / "class-descriptions-boxable.csv").open(newline="")))
    assert sorted(names.values()) == sorted(KINDS)
    assert names["/m/0k4j"] == "car"

    assert json.loads((other / "scenes.json").read_text())["layout"] == "open-images"
    assert write_scenes(other, layout="open-images", **settings) == other
    with pytest.raises(FileExistsError, match="other settings"):
        write_scenes(other, **settings)


def test_pictures_are_rgb_jpegs_without_chroma_subsampling(root):
    for split in SPLITS:
        for path in (root / f"{split}2014").iterdir():
            with Image.open(path) as picture:
                assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (SIZE, SIZE))
                assert JpegImagePlugin.get_sampling(picture) == 0
    with Image.open(root / f"train2014/COCO_train2014_{3:012d}.jpg") as picture:
        drawn = draw_scene(sample_scene(0, "train", 2), SIZE)
        assert np.abs(np.asarray(picture, int) - np.asarray(drawn, int)).mean() < 4


def test_annotations_follow_cocos_schema_with_ids_unique_across_splits(root):
    image_ids, caption_ids, instance_ids = [], [], []
    for split, count in COUNTS.items():
        captions = json.loads((root / f"annotations/captions_{split}2014.json").read_text())
        instances = json.loads((root / f"annotations/instances_{split}2014.json").read_text())
        assert list(captions) == ["info", "licenses", "images", "annotations"]
        assert list(instances) == ["info", "licenses", "images", "annotations", "categories"]
        assert captions["images"] == instances["images"]
        assert len(captions["images"]) == count
        for image in captions["images"]:
            assert list(image) == [
                "license", "file_name", "coco_url", "height", "width", "date_captured", "flickr_url", "id"
            ]  # fmt: skip
            assert image["file_name"] == f"COCO_{split}2014_{image['id']:012d}.jpg"
        ids = [image["id"] for image in captions["images"]]
        assert sorted(a["image_id"] for a in captions["annotations"]) == sorted(ids * 5)
        assert all(list(a) == ["image_id", "id", "caption"] for a in captions["annotations"])
        for a in instances["annotations"]:
            assert list(a) == ["segmentation", "area", "iscrowd", "image_id", "bbox", "category_id", "id"]
            x, y, w, h = a["bbox"]
            assert x >= 0
            assert y >= 0
            assert x + w <= SIZE
            assert y + h <= SIZE
            assert 0 < a["area"] <= w * h
            polygon = np.array(a["segmentation"][0]).reshape(-1, 2)
            assert (polygon >= (x - 0.01, y - 0.01)).all()
            assert (polygon <= (x + w + 0.01, y + h + 0.01)).all()
        categories = {c["id"]: c for c in instances["categories"]}
        assert len(categories) == len(KINDS) >= 12
        assert categories[3] == {"supercategory": "vehicle", "id": 3, "name": "car"}
        assert {a["category_id"] for a in instances["annotations"]} <= set(categories)
        image_ids += ids
        caption_ids += [a["id"] for a in captions["annotations"]]
        instance_ids += [a["id"] for a in instances["annotations"]]
    for numbers in (image_ids, caption_ids, instance_ids):
        assert len(numbers) == len(set(numbers))


def test_captions_and_instances_on_disk_are_those_of_their_pictures(root):
    captions = json.loads((root / "annotations/captions_val2014.json").read_text())["annotations"]
    instances = json.loads((root / "annotations/instances_val2014.json").read_text())["annotations"]
    for index in range(COUNTS["val"]):
        image_id = COUNTS["train"] + index + 1
        assert tuple(c["caption"] for c in captions if c["image_id"] == image_id) == captions_of(index, "val")
        kinds = [KINDS[thing.kind].id for thing in sample_scene(0, "val", index).objects]
        assert [a["category_id"] for a in instances if a["image_id"] == image_id] == kinds


def test_narratives_follow_the_localized_narratives_schema(root):
    first = 1
    for split, count in COUNTS.items():
        text = (root / f"localized_narratives/coco_{split}_localized_narratives.jsonl").read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        assert [line["image_id"] for line in lines] == [str(first + i) for i in range(count)]
        first += count
        for line in lines:
            assert list(line) == [
                "dataset_id", "image_id", "annotator_id", "caption", "timed_caption", "traces", "voice_recording"
            ]  # fmt: skip
            assert line["dataset_id"] == f"scenes_{split}2014"
            assert isinstance(line["annotator_id"], int)
            assert " ".join(said["utterance"] for said in line["timed_caption"]) == line["caption"]
            assert all(list(said) == ["utterance", "start_time", "end_time"] for said in line["timed_caption"])
            assert all(list(point) == ["x", "y", "t"] for stroke in line["traces"] for point in stroke)


def test_the_bytes_depend_on_the_seed_alone_and_not_on_the_workers(root, tmp_path):
    two = write_scenes(tmp_path / "two", size=SIZE, **COUNTS, workers=2, progress=False)
    assert files_under(two) == files_under(root)
    other = write_scenes(tmp_path / "other", size=SIZE, **COUNTS, seed=1, workers=1, progress=False)
    names = [name for name in files_under(root) if name.endswith(".jpg")]
    assert all(files_under(other)[name] != files_under(root)[name] for name in names)


def test_manifest_records_non_default_settings(root, tmp_path):
    settings = {"size": SIZE, "train": 3, "val": 0, "evaluator": 0, "workers": 1, "progress": False}
    sided = write_scenes(tmp_path / "sided", world=SIDED, **settings)
    manifest = json.loads((sided / "scenes.json").read_text())
    assert (manifest["sides"], manifest["largest"]) == (1.0, 0.8)
    captions = json.loads((sided / "annotations/captions_train2014.json").read_text())["annotations"]
    assert tuple(c["caption"] for c in captions if c["image_id"] == 1) == captions_of(0, world=SIDED)
    assert write_scenes(sided, world=SIDED, **settings) == sided
    for other in (World(), World(sides=1.0), World(largest=0.8), World(colours=("red",), sides=1.0, largest=0.8)):
        with pytest.raises(FileExistsError, match="other settings"):
            write_scenes(sided, world=other, **settings)


def test_finished_data_set_is_kept_and_reported(root, capsys):
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert write_scenes(root, size=SIZE, train=12, val=5, evaluator=7) == root
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    assert "already written" in capsys.readouterr().out


def test_other_settings_strange_folders_and_files_are_refused(root, tmp_path):
    before = files_under(root)
    with pytest.raises(FileExistsError, match="other settings"):
        write_scenes(root, size=SIZE * 2, **COUNTS, progress=False)
    assert files_under(root) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    with pytest.raises(FileExistsError, match=r"letter\.txt"):
        write_scenes(tmp_path / "mine", size=SIZE, **COUNTS, progress=False)
    with pytest.raises(FileExistsError, match="is a file"):
        write_scenes(tmp_path / "mine/letter.txt", size=SIZE, **COUNTS, progress=False)
    assert files_under(tmp_path) == {"mine/letter.txt": b"dear"}


def test_an_empty_folder_may_be_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    assert write_scenes(tmp_path / "empty", size=16, train=1, val=0, evaluator=0, progress=False).is_dir()
    assert (tmp_path / "empty/scenes.json").is_file()


def test_failed_write_leaves_no_files(tmp_path, monkeypatch):
    write_json = write_module.write_json

    def fail_at_the_manifest(path, content):
        if path.name == "scenes.json":
            raise KeyboardInterrupt
        write_json(path, content)

    monkeypatch.setattr(write_module, "write_json", fail_at_the_manifest)
    with pytest.raises(KeyboardInterrupt):
        write_scenes(tmp_path / "scenes", size=16, train=2, val=1, evaluator=1, workers=1, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_killed_write_never_looks_finished(tmp_path):
    code = (
        "from pathlib import Path; from xmcgan.scenes import write_scenes; "
        f"write_scenes(Path({str(tmp_path / 'scenes')!r}), train=50_000, workers=1, progress=False)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("scenes.partial-*/train2014/*.jpg")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "scenes").exists()
    assert not list(tmp_path.glob("*/scenes.json"))
    small = write_scenes(tmp_path / "scenes", size=16, train=2, val=0, evaluator=0, workers=1, progress=False)
    assert (small / "scenes.json").is_file()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layout": "openimages"}, "layout must be coco or open-images, not 'openimages'"),
        ({"size": 15}, "size must be at least 16"),
        ({"train": -1}, "train must be at least 0"),
        ({"evaluator": -3}, "evaluator must be at least 0"),
        ({"train": 0, "val": 0, "evaluator": 0}, "nothing to write"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"workers": 0}, "workers must be at least 1"),
    ],
)
def test_invalid_settings_are_refused_before_writing(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        write_scenes(tmp_path / "scenes", **settings)
    assert list(tmp_path.iterdir()) == []


def test_scenes_import_no_torch():
    for path in Path(scenes.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] in ("torch", "torchvision", "transformers") for name in names), path
