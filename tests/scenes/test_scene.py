"""Scenes are sampled from seed, split and index alone."""

import ast
import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

import xmcgan.scenes as scenes
from scene_words import SIDED, captions_of
from xmcgan.scenes import (
    BACKGROUNDS,
    KINDS,
    SPLITS,
    World,
    draw_scene,
    sample_scene,
)
from xmcgan.scenes import write as write_module


def test_a_scene_has_the_requested_number_of_objects():
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


def test_kinds_that_fill_no_row_are_named():
    """A train stands alone."""
    world = World(2, ("field",), ("train",))
    with pytest.raises(ValueError, match="train cannot fill a row of 2: allow more kinds or fewer objects"):
        [sample_scene(0, "train", index, world) for index in range(20)]
    assert sample_scene(0, "train", 0, dataclasses.replace(world, most_objects=1)).objects[0].kind == "train"


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


def test_scenes_import_no_torch():
    for path in Path(scenes.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] in ("torch", "torchvision", "transformers") for name in names), path
