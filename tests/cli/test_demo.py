"""The plan of the demo: steps that fit into its time, and durations that read well."""

import json

import pytest

from xmcgan.cli.demo_plan import Rates, seconds, spoken, steps_within
from xmcgan.cli.demo_run import LONGEST, earlier_steps, model_page, times_around


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
