"""Counts and positions that captions state."""

import pytest

from xmcgan.evaluation.caption_positions import counted_objects, opposite_position

PERSON, DOG, CAT, CUP, SKIS = 1, 18, 17, 47, 35


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("Two dogs and a cat.", {DOG: 2, CAT: 1}),
        ("a man riding 2 skis", {PERSON: 1, SKIS: 2}),
        ("three large brown dogs", {DOG: 3}),
        ("three very large brown dogs", {}),  # too far away
        ("a group of people with one cup", {CUP: 1}),  # a group is not one person
        ("two hot dogs", {58: 2}),
        ("a dog and a cat", {}),  # counts nothing
        ("two of the dogs", {}),
        ("one dog, two dogs", {DOG: 3}),
        ("two plates", {}),
    ],
)
def test_counted_objects(caption, expected):
    assert counted_objects(caption) == expected


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A cat to the left of a dog", ("left", "A cat to the right of a dog")),
        ("a bird in front of a house", ("in front of", "a bird behind a house")),
        ("A book on top of a table", ("on top of", "A book under a table")),
        ("A clock above a bed below a window", ("above", "A clock below a bed below a window")),
        ("food left over from lunch", None),
        ("a right handed player", None),
        ("a dog next to a cat", None),
    ],
)
def test_opposite_positions(caption, expected):
    assert opposite_position(caption) == expected
