"""Data for the evaluators' training, drawn once."""

from pathlib import Path

import pytest

from xmcgan.data.records import Record
from xmcgan.scenes import World, write_scenes
from xmcgan.training.evaluators.scenes import scenes_records

CARS_AND_BOATS = World(most_objects=1, backgrounds=("street", "sea"), kinds=("car", "boat"))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("evaluators") / "scenes"
    return write_scenes(root, size=32, train=0, val=16, evaluator=32, world=CARS_AND_BOATS, workers=1, progress=False)


@pytest.fixture(scope="module")
def records(data) -> list[Record]:
    return scenes_records(data, "evaluator2014")


@pytest.fixture(scope="module")
def held_out(data) -> list[Record]:
    return scenes_records(data, "val2014")
