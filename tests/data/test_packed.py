"""Records as bytes: the same sequence, shared by worker processes."""

from pathlib import Path

import pytest

from xmcgan.data.packed import PackedRecords
from xmcgan.data.records import Box, Crop, Narrative, Record, Slice, TracePoint, Utterance

SPOKEN = Narrative("A cat.", (Utterance("A cat.", 0.0, 1.0),), ((TracePoint(0.5, 0.5, 0.5),),))
RECORDS = [
    Record(Path("a.jpg"), ("A cat.", "Ein Kätzchen"), "a", (Box("cat", 0.0, 0.0, 1.0, 1.0),), SPOKEN),
    Record(Slice(Path("b.tar"), 512, 7), ("A bus.",), "b"),
    Record(Crop(Path("c.jpg"), 0, 1, 2, 3), ("A bird.",), "c"),
    Record(b"\xff\xd8", ("A dog.",), "d"),
]


def test_it_is_the_same_sequence():
    packed = PackedRecords(iter(RECORDS))
    assert len(packed) == 4
    assert list(packed) == RECORDS
    assert packed[-1] == RECORDS[-1]
    assert packed[1:3] == RECORDS[1:3]
    assert isinstance(packed[1].image, Slice)
    assert isinstance(packed[0].narrative, Narrative)
    assert not PackedRecords([])
    for index in (4, -5):
        with pytest.raises(IndexError):
            packed[index]


def test_no_object_of_a_record_stays():
    """What a worker counts references to are two arrays, whatever the number of captions."""
    packed = PackedRecords(RECORDS)
    held = packed.__dict__.values()
    assert [type(value).__name__ for value in held] == ["bytes", "array"]
