"""Training a detector of Scenes."""

import math
from dataclasses import replace

import pytest
import torch

from xmcgan.evaluation.networks.scene_detector import Heads, SceneDetectorShape, load_scene_detector_folder
from xmcgan.scenes import COLOURS, World, sample_scene
from xmcgan.training.evaluators.fitting import Fitting
from xmcgan.training.evaluators.scene_detector import Labelled, detection_loss, to_labels, train_scene_detector

CARS_AND_BOATS = World(most_objects=1, backgrounds=("street", "sea"), kinds=("car", "boat"))
"""The world of the fixture ``records``."""

SHAPE = SceneDetectorShape({"car": 3, "boat": 9}, COLOURS, image_size=32, width=4)
FITTING = Fitting(
    steps=60, batch_size=16, learning_rate=1e-2, warmup=2, shift=0, precision="float32", save_every=30, workers=0,
    device="cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def labelled(records):
    return [Labelled(each, sample_scene(0, "evaluator", k, CARS_AND_BOATS)) for k, each in enumerate(records)]


def test_a_detector_learns_where_cars_and_boats_are(labelled, tmp_path):
    measured = train_scene_detector(
        tmp_path / "detector", labelled, labelled, shape=SHAPE, fitting=FITTING, progress=False
    )
    assert measured["kinds"] >= 0.7
    assert measured["overlap"] >= 0.4
    assert measured["images"] == 32
    detector = load_scene_detector_folder(tmp_path / "detector")
    assert detector.shape == SHAPE
    again = train_scene_detector(
        tmp_path / "detector", labelled, labelled, shape=SHAPE, fitting=FITTING, progress=False
    )
    assert again == measured  # it is finished: nothing is trained
    with pytest.raises(ValueError, match=r"fitting\.learning_rate"):
        train_scene_detector(
            tmp_path / "detector", labelled, labelled, shape=SHAPE, fitting=replace(FITTING, learning_rate=1.0)
        )


def test_a_record_with_another_scene_is_refused(labelled):
    cars = next(each for each in labelled if each.scene.objects[0].kind == "car")
    boats = next(each for each in labelled if each.scene.objects[0].kind == "boat")
    with pytest.raises(ValueError, match="has boxes of car, but its scene has boat"):
        to_labels(Labelled(cars.record, boats.scene), SHAPE)


def test_the_loss_by_hand():
    """One car of colour 1 whose centre is in the cell (1, 0), of one cell's size, in a grid of 2 x 2."""
    label = "[[0, 1, 0.5, 0.0, 0.5, 0.5]]"
    kinds = torch.zeros(1, 2, 2, 2)
    places = torch.zeros(1, 4, 2, 2)
    places[0, :2] = 0.5
    found = detection_loss(Heads(kinds, places, torch.zeros(1, 10, 2, 2)), [label])
    near, far = math.exp(-1 / (2 * 0.8**2)), math.exp(-2 / (2 * 0.8**2))
    at_centre = 0.25 * math.log(2)  # (1 - 0.5)^2 * -log 0.5
    other_kind = 4 * at_centre
    own_kind = at_centre * (1 + 2 * (1 - near) ** 4 + (1 - far) ** 4)
    assert found.loss.item() == pytest.approx(own_kind + other_kind + 0.5 * math.log(10), rel=1e-5)
