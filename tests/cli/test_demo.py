"""The plan of the demo: steps that fit into its time, and durations that read well."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from xmcgan.cli import demo_run
from xmcgan.cli.demo_plan import Rates, seconds, spoken, steps_within
from xmcgan.cli.demo_run import LONGEST, earlier_steps, model_page, times_around
from xmcgan.cli.main import main
from xmcgan.pages.run import read_log
from xmcgan.recipes import RECIPES
from xmcgan.training.state import TrainingDiverged


@pytest.mark.parametrize(
    ("budget", "step", "steps"), [(330, 0.7, 450), (330, 0.1, 900), (330, 60, 50), (-5, 0.7, 50), (100, 1, 100)]
)
def test_steps_fit_into_the_budget(budget, step, steps):
    assert steps_within(budget, step, 900) == steps


@pytest.mark.parametrize(
    ("duration", "words"), [(2, "5 seconds"), (62, "60 seconds"), (89, "90 seconds"), (384, "6.4 minutes")]
)
def test_durations_in_words(duration, words):
    assert spoken(duration) == words


def test_two_ordinary_cores_take_less_than_ten_minutes():
    """By the rates of two AVX2 cores: a step takes 0.7 s."""
    shown, around = times_around(Rates(scene=0.004, image=0.04, evaluated=0.03, step=0.7))
    assert shown < 180
    assert 300 <= steps_within(LONGEST - 15 - shown - around, 0.7, 900) <= 900


def test_the_first_call_does_not_count():
    calls = []
    assert seconds(lambda: calls.append(0), times=3) < 1
    assert len(calls) == 4


def test_a_demo_that_was_stopped_keeps_its_steps(tmp_path):
    assert earlier_steps(tmp_path) is None
    (tmp_path / "config.json").write_text(json.dumps({"config": {"training": {"steps": 350}}}))
    assert earlier_steps(tmp_path) == 350
    assert model_page(tmp_path / "demo") == tmp_path / "demo-scenes-64" / "page.html"


@pytest.fixture
def small_demo(tmp_path, monkeypatch):
    """The demo with a smaller network, fewer images, and two metrics."""
    recipe = RECIPES["scenes-64"]
    small = replace(
        recipe,
        generator=replace(recipe.generator, width=2, noise_dim=8),
        discriminator=replace(recipe.discriminator, width=2),
        training=replace(recipe.training, batch_size=4),
    )
    monkeypatch.setitem(RECIPES, "scenes-64", small)
    monkeypatch.setattr(demo_run, "METRICS", "soa-c,fid")
    monkeypatch.setattr(demo_run, "MODEL_TYPED", demo_run.MODEL_TYPED[:1])
    monkeypatch.setattr(demo_run, "TYPED", demo_run.TYPED[:1])
    monkeypatch.setattr(demo_run, "MODEL_IMAGES", 12)
    monkeypatch.setattr(demo_run, "TRAIN_IMAGES", 12)
    monkeypatch.setattr(demo_run, "HELD_OUT_IMAGES", 28)
    monkeypatch.chdir(tmp_path)
    return Path("demo")


def test_the_demo_writes_two_pages_and_says_where(small_demo, capsys):
    assert main(["demo", "--output", "demo", "--steps", "2"]) == 0
    printed = capsys.readouterr().out
    for page in (model_page(small_demo), small_demo / "report.html"):
        assert str(page.resolve()) in printed
        assert "</html>" in page.read_text()
    assert "1/2  scenes-64, trained before: samples and figures of 12 held-out captions" in printed
    assert "2/2  From nothing: 12 captioned images in data/scenes-demo, then 2 steps in demo" in printed
    measured = read_log(small_demo / "evaluations.jsonl").columns
    last = measured["soa-c"][-1], measured["fid"][-1]
    table = {words[0]: words[1:] for words in map(str.split, printed.splitlines()) if len(words) == 4}
    assert table["soa-c"][1] == f"{last[0]:.3f}"
    assert table["fid"][1:] == [f"{last[1]:.3f}", "0.000"]


def test_a_demo_that_is_stopped_says_how_it_goes_on(small_demo, capsys, monkeypatch):
    monkeypatch.setattr(demo_run, "train", lambda *_, **__: 1)
    with pytest.raises(SystemExit) as stopped:
        demo_run.train_from_nothing(small_demo, 2, 0.0)
    assert stopped.value.code == 130
    assert "stopped and saved at step 1; `make demo` continues from there" in capsys.readouterr().out


def test_a_demo_that_diverges_is_an_error(small_demo, capsys, monkeypatch):
    def diverge(*_, **__):
        raise TrainingDiverged("step 7: g_loss is nan")

    monkeypatch.setattr(demo_run, "demo", diverge)
    assert main(["demo"]) == 3
    assert capsys.readouterr().err == "xmcgan: training stopped at step 7: g_loss is nan\n"
