"""The commands bench, export and project, as a user calls them."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch

from xmcgan.cli.main import run
from xmcgan.config import Config
from xmcgan.profiling import bench, timing
from xmcgan.recipes import RECIPES


@pytest.fixture(autouse=True)
def small_matrix_products(monkeypatch):
    monkeypatch.setattr(timing, "ceiling", partial(timing.ceiling, side=256))  # 2048 takes seconds


@pytest.mark.slow
def test_bench_of_a_checkpoint(trained, encoder_folder, tmp_path, capsys):
    output = tmp_path / "bench.json"
    quick = ["--repetitions", "2", "--warmup", "1", "--threads", "1", "--device", "cpu", "--generation-batch", "2"]
    assert run(["bench", "--model", str(trained), *quick, "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    for part in ("training", "generation", "text", "loading"):
        assert f"| {part} |" in printed
    written = json.loads(output.read_text())
    assert [each["part"] for each in written["measurements"]] == [
        "training", "generation", "generation", "text", "loading",
    ]  # fmt: skip
    assert written["checkpoint"] == str(trained)
    assert written["machine"]["threads"] == 1
    assert all(len(each["seconds"]) == 2 for each in written["measurements"])
    # What bench writes, project reads.
    assert run(["project", "scenes-64", "--text-dim", "32", "--bench", str(output), "--devices", "[1, 2]"]) == 0
    assert "measured: bench.json" in capsys.readouterr().out
    with pytest.raises(FileExistsError, match="is there already"):
        run(["bench", "scenes-64", "--output", str(output)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scenes-46"], "unknown recipe 'scenes-46'; did you mean 'scenes-64'"),
        (["--parts", "[trainng]"], "--parts is 'trainng'; it should be one of .*did you mean 'training'"),
        (["--precision", "[float8]"], "--precision is 'float8'; it should be one of float32, bfloat16"),
        (["--parts", "text,trainng"], "--parts is 'trainng'"),
        (["--precision", "float8"], "--precision is 'float8'"),
        (["--threads", "0"], "--threads is 0; it should be at least 1"),
        (["--generation-batch", "0"], "--generation-batch is 0; it should be at least 1"),
        (["--generation-batch", "-1"], "--generation-batch is -1; it should be at least 1"),
        (["--text-dim", "0"], "--text-dim is 0; it should be at least 1"),
        (["--batch-size", "1"], "--batch-size is 1; it should be at least 2"),
        (["--micro-batch", "0"], "--micro-batch is 0; it should be at least 1"),
        (["--micro-batch", "3", "--batch-size", "4"], "training.micro_batch is 3, which does not divide the 4"),
        (["--encoder", "nowhere", "--parts", "training"], "--encoder is 'nowhere', whose width .* give --text-dim"),
        (["--tf32", "true", "--device", "cpu"], "only CUDA has TF32"),
    ],
)
def test_mistakes_are_named_before_anything_is_measured(arguments, message):
    with pytest.raises(ValueError, match=message):
        run(["bench", *arguments])


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], (True, 8, True)),
        (["--fused", "false", "--micro-batch", "4", "--channels-last", "false"], (False, 4, False)),
    ],
)
def test_switches_are_as_configured_unless_given(monkeypatch, flags, expected):
    recipe = RECIPES["scenes-64"]
    training = replace(recipe.training, fused=True, micro_batch=8)
    monkeypatch.setitem(RECIPES, "scenes-64", replace(recipe, training=training))
    measured = []

    def caught(config: Config, *_: object, **__: object) -> None:
        measured.append(config.training)
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(bench, "bench_training", caught)
    assert run(["bench", "scenes-64", "--parts", "training", "--text-dim", "32", "--device", "cpu", *flags]) == 0
    (settings,) = measured
    assert (settings.fused, settings.micro_batch, settings.channels_last) == expected


@pytest.mark.slow
def test_what_was_measured_is_kept_when_a_part_does_not_fit(trained, tmp_path, capsys, monkeypatch):
    def large(*_arguments: object, **_settings: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(bench, "bench_training", large)
    output = tmp_path / "bench.json"
    quick = ["--repetitions", "2", "--warmup", "1", "--device", "cpu", "--precision", "float32"]
    quick += ["--generation-batch", "2", "--output", str(output)]
    assert run(["bench", "--model", str(trained), "--parts", "[training, generation]", *quick]) == 0
    assert "| training | float32 | out of memory |" in capsys.readouterr().out
    written = json.loads(output.read_text())
    assert [each["part"] for each in written["out_of_memory"]] == ["training"]
    assert [each["part"] for each in written["measurements"]] == ["generation", "generation"]
    assert [each.name for each in tmp_path.iterdir()] == ["bench.json"]

    def broken(*_arguments: object, **_settings: object) -> None:
        raise RuntimeError("something else")

    output.unlink()
    monkeypatch.setattr(bench, "bench_loading", broken)
    with pytest.raises(RuntimeError, match="something else"):
        run(["bench", "--model", str(trained), "--parts", "[text, loading]", *quick])
    assert [each["part"] for each in json.loads(output.read_text())["measurements"]] == ["text"]


def test_a_checkpoint_has_its_own_width(trained):
    with pytest.raises(ValueError, match="--text-dim is 33; that of the checkpoint's words is 32"):
        run(["bench", "--model", str(trained), "--text-dim", "33"])


def test_project_says_what_it_assumes(capsys):
    given = ["--text-dim", "32", "--mfu", "0.4", "--tflops", "312", "--devices", "[1, 4]"]
    assert run(["project", "scenes-64", *given]) == 0
    printed = capsys.readouterr().out
    said = "assumed: given on the command line"
    assert f"312 TFLOP/s ({said}) at 40% ({said})" in printed
    assert "reserve 0.1" in printed
    assert "bandwidth_gbs 50" in printed
    assert "| 4 |" in printed
    with pytest.raises(ValueError, match="unknown recipe"):
        run(["project", "nothing"])
    with pytest.raises(ValueError, match=r"mfu is 2\.0; it should be a share"):
        run(["project", "scenes-64", "--text-dim", "32", "--mfu", "2"])


def test_project_takes_a_bare_number_and_the_devices_that_divide(capsys):
    small = ["scenes-64", "--text-dim", "32"]
    assert run(["project", *small, "--devices", "4", "--activation-bytes", "4", "--reserve", "0.2"]) == 0
    assert "activation_bytes 4, reserve 0.2" in capsys.readouterr().out
    assert run(["project", *small]) == 0  # 64 does not divide its batch of 24
    rows = [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert rows[2:] == ["1", "8"]
    with pytest.raises(ValueError, match="64 devices do not share a batch of 24"):
        run(["project", *small, "--devices", "64"])
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match=r"--epochs is -1\.0; it should be at least 0"):
        run(["project", *small, "--epochs", "-1"])


def test_project_keeps_apart_what_was_measured(tmp_path, capsys):
    path = tmp_path / "bench.json"
    step = {"part": "training", "precision": "bfloat16", "tflops": 300.0, "tflops_run": 300.0}
    content = {"measurements": [step], "ceiling_tflops": {"bfloat16": 600.0}, "machine": {"name": "a card"}}
    path.write_text(json.dumps(content))
    assert run(["project", "scenes-64", "--text-dim", "32", "--bench", str(path), "--mfu", "0.4"]) == 0
    printed = capsys.readouterr().out
    assert "600 TFLOP/s (measured: bench.json, a card, a matrix product in bfloat16)" in printed
    assert "at 40% (assumed: given on the command line)" in printed
