"""Training data of the evaluators that ship."""

import json
from dataclasses import replace
from functools import partial

from xmcgan.cli.main import main
from xmcgan.cli.train_evaluators import accuracies
from xmcgan.evaluation.networks.scene_detector import load_scene_detector_folder
from xmcgan.scenes import World
from xmcgan.training.evaluators import scenes as module
from xmcgan.training.evaluators.scenes import DETECTOR_DRAWN, SCENES_DRAWN


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


def test_small_evaluators_are_trained_and_measured_in_their_worlds(tmp_path, monkeypatch, capsys):
    few = World(most_objects=1, kinds=("car", "boat"), backgrounds=("street", "sea"))
    drawn = {"default": (few, 24, 100), "sided": (replace(few, sides=1.0), 8, 8)}
    monkeypatch.setattr(module, "KINDS", {name: module.KINDS[name] for name in few.kinds})
    monkeypatch.setattr(module, "SCENES_DRAWN", drawn)
    monkeypatch.setattr(module, "DETECTOR_DRAWN", drawn)
    monkeypatch.setattr(module, "SCENES_EXCHANGED", (("car", "boat"),))
    monkeypatch.setattr(module, "SCENES_ENCODER", replace(module.SCENES_ENCODER, width=4, words=8))
    monkeypatch.setattr(module, "retrieval_accuracy", partial(module.retrieval_accuracy, candidates=4))
    monkeypatch.setattr(module, "mistakes_detected", partial(module.mistakes_detected, count=40))
    for name in ("SCENES_ENCODER_FITTING", "SCENES_PRESENCE_FITTING", "SCENES_DETECTOR_FITTING"):
        short = replace(getattr(module, name), steps=2, batch_size=8, save_every=1, workers=0, device="cpu")
        monkeypatch.setattr(module, name, short)
    output = tmp_path / "evaluators"
    assert main(["train-evaluators", "--output", str(output)]) == 0
    measured = json.loads((output / "measured.json").read_text())
    assert {name: sorted(found) for name, found in measured.items()} == {
        "default": ["detector", "mistakes_told", "presence", "retrieval_top1"],
        "sided": ["detector", "mistakes_told", "presence", "retrieval_top1"],
    }
    assert 0 <= measured["sided"]["retrieval_top1"] <= 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[-3:-1]] == ["default", "sided"]
    assert lines[-1] == f"scenes-dual-encoder, scenes-presence and scenes-detector are in {output}"
    assert load_scene_detector_folder(output / "scenes-detector").shape.width == 16
