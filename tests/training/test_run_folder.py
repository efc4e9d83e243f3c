"""What may change on resume, and which folders a run refuses."""

import functools
import json
import shutil
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from steps import having, last_of
from tiny import contents, different, files, run
from xmcgan.config import EvaluationConfig
from xmcgan.data.layouts import read_records
from xmcgan.training.loop import train
from xmcgan.training.run_folder import MAY_CHANGE, check_run_folder, describe_run

ROUNDS_OTHERWISE = ("compile", "fused", "tf32", "channels_last")  # of training; test_state.py


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("training__discriminator_lr", 1e-3, r"training\.discriminator_lr was 0\.0004 and is 0\.001"),
        ("training__seed", 5, r"training\.seed was 0 and is 5"),
        ("training__batch_size", 8, r"training\.batch_size was 4 and is 8"),
        ("generator__width", 6, r"generator\.width was 4 and is 6"),
        ("text__max_length", 20, r"text\.max_length was 17 and is 20"),
        ("losses__word", 0.5, r"losses\.word was 1\.0 and is 0\.5"),
        ("dataset__flip", True, r"dataset\.flip was False and is True"),
        ("training__precision", "bfloat16", r"training\.precision was 'float32' and is 'bfloat16'"),
    ],
)
def test_other_settings_are_refused_and_named(output, config, name, value, said):
    before = files(output)
    with pytest.raises(ValueError, match=rf"holds a run with other settings: {said}\. Choose another --output"):
        run(having(config, **{name: value}), output)
    assert files(output) == before


def test_all_settings_that_differ_are_named(output, config):
    with pytest.raises(ValueError, match=r"generator\.width was 4 and is 6; training\.seed was 0 and is 5"):
        run(having(config, generator__width=6, training__seed=5), output)


def test_settings_that_do_not_change_the_next_step_may_change(config, trained, tmp_path, scenes):
    """All of MAY_CHANGE at once, but for what rounds otherwise (test_state.py); the run goes on to the same bits."""
    run(having(config, training__steps=1), tmp_path / "run")
    moved = shutil.copytree(scenes, tmp_path / "moved")
    changes = {
        "data": str(moved),
        "dataset.workers": 1,
        "dataset.pin_memory": False,
        "text.cache_mb": 0,
        "training.checkpoint_activations": True,
        "training.device": "auto",
        "training.prefetch": 2,
        "training.steps": 2,
        "training.log_every": 3,
        "training.sample_every": 4,
        "training.checkpoint_every": 6,
        "training.keep_checkpoints": 1,
    }
    changes |= {f"evaluation.{name}": value for name, value in vars(EvaluationConfig(count=7)).items()}
    assert set(changes) | {f"training.{name}" for name in ROUNDS_OTHERWISE} == MAY_CHANGE
    changed = having(config, **{name.replace(".", "__"): value for name, value in changes.items()})
    assert run(changed, tmp_path / "run") == 2
    assert different(contents(trained / "checkpoints/step-00000002"), last_of(tmp_path / "run")) == []
    assert json.loads((tmp_path / "run/config.json").read_text())["config"]["training"]["log_every"] == 3


def test_every_other_setting_is_refused(output, config):
    """No field slips through between MAY_CHANGE and those that are compared."""
    from xmcgan.config import flatten, to_dict

    records = read_records(Path(config.data), "coco", "train2014")
    for name in sorted(set(flatten(to_dict(config))) - MAY_CHANGE):
        values = to_dict(config)
        section, _, field = name.rpartition(".")
        part = values[section] if section else values
        if name == "losses.trace":
            values["dataset"]["layout"] = "localized-narratives"
        if name == "augmentation.adaptive_target":
            values["augmentation"]["cutout"] = 0.5
        if name == "penalties.every":
            values["penalties"]["r1"] = 1.0
        if name in ("losses.encoder", "losses.encoder_weights", "losses.image_encoder_loss"):
            values["losses"]["image_encoder"] = 1.0  # they go together
        if name == "dataset.dialect":
            values["dataset"]["layout"] = "table"  # which alone has one
        other = first_accepted(values, part, field)
        with pytest.raises(ValueError, match=rf"{name.replace('.', '[.]')} was "):
            check_run_folder(output, other, describe_run(other, records)["data"])


@functools.cache
def hints():
    """The types of the fields of each class of the configuration."""
    from xmcgan import config as module

    return [get_type_hints(kind) for kind in vars(module).values() if isinstance(kind, type)]


def first_accepted(values, part, field):
    """The configuration with the first of some other values that the field accepts."""
    from xmcgan.config import from_dict

    choices = [choice for types in hints() if field in types for choice in get_args(types[field])]
    choices += [each for choice in choices for each in get_args(choice)]  # of ``Literal[...] | None``
    former = part[field]
    for value in (*choices, 0.25, 7, 3, not former, f"{former}-x"):
        if value == former or isinstance(value, type):
            continue
        part[field] = value
        try:
            return from_dict(values)
        except ValueError:
            continue
    raise AssertionError(f"no other value of {field} was accepted")


@pytest.mark.parametrize(
    "change",
    [
        lambda records: records[:-1],
        lambda records: [*records, records[0]],
        lambda records: records[::-1],
        lambda records: [records[0]._replace(id="other"), *records[1:]],
        lambda records: [records[0]._replace(captions=records[0].captions[1:]), *records[1:]],
    ],
    ids=["fewer", "more", "another order", "another id", "fewer captions"],
)
def test_other_data_are_refused(output, config, change):
    records, before = read_records(Path(config.data), "coco", "train2014"), files(output)
    with pytest.raises(ValueError, match=r"holds a run on other data: it had 24 records, there are 2\d now"):
        train(config, output, records=change(records), sample_captions=["a car"])
    assert files(output) == before


@pytest.mark.parametrize(
    "held",
    [
        {"notes.txt": "mine"},
        {"checkpoints/step-00000002/mine": ""},
        {"config.json": "not JSON"},
        {"config.json": "[]"},
        {"config.json": '{"model_type": "bert"}'},
        {"config.json": '{"config": 5}'},
    ],
    ids=lambda held: next(iter(held.items()))[0] + " " + next(iter(held.values())),
)
def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path, config, held):
    for name, text in held.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    before = files(tmp_path)
    with pytest.raises(ValueError, match=rf"{tmp_path.name}.*(choose another --output|is not JSON)"):
        run(config, tmp_path)
    assert files(tmp_path) == before


def test_a_run_of_another_version_is_refused_with_the_setting(tmp_path, config):
    (tmp_path / "config.json").write_text('{"config": {"trainign": {}}, "data": {}}')
    said = rf"^{tmp_path}/config\.json holds no settings of this version: unknown setting 'trainign'.*another --output$"
    with pytest.raises(ValueError, match=said):
        check_run_folder(tmp_path, config, {})


def test_an_empty_folder_may_be_used(tmp_path, config):
    assert run(having(config, training__steps=1), tmp_path) == 1


def test_a_setting_that_is_refused_does_not_take_the_folder(tmp_path, config):
    """The corrected command may name the same output."""
    for name, value, said in (
        ("text__encoder", "nobody/knows-this-encoder", r"text\.encoder is 'nobody"),
        ("text__max_length", 2, r"text\.max_length is 2"),
        ("losses__word", -1.0, r"losses\.word is -1"),
        ("training__device", "nowhere", r"device is 'nowhere'"),
    ):
        with pytest.raises(ValueError, match=said):
            run(having(config, **{name: value}), tmp_path / "run")
        assert not (tmp_path / "run").exists(), name
    assert run(having(config, training__steps=1), tmp_path / "run") == 1
