"""The shipped detector of Scenes on unseen scenes, and how its outputs become objects."""

import pytest
import torch

from xmcgan.evaluation.networks.detections import Detections, ObjectDetector
from xmcgan.evaluation.networks.detector_probes import probe_detector
from xmcgan.evaluation.networks.load import load_detector
from xmcgan.evaluation.networks.probes import fresh_scenes
from xmcgan.evaluation.networks.scene_detector import (
    Heads,
    SceneDetector,
    SceneDetectorShape,
    box_overlaps,
    decode,
    load_scenes_detector,
    without_overlaps,
)
from xmcgan.scenes import COLOURS, KINDS, World

SHAPE = SceneDetectorShape({"car": 3, "boat": 9}, ("red", "blue"), image_size=16)


@pytest.fixture(scope="module")
def detector() -> SceneDetector:
    return load_scenes_detector()


def test_implements_the_protocol(detector):
    as_detector: ObjectDetector = detector
    assert as_detector.name == "scenes-detector"
    assert set(detector.shape.categories.values()) == {kind.id for kind in KINDS.values()}
    assert detector.shape.colours == COLOURS
    with pytest.raises(ValueError, match="takes no weights"):
        load_detector("scenes-detector", "elsewhere")


@pytest.mark.parametrize(
    "world",
    [
        pytest.param(World(), id="default", marks=pytest.mark.slow),
        pytest.param(World(most_objects=2, sides=1.0), id="two-sided"),
    ],
)
def test_real_pictures_pass_and_exchanged_ones_fail(detector, world):
    """The issue's bounds are 97 % and 3 %; on 120 scenes single pictures weigh more."""
    found = probe_detector(detector, world, count=120)
    for task, share in found.real.tasks.items():
        assert share.value >= 0.94, task
    for task in ("counting", "colour", "position", "colour-attribution"):
        assert found.exchanged.tasks[task].value <= 0.06, task


def test_larger_pictures_and_a_grey_one(detector):
    scenes, images = fresh_scenes(24, World(most_objects=2), size=128)
    found = detector(images)
    right = [{KINDS[thing.kind].id for thing in scene.objects} for scene in scenes]
    assert sum(a == b for a, b in zip(found, right, strict=True)) >= 20
    assert not detector(torch.full((1, 3, 64, 64), 128, dtype=torch.uint8))[0]


def test_boxes_and_colours_lie_where_the_objects_are(detector):
    scenes, images = fresh_scenes(40, World(most_objects=1, sides=1.0))
    for scene, found in zip(scenes, detector.detect_objects(images), strict=True):
        thing = scene.objects[0]
        true = torch.tensor([[thing.left, thing.top, thing.left + thing.width, thing.top + thing.height]])
        best = int(box_overlaps(found.boxes_N4, true)[:, 0].argmax())
        assert box_overlaps(found.boxes_N4, true)[best] > 0.4
        assert found.colours[best] == thing.colour


def test_peaks_become_boxes_by_hand():
    kinds, places, colours = torch.full((1, 2, 4, 4), -9.0), torch.zeros(1, 4, 4, 4), torch.zeros(1, 2, 4, 4)
    kinds[0, 1, 2, 1], kinds[0, 1, 2, 2] = 3.0, 2.0  # the second is next to a higher one: no peak
    kinds[0, 0, 0, 3] = -2.0
    places[0, :, 2, 1] = torch.tensor([0.5, 0.5, 2.0, 1.0]).log().nan_to_num(0)
    places[0, :2, 2, 1] = 0.5  # the centre of the cell; width 2 and height 1 cells
    colours[0, 1, 2, 1] = 5.0
    (found,) = decode(Heads(kinds, places, colours), SHAPE)
    assert found.categories_N.tolist() == [9, 3]
    assert found.boxes_N4[0].tolist() == pytest.approx([0.125, 0.5, 0.625, 0.75])
    assert found.scores_N.tolist() == pytest.approx([0.9526, 0.1192], abs=1e-4)
    assert found.colours == ("blue", "red")


def test_the_less_confident_of_two_overlapping_objects_is_dropped():
    boxes = torch.tensor([[0.0, 0, 0.4, 0.4], [0.02, 0, 0.4, 0.4], [0.5, 0.5, 0.9, 0.9]])
    found = Detections(boxes, torch.tensor([3, 9, 3]), torch.tensor([0.9, 0.8, 0.7]), ("red", "blue", "blue"))
    kept = without_overlaps(found)
    assert kept.scores_N.tolist() == pytest.approx([0.9, 0.7])
    assert kept.colours == ("red", "blue")


def test_overlaps_by_hand():
    a, b = torch.tensor([[0.0, 0, 2, 2], [0, 0, 0, 0]]), torch.tensor([[1.0, 1, 3, 3]])
    assert box_overlaps(a, b).tolist() == [[pytest.approx(1 / 7)], [0.0]]


def test_shapes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="image_size is 20"):
        SceneDetectorShape({"car": 3}, ("red",), image_size=20)
    with pytest.raises(ValueError, match="categories or colours are empty"):
        SceneDetectorShape({"car": 3})
