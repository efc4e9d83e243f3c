"""Working through the runs: real trainings, resumed, shared by two processes, and failures that are results."""

import json
import multiprocessing
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

import xmcgan.ablation.run as run_module
from ablations import outcome_of, plan_of
from tiny import tiny_config
from xmcgan.ablation.outcome import read_outcome, write_outcome
from xmcgan.ablation.plan import Budget, read_plan
from xmcgan.ablation.report import write_report
from xmcgan.ablation.studies import Row, Study
from xmcgan.ablation.work import STOPPED, training_records, work, work_on
from xmcgan.runtime.files import make_folder
from xmcgan.runtime.locks import locked_folder
from xmcgan.training.state import TrainingDiverged


@pytest.fixture
def study(scenes, encoder_folder) -> Study:
    base = tiny_config(scenes, encoder_folder, discriminator_steps=1)
    base = replace(base, evaluation=replace(base.evaluation, metrics="fid", count=4))
    plain = replace(base, generator=replace(base.generator, modulation="plain"))
    return Study("own", "Tiny", "", (Row("plain", plain), Row("attentional", base)))


@pytest.fixture
def plan(study, tmp_path):
    return plan_of(tmp_path / "ablation", study, seeds=2, points=1, pairs=2, budget=Budget(images=8))


def trainings(monkeypatch, end=None):
    """Replaces the training of a run; returns the names of the runs in their order."""
    seen = []

    def train_run(plan, run, steps, device, records, held_out):
        seen.append(run.name)
        return end(run) if end else outcome_of(run, {"fid": 1.0})

    monkeypatch.setattr(run_module, "train_run", train_run)
    return seen


def test_a_real_run_is_trained_evaluated_and_reported(study, tmp_path):
    plan = plan_of(tmp_path / "ablation", study, seeds=1, points=2, pairs=2, budget=Budget(images=8))
    assert work(plan.output, "cpu", rows=["attentional"]) == 0
    outcome = read_outcome(plan.outcome_file(plan.runs()[1]))
    assert (outcome.status, outcome.steps, outcome.images) == ("done", 2, 8)
    assert [point["images"] for point in outcome.curve] == [0, 4, 8]
    assert outcome.values["fid"] == outcome.curve[-1]["fid"] > 0
    assert 0 <= outcome.values["diversity"] < 2
    assert [line["images"] for line in outcome.losses] == [4, 8]
    assert outcome.seconds > 0
    assert not plan.outcome_file(plan.runs()[0]).exists()
    page = write_report(plan.output).read_text()
    assert "Not done yet: plain, seed 0." in page
    assert page.count("data:image/png;base64") == 1


def test_what_is_done_is_skipped(plan, monkeypatch):
    write_outcome(plan.outcome_file(plan.runs()[1]), outcome_of(plan.runs()[1], {"fid": 1.0}))
    seen = trainings(monkeypatch)
    assert work(plan.output, "cpu") == 0
    assert seen == ["plain-seed-0", "plain-seed-1", "attentional-seed-1"]
    assert work(plan.output, "cpu") == 0
    assert len(seen) == 3


def test_an_equal_run_of_another_ablation_is_reused(plan, study, tmp_path, monkeypatch):
    done = plan.runs()[1]
    write_outcome(plan.outcome_file(done), outcome_of(done, {"fid": 3.0}, steps=2))
    make_folder(plan.samples_file(done).parent)
    Image.new("RGB", (64, 128)).save(plan.samples_file(done))
    words = replace(study.rows[1].config, losses=replace(study.rows[1].config.losses, word=0.0))
    rows = (Row("no words", words), Row("whole", study.rows[1].config))
    other = plan_of(
        tmp_path / "other", Study("own", "Other", "", rows), seeds=2, points=1, pairs=2, budget=Budget(images=8)
    )
    seen = trainings(monkeypatch)
    assert work(other.output, "cpu", reuse=[plan.output]) == 0
    assert seen == ["no-words-seed-0", "no-words-seed-1", "whole-seed-1"]
    taken = read_outcome(other.outcome_file(other.runs()[1]))
    assert (taken.row, taken.seed, taken.values, taken.reused) == ("whole", 0, {"fid": 3.0}, "own, attentional")
    assert other.samples_file(other.runs()[1]).read_bytes() == plan.samples_file(done).read_bytes()
    assert "(trained as own, attentional)" in write_report(other.output).with_suffix(".md").read_text()


@pytest.mark.parametrize("change", [{"pairs": 4}, {"points": 2}, {"budget": Budget(images=16)}])
def test_a_run_that_differs_is_not_reused(plan, study, tmp_path, monkeypatch, change):
    done = plan.runs()[1]
    write_outcome(plan.outcome_file(done), outcome_of(done, {"fid": 3.0}, steps=2))
    settings = {"seeds": 1, "points": 1, "pairs": 2, "budget": Budget(images=8)} | change
    other = plan_of(tmp_path / "other", study, **settings)
    seen = trainings(monkeypatch)
    assert work(other.output, "cpu", reuse=[plan.output]) == 0
    assert seen == ["plain-seed-0", "attentional-seed-0"]


