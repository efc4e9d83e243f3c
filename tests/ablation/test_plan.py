"""The folder of an ablation: what it claims, what may change, budgets as steps."""

import json
from dataclasses import replace

import pytest

from ablations import outcome_of, plan_of
from xmcgan.ablation.outcome import read_outcome, write_outcome
from xmcgan.ablation.plan import Budget, config_of, read_plan, rows_named, slug, steps_of, write_plan
from xmcgan.ablation.studies import table_4, table_5
from xmcgan.recipes import RECIPES

BASE = RECIPES["scenes-64"]


@pytest.fixture
def plan(tmp_path):
    return plan_of(tmp_path / "ablation", table_5(BASE))


def test_a_plan_is_read_as_it_was_written(plan):
    assert read_plan(plan.output) == plan


def test_every_row_has_the_first_seed_before_any_has_the_second(plan):
    assert [(run.row.name, run.seed) for run in plan.runs()][:3] == [("plain", 0), ("attentional", 0), ("plain", 1)]


@pytest.mark.parametrize(
    "change",
    [
        {"rows": 5}, {"rows": [{"name": "plain"}]}, {"claims": [{"better": "plain", "x": 1}]}, {"budget": {"hours": 1}},
        {"budget": {"images": 0}}, {"rows": [{"name": "plain", "paper": {}, "config": {"generator": {"with": 8}}}]},
    ],
)  # fmt: skip
def test_a_damaged_plan_is_named(plan, change):
    path = plan.output / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=rf"^{path} is damaged: "):
        read_plan(plan.output)


def test_another_study_is_refused_with_what_differs(plan):
    with pytest.raises(ValueError, match="holds another study: study was 'table-5' and is 'table-4'"):
        write_plan(replace(plan, study=table_4(BASE)))
    with pytest.raises(ValueError, match=r"budget was .*800.* and is .*900"):
        write_plan(replace(plan, budget=Budget(images=900)))
    wider = replace(BASE, generator=replace(BASE.generator, width=9))
    with pytest.raises(ValueError, match="row plain was"):
        write_plan(replace(plan, study=table_5(wider)))


def test_seeds_may_be_added_and_the_data_may_move(plan):
    write_plan(replace(plan, seeds=5, study=table_5(replace(BASE, data="/elsewhere"))))
    assert read_plan(plan.output).seeds == 5
    write_plan(plan)
    assert read_plan(plan.output).seeds == 5  # those that are there stay part of it


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="neither empty nor an ablation"):
        plan_of(tmp_path, table_5(BASE))


def test_a_budget_of_images_counts_those_of_every_discriminator_step(plan):
    row = plan.study.rows[0]
    assert row.config.training.batch_size == 24
    assert steps_of(plan, row) == 34  # 33 steps are 792 images
    two = replace(row, config=replace(row.config, training=replace(row.config.training, discriminator_steps=2)))
    assert steps_of(plan, two) == 17


def test_a_budget_of_minutes_is_steps_by_the_seconds_of_one(plan):
    timed = replace(plan, budget=Budget(minutes=2))
    assert steps_of(timed, plan.study.rows[0], 0.5) == 240
    assert steps_of(timed, plan.study.rows[0], 1000.0) == 1
    assert steps_of(replace(plan, budget=Budget()), plan.study.rows[0]) == BASE.training.steps


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Budget(images=5, minutes=5), "--images or --minutes, not both"),
        (lambda: Budget(images=0), "images is 0"),
        (lambda: Budget(minutes=-1.0), r"minutes is -1\.0"),
    ],
)
def test_budgets_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_run_has_the_rows_configuration_its_seed_and_its_steps(plan):
    run = plan.runs()[3]
    config = config_of(plan, run, steps=35, device="cpu")
    assert (config.training.seed, config.training.steps, config.training.device) == (1, 35, "cpu")
    assert config.evaluation.every == 18  # two evaluations: after 18 steps, and after the last
    assert config.generator == run.row.config.generator


def test_some_rows_by_name(plan):
    assert [row.name for row in rows_named(plan.study, ["plain"]).rows] == ["plain"]
    with pytest.raises(ValueError, match="table-5 has no row fancy; there is plain, attentional"):
        rows_named(plan.study, ["fancy"])


def test_names_of_files():
    assert slug("sentence + word") == "sentence-and-word"
    assert slug("trace 0.5") == "trace-0.5"
    assert "/" not in slug("..//..")


def test_outcomes_are_read_as_written_and_damage_is_named(plan):
    run = plan.runs()[0]
    outcome = outcome_of(run, {"fid": 1.25})
    write_outcome(plan.outcome_file(run), outcome)
    assert read_outcome(plan.outcome_file(run)) == outcome
    plan.outcome_file(run).write_text('{"row": "plain"}')
    with pytest.raises(ValueError, match=r"plain-seed-0\.json is not the outcome of a run"):
        read_outcome(plan.outcome_file(run))
