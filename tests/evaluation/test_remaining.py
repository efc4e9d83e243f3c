"""How long an evaluation still takes."""

from types import SimpleNamespace

import pytest

import xmcgan.runtime.progress as progress_module
from xmcgan.evaluation import remaining as module
from xmcgan.evaluation.remaining import Remaining, duration, report, time_left_shown
from xmcgan.runtime.progress import ProgressBar


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    for each in (module, progress_module):
        monkeypatch.setattr(each, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_time_left_is_by_kind_of_work(clock):
    remaining = Remaining({"generating": 10, "evaluating": 10, "real images": 30})
    assert remaining.time_left() is None
    clock[0] = 8.0
    remaining.add("generating", 4)  # 2 s each
    assert remaining.time_left() == 6 * 2 + 10 * 2 + 30 * 2  # others are taken to be as slow
    clock[0] = 100.0
    remaining.begin()  # a pause between parts counts for none
    clock[0] = 101.0
    remaining.add("evaluating", 10)
    remaining.skip("real images", 20)
    assert remaining.time_left() == pytest.approx(6 * 2 + 10 * (9 / 14))


def test_a_bar_says_what_all_parts_still_take(clock):
    bar = ProgressBar(total=4, unit="image", disable=True)
    report("generating", 1, bar)
    assert bar.postfix == ""
    with time_left_shown({"generating": 4}):
        clock[0] = 60.0
        report("generating", 1, bar)
    assert bar.postfix == "all parts: 3 min left"


def test_the_time_left_ends_with_its_evaluation(clock):
    bar = ProgressBar(total=4, unit="image", disable=True)
    with pytest.raises(RuntimeError), time_left_shown({"generating": 4}):
        raise RuntimeError
    clock[0] = 60.0
    report("generating", 1, bar)
    assert bar.postfix == ""


@pytest.mark.parametrize(("seconds", "text"), [(45, "45 s"), (170, "3 min"), (7500, "2 h 05 min")])
def test_durations(seconds, text):
    assert duration(seconds) == text
