"""Validation during training from the command line: metrics are logged, the best generator is kept."""

import json

from tiny import flags, tiny_config
from xmcgan.cli.main import main
from xmcgan.inference.pipeline import Pipeline


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


def test_unknown_metric_is_named_before_training(scenes, encoder_folder, tmp_path, capsys):
    config = tiny_config(scenes, encoder_folder, steps=4)
    wrong = ["--evaluation.every", "2", "--evaluation.metrics", "fidd"]
    assert main([*flags(config, tmp_path / "run"), *wrong]) == 2
    assert "unknown metric 'fidd'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
