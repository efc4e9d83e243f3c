"""Metrics of other papers: colours from a dual encoder, and errors for missing captions or networks."""

import io
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from xmcgan.data.images import ImageTransform
from xmcgan.data.records import Record
from xmcgan.evaluation.asking import Asking
from xmcgan.evaluation.chosen_networks import EvaluationNetworks
from xmcgan.evaluation.crop_colours import COLOUR_PROTOCOL
from xmcgan.evaluation.evaluate import compute_metric
from xmcgan.evaluation.features import ExtractedFeatures
from xmcgan.evaluation.image_set import Request
from xmcgan.evaluation.inputs import MetricInputs
from xmcgan.evaluation.networks.detections import Detections
from xmcgan.evaluation.peer_metrics import compute_peer_metric
from xmcgan.metrics.exact_questions import Question, Rules, Wanted

DETECTOR = SimpleNamespace(name="cars", weights_sha256="2" * 64, detectable=frozenset({3}))


class ByColour:
    """A dual encoder of red and blue: a crop's mean colour, and the colour that a text names."""

    name, weights_sha256 = "by-colour", "0" * 64

    def encode_images(self, images_B3HW):
        return torch.nn.functional.normalize(images_B3HW.float().mean((2, 3)), dim=1)

    def encode_captions(self, captions):
        rows = {"red": [1.0, 0, 0], "blue": [0, 0, 1.0]}
        named = [next((rows[name] for name in rows if f" {name}" in text), [0, 1.0, 0]) for text in captions]
        return torch.tensor(named)


def blue_car() -> Record:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (0, 0, 255)).save(stream, format="PNG")
    return Record(stream.getvalue(), ("",), "1")


def inputs(*questions: Question, caption: str = "a car", **extracted) -> MetricInputs:
    """One image with a car, found by a detector that gives no colours."""
    found = Detections(torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([3]), torch.tensor([0.95]))
    return MetricInputs(
        ExtractedFeatures(**{"detections": [found], "detected": [{3}], **extracted}),
        ExtractedFeatures(),
        ExtractedFeatures(),
        [blue_car()],
        ImageTransform(8),
        [Request("1", "1", caption, 0)],
        EvaluationNetworks(
            boxes=DETECTOR, detector=DETECTOR, encoder=ByColour(), extractor=SimpleNamespace(name="dino")
        ),
        Asking("by hand", Rules(), lambda _: list(questions)),
    )


@pytest.mark.parametrize(("colour", "value"), [("blue", 1.0), ("red", 0.0)])
def test_colours_by_a_dual_encoder_are_answered_and_recorded(colour, value):
    found = compute_peer_metric("exact-colour", inputs(Question("colour", (Wanted(3, 1, colour),))))
    assert found.value == value
    assert found.settings["colours"] == f"{COLOUR_PROTOCOL} by-colour"
    assert found.settings["colours_sha256"] == "0" * 64
    assert found.settings["asked"] == 1


def test_a_task_that_no_caption_asks_for_is_named():
    asked = inputs(Question("single-object", (Wanted(3),)), Question("counting", (Wanted(3),)))
    with pytest.raises(
        ValueError, match="exact-position: no caption asks a question of this task; it can be single-object, counting"
    ):
        compute_peer_metric("exact-position", asked)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("exact", "exact: no caption asks an exact question; use captions of Scenes, or GenEval's prompts"),
        ("o-is", "o-is: the extractor gives no logits, or no object was detected; use a classifier"),
        ("counting-alignment", "counting-alignment: no caption counts objects that the detector knows"),
        ("positional-alignment", "positional-alignment: no caption has a word of position"),
        ("beauty", "unknown metric 'beauty'"),
    ],
)
def test_what_a_metric_lacks_is_said(metric, message):
    with pytest.raises(ValueError, match=message):
        compute_peer_metric(metric, inputs(caption="two sheep in a meadow"))


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("is", "is: the extractor gives no logits; it should be a classifier such as inception-v3-tf"),
        ("soa-c", "soa-c: no caption names a category that the detector knows"),
        ("soa-i", "soa-i: no caption names a category that the detector knows"),
    ],
)
def test_what_a_metric_of_the_paper_lacks_is_said(metric, message):
    with pytest.raises(ValueError, match=message):
        compute_metric(metric, inputs(caption="two sheep in a meadow"))
