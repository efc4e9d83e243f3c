"""Questions made from scenes and from captions are true of the scenes, and of nothing else."""

import random

import pytest

from xmcgan.metrics.exact_questions import Found, Question, Wanted, answer
from xmcgan.scenes import KINDS, Scene, SceneObject, World, describe, render_scene, sample_scene
from xmcgan.scenes.exchange import exchanged
from xmcgan.scenes.questions import (
    SCENES_RULES,
    Relation,
    questions_of_caption,
    questions_of_scene,
    read_caption,
    read_scene,
)
from xmcgan.scenes.words import _above, _groups, _left_of

WORLDS = (World(), World(most_objects=2, sides=1.0), World(sides=0.5, largest=0.6))


def objects_of(scene) -> list[Found]:
    """A scene's objects, as a perfect detector gives them."""
    return [
        Found(KINDS[o.kind].id, (o.left, o.top, o.left + o.width, o.top + o.height), 0.9, o.colour)
        for o in scene.objects
    ]


def shows(group, named) -> bool:
    """Whether a group of a scene is what a caption names."""
    thing = group.one
    return (thing.kind, len(group.things)) == (named.kind, named.count) and named.colour in (None, thing.colour)


@pytest.mark.parametrize("world", WORLDS)
def test_what_is_read_from_a_caption_is_true_of_its_scene(world):
    for index in range(150):
        scene = sample_scene(0, "val", index, world)
        groups = _groups(scene)
        for caption in describe(scene, random.Random(index), sides=world.sides):
            reading = read_caption(caption)
            assert reading.named, caption
            same = [[group for group in groups if shows(group, named)] for named in reading.named]
            assert all(same), caption
            for of, relation, to in reading.relations:
                holds = {
                    "left of": lambda a, b: _left_of(a, b),
                    "right of": lambda a, b: _left_of(b, a),
                    "above": lambda a, b: _above(a, b),
                    "below": lambda a, b: _above(b, a),
                }[relation]
                assert any(holds(a, b) for a in same[of] for b in same[to]), caption


@pytest.mark.parametrize("world", WORLDS)
def test_perfect_detections_answer_yes_and_no_once_something_is_exchanged(world):
    rng, changed, asked = random.Random(0), 0, 0
    for index in range(150):
        scene = sample_scene(0, "val", index, world)
        captions = describe(scene, random.Random(index), sides=world.sides)
        for question in questions_of_scene(scene) + [q for caption in captions for q in questions_of_caption(caption)]:
            assert answer(question, objects_of(scene), SCENES_RULES), question
        for question in questions_of_scene(scene):
            asked += 1
            other = exchanged(scene, question, rng)
            if other is not None:
                changed += 1
                assert not answer(question, objects_of(other), SCENES_RULES), (question, other)
                assert other.background == scene.background
                assert other.detail == scene.detail
    assert changed > 0.7 * asked


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        (
            "Two red apples left of a blue cup on a wooden table.",
            [
                Question("two-objects", (Wanted(53), Wanted(47))),
                Question("counting", (Wanted(53, 2, "red"),), (Wanted(53, 2, "red"),)),
                Question("position", (Wanted(47), Wanted(53, 2, relation="left of", target=0))),
                Question("colour-attribution", (Wanted(53, 1, "red"), Wanted(47, 1, "blue"))),
            ],
        ),
        (
            "an orange kite on the right under an orange sky",
            [
                Question("single-object", (Wanted(38),)),
                Question("colour", (Wanted(38, 1, "orange"),)),
                Question("position", (Wanted(38, side="right"),)),
            ],
        ),
        (
            "a traffic light showing green at left and a stop sign at right on a street",
            [
                Question("two-objects", (Wanted(10), Wanted(13))),
                Question("position", (Wanted(13), Wanted(10, relation="left of", target=0))),
            ],
        ),
        ("a white car on a street with a yellow bird in the sky", None),
        ("colourless green ideas sleep", []),
        ("a stop sign left of a stop sign on a street", []),  # nothing says which is which
        ("a red car left of a red car on a street", []),
        (
            "a red car left of a blue car on a street",
            [Question("position", (Wanted(3, 1, "blue"), Wanted(3, 1, "red", relation="left of", target=0)))],
        ),
    ],
)
def test_questions_of_captions_by_hand(caption, expected):
    found = questions_of_caption(caption)
    if expected is None:
        expected = [
            Question("two-objects", (Wanted(3), Wanted(16))),
            Question("position", (Wanted(3), Wanted(16, relation="above", target=0))),
            Question("colour-attribution", (Wanted(3, 1, "white"), Wanted(16, 1, "yellow"))),
        ]
    assert found == expected


def test_an_exchanged_scene_looks_different_only_where_it_was_changed():
    scene = sample_scene(0, "val", 3, World(most_objects=1, backgrounds=("street",), kinds=("car",)))
    other = exchanged(scene, Question("colour", (Wanted(3, 1, scene.objects[0].colour),)), random.Random(0))
    a, b = render_scene(scene, 64), render_scene(other, 64)
    left, top, width, height = a.shapes[0].box
    differing = [
        (x, y) for x in range(64) for y in range(64) if a.picture.getpixel((x, y)) != b.picture.getpixel((x, y))
    ]
    assert differing
    assert all(left - 1 <= x <= left + width and top - 1 <= y <= top + height for x, y in differing)


def test_what_is_read_from_a_scene_does_not_depend_on_the_order_of_its_objects():
    car = SceneObject("car", "red", 0.3, 0.6, 0.4, 0.2, False, False)
    bird = SceneObject("bird", "yellow", 0.4, 0.2, 0.2, 0.2, True, False)
    low, high = (
        read_scene(Scene("field", None, "clear", (car, bird), 1)),
        read_scene(Scene("field", None, "clear", (bird, car), 1)),
    )
    assert [low.named[0].kind, high.named[0].kind] == ["car", "bird"]
    assert low.relations == (Relation(0, "below", 1),)
    assert high.relations == (Relation(0, "above", 1),)
