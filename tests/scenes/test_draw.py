"""Pictures of scenes: shapes, boxes, colours, sizes."""

import numpy as np
import pytest

from xmcgan.scenes import (
    Scene,
    SceneObject,
    draw_scene,
    render_scene,
    sample_scene,
)


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


def test_an_object_that_others_hide_has_an_empty_shape():
    apple = SceneObject("apple", "red", 0.45, 0.6, 0.05, 0.05, False, False)
    couch = SceneObject("couch", "blue", 0.1, 0.3, 0.8, 0.6, False, False)
    hidden, seen = render_scene(Scene("room", "green", "indoors", (apple, couch), 1), 32).shapes
    assert (hidden.box, hidden.area, hidden.outline) == ((0, 0, 0, 0), 0, ())
    assert seen.area > 100
