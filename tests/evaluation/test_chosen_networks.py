"""Which networks an evaluation takes: those that its metrics need, or an error that says which to give."""

from types import SimpleNamespace

import pytest

from xmcgan.evaluation.chosen_networks import EvaluationNetworks, load_evaluation_networks

BOXES = SimpleNamespace(name="rt-detr", detect_objects=lambda images: [])
COLOURED = SimpleNamespace(name="scenes", detect_objects=BOXES.detect_objects, shape=SimpleNamespace(colours=("red",)))
CLIP = SimpleNamespace(name="clip")


def test_colours_are_asked_of_the_dual_encoder_where_the_detector_knows_none():
    assert EvaluationNetworks(boxes=BOXES, encoder=CLIP).select(["exact-colour"]).encoder is CLIP
    assert EvaluationNetworks(boxes=COLOURED, encoder=CLIP).select(["exact-colour"]).encoder is None
    assert EvaluationNetworks(boxes=COLOURED).select(["exact"]).boxes is COLOURED
    with pytest.raises(ValueError, match="exact: the detector recognises no colours; give a dual encoder for them"):
        EvaluationNetworks(boxes=BOXES).select(["exact"])


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="precision is 'float8'; it should be one of float32, bfloat16, float16"):
        load_evaluation_networks(["fid"], {}, {}, scenes=True, device="cpu", precision="float8")


def test_a_metric_without_a_network_for_scenes_is_named():
    with pytest.raises(ValueError, match="fd-dinov2 has no network for Scenes; name one, or leave the metric out"):
        load_evaluation_networks(["fd-dinov2"], {}, {}, scenes=True, device="cpu")
