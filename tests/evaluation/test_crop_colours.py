"""Colours of detected objects by the crop."""

import io

import torch
from PIL import Image

from xmcgan.data.images import ImageTransform
from xmcgan.data.records import Record
from xmcgan.evaluation.asking import GENEVAL_COLOURS
from xmcgan.evaluation.crop_colours import coloured_detections
from xmcgan.evaluation.networks.detections import Detections
from xmcgan.metrics.exact_questions import Question, Rules, Wanted

RGB = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


class ByColour:
    """A dual encoder that knows red, green and blue: of a crop its mean colour, of a text the colour it names."""

    name, dim, weights_sha256, protocol = "by-colour", 3, "0" * 64, {}

    def encode_images(self, images_B3HW):
        return torch.nn.functional.normalize(images_B3HW.float().mean((2, 3)), dim=1)

    def encode_captions(self, captions):
        rows = [
            next((torch.tensor(rgb) / 255 for name, rgb in RGB.items() if f" {name}" in text), torch.full((3,), -0.5))
            for text in captions
        ]
        return torch.nn.functional.normalize(torch.stack(rows).float(), dim=1)


def record() -> Record:
    """Left half green, right half blue."""
    image = Image.new("RGB", (8, 8), RGB["green"])
    image.paste(RGB["blue"], (4, 0, 8, 8))
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return Record(stream.getvalue(), ("",), "1")


def test_only_objects_that_are_asked_for_get_the_colour_of_their_crop():
    boxes = torch.tensor([[0.5, 0, 1, 1], [0, 0, 0.5, 1], [0, 0, 1, 1], [0, 0, 0.5, 1]])
    found = Detections(boxes, torch.tensor([3, 3, 18, 3]), torch.tensor([0.9, 0.8, 0.7, 0.2]))
    questions = [Question("colour", (Wanted(3, 2, "blue"),))]
    (coloured,) = coloured_detections([record()], ImageTransform(8), [found], [questions], ByColour(), Rules())
    assert coloured.colours == ("blue", "green", "", "")  # the dog is not asked for, the last car is not confident
    assert {"blue", "green"} <= set(GENEVAL_COLOURS)


def test_images_without_a_question_of_colour_are_not_even_read():
    found = Detections(torch.zeros(1, 4), torch.tensor([3]), torch.tensor([0.9]))
    questions = [Question("single-object", (Wanted(3),))]
    broken = Record(b"no image", ("",), "1")
    (same,) = coloured_detections([broken], ImageTransform(8), [found], [questions], ByColour(), Rules())
    assert same is found
