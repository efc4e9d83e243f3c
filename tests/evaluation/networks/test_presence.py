"""The shipped presence model on unseen scenes."""

import pytest
import torch

from fresh import fresh_records
from xmcgan.data.images import ImageTransform
from xmcgan.evaluation.networks.presence import PresenceModel, PresenceShape, load_scenes_presence, presence_network
from xmcgan.evaluation.networks.protocols import Detector
from xmcgan.scenes import KINDS, World
from xmcgan.training.evaluators.presence import categories_present, presence_accuracy, targets


@pytest.fixture(scope="module")
def model() -> PresenceModel:
    return load_scenes_presence()


def test_implements_the_protocol(model):
    detector: Detector = model
    assert detector.name == "scenes-presence"
    assert detector.protocol["confidence"] == "0.5"
    assert set(model.shape.categories.values()) == {kind.id for kind in KINDS.values()}


@pytest.mark.parametrize("world", [World(), World(most_objects=2)], ids=["default", "few"])
def test_accuracy_on_held_out_scenes(model, world):
    found = presence_accuracy(model, fresh_records(200, world))
    assert min(found.accuracy.values()) >= 0.96
    assert sum(found.balanced.values()) / len(found.balanced) >= 0.96
    assert found.exact >= 0.8


@pytest.mark.parametrize("size", [128, 256])
def test_accuracy_at_larger_image_sizes(model, size):
    records = fresh_records(40, size=size)
    images = torch.stack([ImageTransform(size)(record) for record in records])
    true = [{KINDS[box.category].id for box in record.boxes} for record in records]
    assert sum(found == ids for found, ids in zip(model(images), true, strict=True)) >= 0.8 * len(true)


def test_grey_image_is_nearly_empty(model):
    assert len(model(torch.full((1, 3, 64, 64), 128, dtype=torch.uint8))[0]) <= 1


def test_accuracy_by_hand():
    """Two of four images have a car; the model detects a car in the first three and never a boat."""
    records = [record._replace(boxes=()) for record in fresh_records(4)]
    box = fresh_records(1)[0].boxes[0]
    kinds = [("car",), ("car", "boat"), (), ()]
    records = [
        record._replace(boxes=tuple(box._replace(category=kind) for kind in named))
        for record, named in zip(records, kinds, strict=True)
    ]
    shape = PresenceShape({"car": 3, "boat": 9}, width=4)

    class DetectsCars(PresenceModel):
        def __call__(self, images_B3HW):
            return [{3}, {3}, {3}, set()]

    model = DetectsCars(presence_network(shape), shape, name="detects cars", sha256="")
    found = presence_accuracy(model, records)
    assert found.accuracy == {"car": 0.75, "boat": 0.75}
    assert found.balanced == {"car": 0.75, "boat": 0.5}
    assert found.exact == 0.5
    assert found.rounded()["balanced_least_of"] == "boat"


def test_labels_round_trip():
    shape = PresenceShape({"stop sign": 13, "car": 3})
    assert targets(["car\nstop sign", "car", ""], shape).tolist() == [[1, 1], [0, 1], [0, 0]]


def test_categories_that_cannot_be_evaluated_are_named():
    records = fresh_records(3)
    present = {box.category for record in records for box in record.boxes}
    absent = next(kind for kind in KINDS if kind not in present)
    with pytest.raises(ValueError, match=f"{absent} is in 0 of the 3 held-out images"):
        categories_present(records, PresenceShape(dict.fromkeys([*present, absent], 1)))
    with pytest.raises(ValueError, match="it should be one of"):
        categories_present(records, PresenceShape({absent: 1}))
    with pytest.raises(ValueError, match="categories is empty"):
        PresenceShape({})