def test_a_run_that_fails_is_a_result_and_the_next_begins(plan, monkeypatch):
    def end(run):
        if run.name == "plain-seed-0":
            raise TrainingDiverged("step 3: g_hinge is nan\nsecond line")
        return outcome_of(run, {"fid": 1.0})

    seen = trainings(monkeypatch, end)
    assert work(plan.output, "cpu") == 0
    assert len(seen) == 4
    failed = read_outcome(plan.outcome_file(plan.runs()[0]))
    assert (failed.status, failed.error) == ("failed", "TrainingDiverged: step 3: g_hinge is nan second line")
    assert work(plan.output, "cpu") == 0
    assert len(seen) == 4  # it stays
    assert work(plan.output, "cpu", retry=True) == 0
    assert seen[4:] == ["plain-seed-0"]


def test_a_full_disk_is_not_a_result(plan, monkeypatch):
    def end(run):
        raise OSError(28, "No space left on device")

    trainings(monkeypatch, end)
    with pytest.raises(OSError, match="No space left"):
        work(plan.output, "cpu")
    assert not plan.outcome_file(plan.runs()[0]).exists()


def test_a_signal_stops_it_without_an_outcome(plan, monkeypatch):
    seen = trainings(monkeypatch, lambda run: None)
    assert work(plan.output, "cpu") == STOPPED
    assert seen == ["plain-seed-0"]
    assert not plan.outcome_file(plan.runs()[0]).exists()


def test_a_run_of_another_process_is_left_to_it(plan, monkeypatch):
    seen = trainings(monkeypatch)
    with locked_folder(plan.output / "locks" / "plain-seed-0", "worked on"):
        assert work(plan.output, "cpu") == 0
    assert seen == ["attentional-seed-0", "plain-seed-1", "attentional-seed-1"]


def on_two_devices(plan, monkeypatch) -> int:
    """``work_on`` in two forked processes."""
    fork = multiprocessing.get_context("fork")
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: fork)
    return work_on(plan.output, ["cpu", "cpu"])


def test_two_devices_share_the_runs(plan, monkeypatch):
    def end(run):
        (plan.output / f"{run.name}-was-trained").open("x").close()  # fails for a run that is trained twice
        return outcome_of(run, {"fid": 1.0})

    trainings(monkeypatch, end)
    assert on_two_devices(plan, monkeypatch) == 0
    outcomes = [read_outcome(plan.outcome_file(run)) for run in plan.runs()]
    assert [outcome.status for outcome in outcomes] == ["done"] * 4


def test_a_device_that_stops_is_the_exit_status(plan, monkeypatch):
    trainings(monkeypatch, lambda run: None)
    assert on_two_devices(plan, monkeypatch) == STOPPED


def test_a_budget_of_time_times_every_row_once(plan, monkeypatch):
    (plan.output / "study.json").unlink()
    timed = plan_of(plan.output, plan.study, seeds=2, points=1, pairs=2, budget=Budget(minutes=0.5))
    measured, given = [], {}

    def measure_step(config, records, device):
        measured.append(config.generator.modulation)
        return 0.5 if config.generator.modulation == "plain" else 1.5

    def end(run):
        return outcome_of(run, {"fid": 1.0})

    monkeypatch.setattr(run_module, "measure_step", measure_step)
    seen = trainings(monkeypatch, end)
    original = run_module.train_run

    def train_run(plan, run, steps, *others):
        given[run.name] = steps
        return original(plan, run, steps, *others)

    monkeypatch.setattr(run_module, "train_run", train_run)
    assert work(timed.output, "cpu") == 0
    assert measured == ["plain", "attentional"]
    assert given["plain-seed-1"] == 60
    assert given["attentional-seed-0"] == 20
    assert len(seen) == 4
    assert json.loads((timed.output / "steps.json").read_text())["plain"]["steps"] == 60
    assert read_plan(timed.output).budget.minutes == 0.5


def test_a_step_is_timed_with_its_data(study, monkeypatch):
    """The median of the steps after the first, each with a batch of its own."""
    config, steps = study.rows[0].config, []
    monkeypatch.setattr(run_module, "WARM_STEPS", 1)
    monkeypatch.setattr(run_module, "TIMED_STEPS", 3)
    whole = run_module.train_step

    def counted(state, batches):
        steps.append([batch.images_B3HW.sum() for batch in batches])
        return whole(state, batches)

    monkeypatch.setattr(run_module, "train_step", counted)
    ticks = iter([0.0, 10.0, 13.0, 20.0, 21.0, 30.0, 32.0])
    monkeypatch.setattr(run_module, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    assert run_module.measure_step(config, training_records(config), torch.device("cpu")) == 2.0
    assert len({float(total) for (total,) in steps}) == 4
