"""Validation during training from the command line: metrics are logged, the best generator is kept."""

import json

from tiny import flags, tiny_config
from xmcgan.cli.main import main
from xmcgan.evaluation.image_set import generate_set
from xmcgan.inference.pipeline import Pipeline
from xmcgan.training import validation


def test_validation_with_scenes_networks(scenes, encoder_folder, tmp_path, capsys):
    config = tiny_config(scenes, encoder_folder, steps=4)
    evaluation = ["--evaluation.every", "2", "--evaluation.count", "6"]
    asked = ["--evaluation.metrics", "contrastive-accuracy,fid"]
    # Six images have no hundred captions to tell apart.
    assert main([*flags(config, tmp_path / "run"), *evaluation, *asked]) == 2
    assert "batch_size is 100" in capsys.readouterr().err
    assert main([*flags(config, tmp_path / "run"), *evaluation, "--evaluation.metrics", "fid,clip-score"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "run/evaluations.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 2, 4]
    best = json.loads((tmp_path / "run/best/evaluation.json").read_text())
    assert best["score"] == -min(line["fid"] for line in lines)
    assert Pipeline.from_pretrained(tmp_path / "run/best").step == best["step"]
    assert [path.name for path in (tmp_path / "run/evaluation").iterdir()] == ["cache"]


def test_images_know_the_weights_that_drew_them(scenes, encoder_folder, tmp_path, monkeypatch):
    """Two runs of other seeds draw step 0 with other weights; the text encoder is the same."""
    known = []

    def kept(folder, requests, generate, *, settings, progress):
        known.append(settings)
        return generate_set(folder, requests, generate, settings=settings, progress=progress)

    monkeypatch.setattr(validation, "generate_set", kept)
    for seed in ("1", "2"):
        config = tiny_config(scenes, encoder_folder, steps=1)
        asked = ["--evaluation.every", "1", "--evaluation.count", "6", "--evaluation.metrics", "clip-score"]
        assert main([*flags(config, tmp_path / seed), *asked, "--training.seed", seed]) == 0
    first, *_, last = known
    assert (first["step"], last["step"]) == (0, 1)
    assert len({each["generator_sha256"] for each in known}) == len(known) == 4
    assert len({each["text_encoder_sha256"] for each in known}) == 1


def test_unknown_metric_is_named_before_training(scenes, encoder_folder, tmp_path, capsys):
    config = tiny_config(scenes, encoder_folder, steps=4)
    wrong = ["--evaluation.every", "2", "--evaluation.metrics", "fidd"]
    assert main([*flags(config, tmp_path / "run"), *wrong]) == 2
    assert "unknown metric 'fidd'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
