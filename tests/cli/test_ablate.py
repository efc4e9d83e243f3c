"""``xmcgan ablate`` and ``xmcgan report`` from the command line, without training."""

import json

import pytest

import xmcgan.ablation.work as work_module
from ablations import outcome_of
from xmcgan.ablation.outcome import write_outcome
from xmcgan.ablation.plan import read_plan
from xmcgan.cli.main import main, run


@pytest.fixture
def worked(monkeypatch):
    """Ends every run at once instead of training it; returns what it was asked for."""
    seen = []

    def work_on(output, devices, rows, retry, reuse):
        plan = read_plan(output)
        seen.append((devices, rows, retry))
        for each in plan.runs():
            write_outcome(plan.outcome_file(each), outcome_of(each, {"fid": 1.0 + each.seed}))
        return 0

    monkeypatch.setattr(work_module, "work_on", work_on)
    return seen


def test_a_study_is_planned_run_and_reported(worked, scenes, tmp_path, capsys):
    output = tmp_path / "ablation"
    words = ["ablate", "scenes-64", "--study", "table-5", "--output", str(output), "--data", str(scenes)]
    words += ["--images", "480", "--seeds", "2", "--count", "50", "--metrics", "fid", "--devices", "cpu,cpu"]
    assert run([*words, "--generator.width", "4", "--rows", "plain"]) == 0
    assert worked == [(["cpu", "cpu"], ["plain"], False)]
    plan = read_plan(output)
    assert [row.name for row in plan.study.rows] == ["plain", "attentional"]
    assert {row.config.generator.width for row in plan.study.rows} == {4}
    assert plan.study.rows[0].config.evaluation.count == 50
    assert (plan.seeds, plan.budget.images, plan.points) == (2, 480, 4)
    assert str(output / "report" / "report.html") in capsys.readouterr().out
    assert run(["report", str(output), "--output", str(tmp_path / "elsewhere")]) == 0
    assert (tmp_path / "elsewhere" / "report.md").is_file()


def test_a_list_of_ones_own(worked, scenes, tmp_path):
    path = tmp_path / "rows.json"
    rows = [{"name": "with", "changes": {}}, {"name": "without", "changes": {"losses.word": 0.0}}]
    path.write_text(json.dumps({"rows": rows}))
    words = ["ablate", "scenes-64", "--study", str(path), "--output", str(tmp_path / "own"), "--data", str(scenes)]
    assert run([*words, "--images", "48", "--seeds", "1"]) == 0
    assert read_plan(tmp_path / "own").study.rows[1].config.losses.word == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--study", "table-7"], "unknown study 'table-7', and no file has that name; did you mean 'table-"),
        (["--study", "table-5", "--rows", "fancy"], "table-5 has no row fancy"),
        (["--study", "table-5", "--images", "5", "--minutes", "5"], "--images or --minutes, not both"),
        (["--study", "trace"], r"losses.trace is 1.0, but dataset.layout is coco, which has no mouse traces"),
        (["--study", "table-5", "--points", "0"], "points is 0"),
        (["--study", "table-5", "--data", "/nowhere"], "/nowhere"),
        (["--study", "table-5", "--dataset.validation-split", "test2014"], "test2014"),
    ],
)
def test_a_mistake_is_one_line(worked, words, message, scenes, tmp_path, capsys):
    start = ["ablate", "scenes-64", "--output", str(tmp_path / "ablation"), "--data", str(scenes)]
    assert main([*start, *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not worked
    assert not (tmp_path / "ablation").exists()


def test_a_folder_that_is_no_ablation_has_no_report(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "is not the folder of an ablation" in capsys.readouterr().err
