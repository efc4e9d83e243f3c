"""Checkpoints: whole or not at all, the same to the last bit, and damage named by its file."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import xmcgan.inference.model_files as model_files_module
from tiny import contents, different, files
from xmcgan.inference.model_files import checkpoints, load_generator, newest_checkpoint, read_description
from xmcgan.runtime.files import write_json
from xmcgan.training.checkpoint import (
    keep_newest,
    load_strength,
    load_unwritten_log,
    read_best,
    read_state,
    remove_leftovers,
    save_checkpoint,
)
from xmcgan.training.state import TrainingState, initial_state, load_state

TEXT_DIM = 32
EVERY_FILE = {
    "config.json",
    "generator.safetensors",
    "training/discriminator.safetensors",
    "training/discriminator_optimizer.safetensors",
    "training/generator.safetensors",
    "training/generator_optimizer.safetensors",
    "training/state.json",
}


@pytest.fixture
def whole(trained, tmp_path) -> Path:
    """A copy, to be damaged, of a run's last checkpoint."""
    return Path(shutil.copytree(trained / "checkpoints/step-00000006", tmp_path / "checkpoints/step-00000006"))


def fresh(config) -> TrainingState:
    return initial_state(config, TEXT_DIM, torch.device("cpu"))


def save(training: TrainingState, runs: Path, step: int, config) -> Path:
    return save_checkpoint(
        runs,
        step,
        config,
        TEXT_DIM,
        generator=training.generator,
        discriminator=training.discriminator,
        ema=training.ema,
        generator_optimizer=training.generator_optimizer,
        discriminator_optimizer=training.discriminator_optimizer,
        log={"sums": {}, "count": 0},
    )


# -------------------------------------------------------------------------------------------------- round trips


def test_the_files_of_a_checkpoint(trained):
    assert set(files(trained / "checkpoints/step-00000006")) == EVERY_FILE


def test_loading_and_saving_gives_the_same_bits(whole, config, tmp_path):
    training = fresh(config)
    assert load_state(training, whole) == 6
    again = save(training, tmp_path / "again", 6, config)
    assert different(contents(whole), contents(again)) == []


def test_the_state_is_all_of_it(whole):
    """Adam's moments and counts for every weight, power iterations, running statistics, the average's count."""
    held = contents(whole)
    weights = {name.removeprefix("training/generator.safetensors:") for name in held if "training/generator.s" in name}
    moments = {
        name.removeprefix("training/generator_optimizer.safetensors:") for name in held if "generator_opt" in name
    }
    trainable = {name for name in weights if "running" not in name}
    expected = {f"{name}/{key}" for name in trainable for key in ("step", "exp_avg", "exp_avg_sq")}
    assert expected == {name for name in moments if not name.startswith("training/discriminator")}
    assert any("running_mean" in name for name in weights)
    assert any(name.startswith("training/discriminator.safetensors:spectral_norms") for name in held)
    state = held["training/state.json"]
    assert isinstance(state, dict)
    assert {name: state[name] for name in ("step", "ema_updates", "log")} == {
        "step": 6,
        "ema_updates": 6,
        "log": {"sums": {}, "count": 0},  # a line has just been written
    }
    assert state["optimizer_tensors"]["generator"] == len(expected)
    # n_D = 2: two steps of the discriminator's Adam for one of the generator's.
    assert held["training/generator_optimizer.safetensors:stem.weight/step"] == 6
    assert held["training/discriminator_optimizer.safetensors:network.unconditional.weight/step"] == 12


def test_a_loaded_training_is_the_saved_one(whole, config):
    """Not only its files: every live tensor is what it was, and where it was."""
    training = fresh(config)
    before = {name: parameter.data_ptr() for name, parameter in training.generator.named_parameters()}
    load_state(training, whole)
    assert training.ema.updates == 6
    held = load_file(whole / "training/generator_optimizer.safetensors")
    for name, parameter in training.generator.named_parameters():
        assert parameter.data_ptr() == before[name]  # in place: the optimiser still holds it
        moment = training.generator_optimizer.state[parameter]["exp_avg"]
        assert torch.equal(moment, held[f"{name}/exp_avg"])
        assert moment.stride() == parameter.stride()


def test_a_step_that_was_saved_is_not_saved_again(config, tmp_path):
    training = fresh(config)
    folder = save(training, tmp_path, 5, config)
    before = files(folder)
    with torch.no_grad():
        training.generator.stem.weight.zero_()
    assert save(training, tmp_path, 5, config) == folder
    assert files(folder) == before


def test_the_generator_of_a_checkpoint_is_the_average(trained, config):
    folder = trained / "checkpoints/step-00000006"
    generator, loaded, step = load_generator(folder)
    assert (step, loaded.training.steps, loaded.generator) == (6, 6, config.generator)
    assert not generator.training
    assert not any(parameter.requires_grad for parameter in generator.parameters())
    average, raw = load_file(folder / "generator.safetensors"), load_file(folder / "training/generator.safetensors")
    assert torch.equal(generator.stem.weight, average["stem.weight"])
    assert not torch.equal(average["stem.weight"], raw["stem.weight"])


