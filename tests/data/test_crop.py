"""What is said of a picture, as it is of its middle square."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from xmcgan.data.crop import MIN_VISIBLE, crop_box, crop_record, middle_square
from xmcgan.data.images import ImageTransform, open_image
from xmcgan.data.prepared.prepare import prepare
from xmcgan.data.prepared.shards import open_shards
from xmcgan.data.records import Box, Narrative, Record, TracePoint, Utterance
from xmcgan.data.stream import ExampleStream
from xmcgan.data.traces import trace_maps

WIDE, HIGH = (200, 100), (100, 200)


def approx(*numbers: float):
    return pytest.approx(numbers, abs=1e-9)


def test_the_square_is_the_crop_of_the_images():
    for width, height in ((64, 48), (48, 64), (65, 48), (48, 48), (3, 2)):
        left, top, side = middle_square(width, height)
        image = Image.fromarray(np.arange(width * height, dtype=np.uint8).reshape(height, width)).convert("RGB")
        cropped = image.crop((left, top, left + side, top + side))
        assert np.array_equal(np.array(cropped), np.array(ImageTransform(side, "crop").square(image)))


@pytest.mark.parametrize(
    ("size", "box", "expected"),
    [
        (WIDE, (0.25, 0.0, 0.5, 1.0), (0, 0, 1, 1)),
        (WIDE, (0.5, 0.2, 0.1, 0.3), (0.5, 0.2, 0.2, 0.3)),  # inside: stretched with the picture
        (WIDE, (0.0, 0.0, 1.0, 1.0), (0, 0, 1, 1)),  # half of it is left
        (WIDE, (0.2, 0.4, 0.1, 0.2), (0, 0.4, 0.1, 0.2)),  # cut at the left border
        (HIGH, (0.4, 0.2, 0.2, 0.1), (0.4, 0, 0.2, 0.1)),  # and at the upper one
        (WIDE, (0.05, 0.4, 0.26, 0.2), None),  # 6 of 26 are left: 23 %
        (WIDE, (0.05, 0.4, 0.27, 0.2), (0, 0.4, 0.14, 0.2)),  # 7 of 27: 26 %
        (WIDE, (0.0, 0.0, 0.25, 1.0), None),  # up to the border
        (WIDE, (0.8, 0.1, 0.1, 0.1), None),
        (WIDE, (0.5, 0.5, 0.0, 0.2), (0.5, 0.5, 0, 0.2)),  # a box of no area is inside
        (WIDE, (0.9, 0.5, 0.0, 0.2), None),  # or is not
        ((64, 64), (0.1, 0.2, 0.3, 0.4), (0.1, 0.2, 0.3, 0.4)),
    ],
)
def test_boxes_are_cut_and_those_with_little_left_dropped(size, box, expected):
    left = crop_box(Box("car", *box), *size)
    if expected is None:
        assert left is None
    else:
        assert left is not None
        assert left.category == "car"
        assert left[1:] == approx(*expected)


sides = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)


@given(st.integers(1, 5000), st.integers(1, 5000), sides, sides)
def test_cropped_boxes_lie_in_the_square(width, height, across, down):
    box = Box("car", across[0], down[0], across[1] - across[0], down[1] - down[0])
    left = crop_box(box, width, height)
    if left is not None:
        _, x, y, w, h = left
        assert min(x, y, w, h) >= 0
        assert max(x + w, y + h) <= 1 + 1e-9
        side = min(width, height)
        assert w * h * side * side >= (MIN_VISIBLE - 1e-6) * box.width * width * box.height * height


def test_traces_are_cropped_and_points_outside_are_dropped():
    narrative = Narrative(
        "a car and a tree",
        (Utterance("a car", 0.0, 1.0), Utterance("and", 2.0, 2.5), Utterance("a tree", 4.0, 5.0)),
        ((TracePoint(0.5, 0.25, 0.5), TracePoint(0.75, 1.0, 0.9)), (TracePoint(0.05, 0.5, 4.5),)),
    )
    record = crop_record(Record(b"", ("a car and a tree",), "1", (), narrative), *WIDE)
    assert record.narrative is not None
    (one, two), (away,) = record.narrative.strokes
    assert (one, two, away) == (approx(0.5, 0.25, 0.5), approx(1.0, 1.0, 0.9), approx(-0.4, 0.5, 4.5))
    assert record.narrative[:2] == narrative[:2]
    spans, _ = trace_maps("a car and a tree", record.narrative)
    assert spans.tolist() == [[0, 5]]
    assert trace_maps("a car and a tree", narrative).spans_U2.tolist() == [[0, 5], [10, 16]]
    assert crop_record(Record(b"", ("a",), "1"), *WIDE) == Record(b"", ("a",), "1")


def test_a_cropped_set_has_boxes_around_what_is_in_its_pictures(tmp_path):
    """A red block at a random place: its box and its trace are where the red is, also from a shard."""
    rng, records = np.random.default_rng(0), []
    for number in range(12):
        width, height = rng.integers(60, 120, 2).tolist()
        left, top = rng.integers(0, width - 30), rng.integers(0, height - 30)
        image = Image.new("RGB", (width, height), "white")
        ImageDraw.Draw(image).rectangle((left, top, left + 23, top + 23), fill="red")
        file = io.BytesIO()
        image.save(file, "PNG")
        box = Box("block", left / width, top / height, 24 / width, 24 / height)
        corner = TracePoint(left / width, top / height, 0.5)
        narrative = Narrative("a block", (Utterance("a block", 0.0, 1.0),), ((corner,),))
        records.append(Record(file.getvalue(), ("a block",), str(number), (box,), narrative))
    prepare(
        tmp_path,
        tmp_path / "out",
        name="blocks",
        layout="table",
        splits=["all"],
        entries=lambda split: iter(records),
        size=96,
        fit="crop",
        workers=1,
        progress=False,
    )
    shards = open_shards(tmp_path / "out", "all", layout="table")
    # Trained from directly, a trace is of the same square.
    direct, stored = (
        ExampleStream(each, ImageTransform(96, "crop"), seed=0, flip=True, traces=True) for each in (records, shards)
    )
    for number in range(len(records)):
        one, other = direct[number].traces, stored[number].traces
        assert np.array_equal(one.spans_U2, other.spans_U2)
        assert one.maps_UR == pytest.approx(other.maps_UR, abs=1e-6)

    seen = 0
    for record in shards:
        pixels = np.array(open_image(record), int)
        red = (pixels[:, :, 0] > 128) & (pixels[:, :, 1] < 128)
        if not record.boxes:
            continue
        seen += 1
        rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
        ((_, left, top, width, height),) = record.boxes
        found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        assert found == pytest.approx(np.array([left, top, left + width, top + height]) * 96, abs=1.5)
        ((point,),) = record.narrative.strokes
        assert (max(point.x, 0), max(point.y, 0)) == pytest.approx((left, top), abs=1e-6)
    assert seen >= 8
