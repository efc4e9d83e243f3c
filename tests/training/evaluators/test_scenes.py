"""Training data of the evaluators that ship."""

from dataclasses import replace

from xmcgan.cli.train_evaluators import accuracies
from xmcgan.evaluation.networks.scene_detector import load_scene_detector_folder
from xmcgan.scenes import World
from xmcgan.training.evaluators import scenes as module
from xmcgan.training.evaluators.scenes import (
    DETECTOR_DRAWN,
    SCENES_DETECTOR_FITTING,
    SCENES_DRAWN,
    train_scenes_detector,
)


def test_shipped_evaluators_use_a_split_of_their_own():
    """They are trained on the third split alone; what is measured on are others' scenes of the validation split."""
    assert SCENES_DRAWN["default"][0] == World()
    assert SCENES_DRAWN["default"][1] >= 20_000
    assert SCENES_DRAWN["few"][0] == World(most_objects=2)


def test_what_was_measured_is_printed_for_every_world():
    """The worlds of the detector have no other measurements."""
    presence = {"accuracy_least": 0.98, "balanced_least": 0.97, "exact": 0.95}
    assert accuracies({"detector": {"exact": 0.964}}) == ["every object and colour found 96.4%"]
    assert accuracies({"retrieval_top1": 0.97, "presence": presence}) == [
        "retrieval 97.0% top 1 of 100",
        "presence of the worst category 98.0%, balanced 97.0%, all 95.0%",
    ]
    assert set(DETECTOR_DRAWN) - set(SCENES_DRAWN) == {"two-sided"}


def test_a_small_detector_is_trained_on_its_worlds(tmp_path, monkeypatch):
    worlds = {
        "default": (World(most_objects=1, kinds=("car", "boat"), backgrounds=("street", "sea")), 24, 8),
        "two-sided": (World(most_objects=2, sides=1.0), 0, 8),
    }
    monkeypatch.setattr(module, "DETECTOR_DRAWN", worlds)
    fitting = replace(SCENES_DETECTOR_FITTING, steps=2, batch_size=8, save_every=1, workers=0, device="cpu")
    measured = train_scenes_detector(tmp_path, workers=1, progress=False, fitting=fitting)
    assert set(measured) == {"default", "two-sided"}
    assert load_scene_detector_folder(tmp_path / "scenes-detector").shape.width == 16