# --------------------------------------------------------------------------------------- never taken for a checkpoint


@pytest.mark.parametrize(
    "name", [".partial-step-00000009", ".removed-step-00000009", "step-9", "step-00000009.bak", "step-last", "other"]
)
def test_other_folders_are_no_checkpoints(trained, tmp_path, name):
    shutil.copytree(trained / "checkpoints/step-00000004", tmp_path / "step-00000004")
    shutil.copytree(trained / "checkpoints/step-00000006", tmp_path / name)
    assert checkpoints(tmp_path) == [tmp_path / "step-00000004"]


def test_the_newest_is_that_of_the_highest_step(tmp_path):
    assert newest_checkpoint(tmp_path) is None
    assert newest_checkpoint(tmp_path / "nowhere") is None
    for step in (99_999_999, 5, 100_000_000, 20):
        (tmp_path / f"step-{step:08d}").mkdir()
    assert [int(folder.name[5:]) for folder in checkpoints(tmp_path)] == [5, 20, 99_999_999, 100_000_000]
    assert newest_checkpoint(tmp_path).name == "step-100000000"


class Killed(BaseException):
    """What no `except Exception` sees, as a kill would not be."""


def killing(call: int, function, counter: list[int]):
    """The function, until its call-th call, which never happens."""

    def wrapped(*arguments, **named):
        counter[0] += 1
        if counter[0] == call:
            raise Killed
        return function(*arguments, **named)

    return wrapped


def test_a_killed_save_leaves_the_last_checkpoint_newest_and_readable(config, tmp_path, monkeypatch):
    """Killed before every file that is written, every flush and the renaming; saved again after each of them."""
    training = fresh(config)
    last = save(training, tmp_path, 5, config)
    before, call, killed_at = files(last), 0, 0
    while True:
        call += 1
        counter = [0]
        with monkeypatch.context() as patch:
            patch.setattr(model_files_module, "save_file", killing(call, save_file, counter))
            patch.setattr(Path, "write_bytes", killing(call, Path.write_bytes, counter))
            patch.setattr(Path, "replace", killing(call, Path.replace, counter))
            patch.setattr(os, "fsync", killing(call, os.fsync, counter))
            try:
                folder = save(training, tmp_path, 6, config)
            except Killed:
                killed_at += 1
                if (tmp_path / "step-00000006").exists():  # killed after the renaming: it is whole
                    assert set(files(tmp_path / "step-00000006")) == EVERY_FILE
                    shutil.rmtree(tmp_path / "step-00000006")
                assert newest_checkpoint(tmp_path) == last
                assert files(last) == before
                continue
        break
    # Seven files, each renamed and flushed, two folders, the renaming, and the flush of the folder above.
    assert killed_at == 7 + 7 + 7 + 2 + 1 + 1
    assert newest_checkpoint(tmp_path) == folder
    assert load_state(fresh(config), folder) == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000005", "step-00000006"]


@pytest.mark.parametrize(
    ("count", "left"), [(1, [4]), (2, [3, 4]), (4, [1, 2, 3, 4]), (9, [1, 2, 3, 4]), (0, [1, 2, 3, 4])]
)
def test_the_newest_are_kept(tmp_path, count, left):
    for step in (3, 1, 4, 2):
        (tmp_path / f"step-{step:08d}/training").mkdir(parents=True)
        (tmp_path / f"step-{step:08d}/config.json").write_text("{}")
    keep_newest(tmp_path, count)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"step-{step:08d}" for step in left]


def test_a_killed_removal_leaves_no_half_checkpoint(tmp_path, monkeypatch):
    for step in (1, 2):
        (tmp_path / f"step-{step:08d}").mkdir()

    def killed(_path):
        raise Killed

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(Killed):
        keep_newest(tmp_path, 1)
    assert checkpoints(tmp_path) == [tmp_path / "step-00000002"]


def test_what_a_killed_save_or_removal_left_is_cleaned_up(tmp_path):
    kept = ["best", "checkpoints", "checkpoints/step-00000002", "checkpoints/step-00000004"]
    left = ["checkpoints/.partial-step-00000006", "checkpoints/.removed-step-00000001", ".partial-best", ".former-best"]
    for name in (*kept, *left):
        (tmp_path / name / "training").mkdir(parents=True)
    remove_leftovers(tmp_path)
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.name != "training")
    assert found == kept


