"""Crops of detected objects."""

import pytest
import torch

from xmcgan.evaluation.networks.detections import Detections, categories_above, sorted_detections
from xmcgan.evaluation.object_crops import object_crops


def detections(boxes, scores):
    return Detections(
        torch.tensor(boxes).reshape(-1, 4), torch.ones(len(scores), dtype=torch.long), torch.tensor(scores)
    )


def test_crops_hold_the_pixels_of_their_boxes():
    image = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    image[..., :4, 4:] = 200  # the upper right quarter
    found = detections([[0.5, 0.0, 1.0, 0.5], [0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 0.5]], [0.9, 0.8, 0.4])
    crops = object_crops(image, [found], size=6)
    assert crops.shape == (2, 3, 6, 6)  # the third is not confident enough
    assert (crops[0] == 200).all()
    assert (crops[1] == 0).all()


def test_narrow_and_outer_boxes_stay_inside():
    image = torch.randint(0, 255, (1, 3, 8, 8), dtype=torch.uint8)
    found = detections([[1.0, 1.0, 1.0, 1.0], [-0.2, 0.0, 0.01, 0.01]], [0.9, 0.9])
    assert object_crops(image, [found], size=4).shape == (2, 3, 4, 4)
    assert object_crops(image, [detections([], [])], size=4).shape == (0, 3, 4, 4)


def test_detections_are_sorted_and_chosen():
    found = sorted_detections(torch.rand(3, 4), torch.tensor([5, 6, 7]), torch.tensor([0.2, 0.9, 0.5]))
    assert found.categories_N.tolist() == [6, 7, 5]
    assert found.select(found.scores_N >= 0.5).categories_N.tolist() == [6, 7]
    assert categories_above([found], 0.5) == [{6, 7}]


@pytest.mark.parametrize("counts", [(2, 3, 3), (3, 2, 3), (3, 3, 2)])
def test_detections_of_different_numbers_are_refused(counts):
    boxes, categories, scores = counts
    message = f"there are {boxes} boxes, {categories} categories and {scores} scores; their numbers should be equal"
    with pytest.raises(ValueError, match=message):
        sorted_detections(torch.rand(boxes, 4), torch.ones(categories), torch.rand(scores))
