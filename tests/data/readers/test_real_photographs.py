"""The photographs beside the checkout, where they are: every one is read, in the numbers stated."""

from pathlib import Path

import pytest

from xmcgan.data.images import open_image
from xmcgan.data.layouts import read_records

DATA = Path(__file__).parents[4] / "shared" / "data"

SPLITS = [
    ("flowers102", "flowers102", "train", 6472, 10),
    ("flowers102", "flowers102", "test", 717, 10),
    ("cub10", "cub200", "train", 489, 10),
    ("cub10", "cub200", "test", 54, 10),
    ("flickr8k", "flickr8k", "train", 6000, 5),
    ("flickr8k", "flickr8k", "dev", 1000, 5),
]


@pytest.mark.parametrize(("folder", "layout", "split", "count", "captions"), SPLITS)
def test_every_photograph_is_read_with_its_captions(folder, layout, split, count, captions):
    if not (DATA / folder).is_dir():
        pytest.skip(f"{DATA / folder} is not there: real photographs")
    records = read_records(DATA / folder, layout, split, annotations=True)
    assert len(records) == count
    assert {len(record.captions) for record in records} == {captions}
    assert open_image(records[0]).size == (96, 96)