def test_a_best_model_whose_replacement_was_killed_is_put_back(tmp_path):
    write_json(tmp_path / "former", {})
    (tmp_path / ".former-best").mkdir()
    (tmp_path / "former").rename(tmp_path / ".former-best/evaluation.json")
    remove_leftovers(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["best", "best/evaluation.json"]


# ------------------------------------------------------------------------------------------------------- damage


def state_of(folder: Path, **change: object) -> Path:
    """A state.json of step 6 with one value changed."""
    (folder / "step-00000006/training").mkdir(parents=True)
    state = {"step": 6, "ema_updates": 6, "log": None, "optimizer_tensors": {"generator": 3}}
    write_json(folder / "step-00000006/training/state.json", state | change)
    return folder / "step-00000006"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer_tensors": [3]}, r"optimizer_tensors is \[3\]; it should be a number by optimizer"),
        ({"optimizer_tensors": {"generator": "3"}}, "generator is '3'; it should be a whole number"),
        ({"ema_updates": -1}, "ema_updates is -1; it should be a whole number"),
        ({"ema_updates": True}, "ema_updates is True; it should be a whole number"),
        ({"step": 6.0}, r"step is 6\.0; it should be a whole number"),
        ({"step": 2**60}, "step is 1152921504606846976; it should be a whole number"),
        ({"step": 5}, "step is 5, but the folder is step-00000006"),
    ],
)
def test_a_damaged_number_of_the_state_is_named(tmp_path, change, message):
    with pytest.raises(ValueError, match=rf"step-00000006/training/state\.json is damaged: {message}$"):
        read_state(state_of(tmp_path, **change))


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ({"sums": {"d_loss": 1.5}}, "it should hold count, sums"),
        (7, "it should hold count, sums"),
        ({"sums": [1.5], "count": 1}, "log should hold the sum of each loss, and a count"),
        ({"sums": {"d_loss": "1.5"}, "count": 1}, "log should hold the sum of each loss, and a count"),
        ({"sums": {"d_loss": 1.5}, "count": None}, "log should hold the sum of each loss, and a count"),
    ],
)
def test_damaged_sums_of_the_log_are_named(tmp_path, log, message):
    with pytest.raises(ValueError, match=rf"training/state\.json is damaged: {message}$"):
        load_unwritten_log(state_of(tmp_path, log=log))


def test_checkpoints_of_older_versions_have_no_sums_and_no_strength(tmp_path):
    folder = state_of(tmp_path)
    assert load_unwritten_log(folder) is None
    with pytest.raises(ValueError, match=r"state\.json has no strength .*, which augmentation\.adaptive_target needs$"):
        load_strength(folder)


def test_a_damaged_score_of_the_best_model_is_named(tmp_path):
    assert read_best(tmp_path) is None
    best = {"step": 4, "values": {"fid": 9.5}, "score": 9.5}
    write_json(tmp_path / "evaluation.json", best)
    assert read_best(tmp_path) == best
    write_json(tmp_path / "evaluation.json", best | {"score": "low"})
    with pytest.raises(ValueError, match=r"evaluation\.json is damaged: score is 'low'; it should be a number$"):
        read_best(tmp_path)


@pytest.mark.parametrize("name", sorted(name for name in EVERY_FILE if name.endswith(".safetensors")))
@pytest.mark.parametrize("damage", ["cut", "empty", "garbage", "missing"])
def test_a_damaged_file_of_tensors_is_named(whole, config, name, damage):
    path = whole / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "garbage": b"\xff" * 100}[damage])
    kind, message = (FileNotFoundError, "is missing") if damage == "missing" else (ValueError, "is damaged")
    with pytest.raises(kind, match=rf"{name} {message}"):
        load_state(fresh(config), whole)
    if name == "generator.safetensors":
        with pytest.raises(kind, match=rf"{name} {message}"):
            load_generator(whole)


@pytest.mark.parametrize("name", ["generator.safetensors", "training/discriminator.safetensors"])
def test_tensors_of_another_network_are_named(whole, config, name):
    state = load_file(whole / name)
    first = next(iter(state))
    for wrong in ({k: v for k, v in state.items() if k != first}, state | {"more": torch.zeros(1)}):
        save_file(wrong, whole / name)
        with pytest.raises(ValueError, match=rf"{name} does not fit the network"):
            load_state(fresh(config), whole)


def test_moments_of_another_network_are_named(whole, config):
    path = whole / "training/generator_optimizer.safetensors"
    save_file(load_file(path) | {"stem.weight/exp_avg": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"training/generator_optimizer\.safetensors does not fit"):
        load_state(fresh(config), whole)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"step": 6}', "\x00"])
def test_a_damaged_state_is_named(whole, config, text):
    (whole / "training/state.json").write_text(text)
    with pytest.raises(ValueError, match=r"training/state\.json"):
        load_state(fresh(config), whole)


def test_a_missing_state_is_named(whole, config):
    (whole / "training/state.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"training/state\.json"):
        load_state(fresh(config), whole)


def test_a_folder_without_a_configuration_is_no_model(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is not a model of this library: it has no config\.json"):
        load_generator(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe\x00", b"[]", b'{"model_type": "bert"}', b'{"library": "xmcgan"}']
)
def test_a_configuration_of_something_else_is_named(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"config\.json"):
        read_description(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trainign": {}}, r"config\.json.*unknown setting 'trainign'"),
        ({"training": {"batch_size": -1}}, r"config\.json.*training\.batch_size is -1"),
        ({"image_size": 100}, r"config\.json.*image_size is 100"),
        ({"image_size": 128}, r"generator\.safetensors does not fit the network"),
    ],
)
def test_a_wrong_configuration_is_named(whole, change, message):
    description = json.loads((whole / "config.json").read_text())
    description["config"] |= change
    (whole / "config.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match=message):
        load_generator(whole)
