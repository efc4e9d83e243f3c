"""A model's files: sizes checked before memory is taken, checksums, who may read them, and copies of the hub."""

import json
import shutil
import stat
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from xmcgan.inference.model_files import (
    DISCRIMINATOR_FILE,
    GENERATOR_FILE,
    PACKAGED,
    download_model,
    find_model,
    load_generator,
    packaged_models,
    read_tensors,
    save_tensors,
    sort_metadata,
)


@pytest.fixture
def model(trained, tmp_path):
    """A model of its own folder."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "generator.safetensors"):
        shutil.copy(trained / "checkpoints/step-00000006" / name, folder)
    return folder


def change(folder: Path, **values) -> None:
    """Sets fields of config.json, by dotted name with __ for the dot."""
    content = json.loads((folder / "config.json").read_text())
    for name, value in values.items():
        *sections, last = name.split("__")
        part = content
        for section in sections:
            part = part[section]
        part[last] = value
    (folder / "config.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"config__generator__width": 10**6},
            "does not fit the network that its configuration describes: .* has shape",
        ),
        ({"text_dim": 10**9}, "does not fit the network that its configuration describes: .* has shape"),
        ({"config__generator__noise_dim": 2**40}, "config.json describes no model|does not fit the network"),
        ({"config__generator__width": 10**18}, "config.json describes no model|does not fit the network"),
        ({"text_dim": -1}, "text_dim is -1; it should be a whole number from 1 on"),
        ({"text_dim": 10**400}, "config.json"),
        ({"text_dim": "32"}, "text_dim is '32'; it should be a whole number"),
        ({"step": None}, "step is None; it should be a whole number from 0 on"),
        ({"config": []}, r"config is \[\]; it should be settings by name"),
        ({"config": "scenes-64"}, "config is 'scenes-64'; it should be settings by name"),
        ({"config__text": None}, "text is None; it should be settings by name"),
        ({"config__generator__modulation": "plain"}, "does not fit the network .*: it lacks global_blocks"),
    ],
)
def test_a_damaged_configuration_is_refused_before_memory_is_taken(model, changes, said):
    change(model, **changes)
    with pytest.raises(ValueError, match=said) as caught:
        load_generator(model)
    assert str(model) in str(caught.value)


def test_brackets_in_brackets_are_one_line(model):
    (model / "config.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"config\.json is not JSON of this library: it is nested too deeply"):
        load_generator(model)


def test_one_changed_bit_of_a_weight_is_detected(model):
    path = model / "generator.safetensors"
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"generator\.safetensors is damaged: its tensors are not those that were saved"
    ):
        load_generator(model)


@pytest.mark.parametrize("name", packaged_models())
@pytest.mark.parametrize("file", [GENERATOR_FILE, DISCRIMINATOR_FILE])
def test_one_changed_bit_of_a_packaged_model_is_detected(name, file, tmp_path):
    path = tmp_path / file
    shutil.copy(PACKAGED / name / file, path)
    read_tensors(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{file} is damaged: its tensors are not those that were saved"):
        read_tensors(path)


def test_files_of_other_libraries_have_no_checksum_and_load(model):
    path = model / "generator.safetensors"
    weights = load_file(path)
    save_file(weights, path)
    load_generator(model)
    assert read_tensors(path).keys() == weights.keys()


def test_metadata_and_mode_are_those_that_others_expect(tmp_path):
    """Who may read the folder may read the weights; equal tensors make equal files."""
    content = {"b": torch.zeros(2, dtype=torch.bfloat16), "a": torch.ones(3), "n": torch.tensor(5)}
    for name in ("one", "other"):
        save_tensors(content, tmp_path / name, {"step": "7"})
    (tmp_path / "plain").touch()
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    with safe_open(tmp_path / "one", framework="pt") as file:
        metadata = file.metadata()
    assert (metadata["format"], metadata["step"], len(metadata["sha256"])) == ("pt", "7", 64)
    assert all(torch.equal(value, content[name]) for name, value in read_tensors(tmp_path / "one").items())


def hub_copy(cache: Path, model: Path, names: tuple[str, ...]) -> Path:
    """A model of the hub as the cache holds it when these files were downloaded one by one."""
    commit = "0" * 40
    folder = cache / "models--someone--birds" / "snapshots" / commit
    folder.mkdir(parents=True)
    (cache / "models--someone--birds" / "refs").mkdir()
    (cache / "models--someone--birds" / "refs" / "main").write_text(commit)
    for name in names:
        shutil.copy(model / name, folder)
    return folder


def test_a_copy_that_holds_what_is_needed_loads_offline(model, tmp_path, monkeypatch):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    change(model, config__text__encoder="minilm")
    folder = hub_copy(tmp_path / "hub", model, ("config.json", "generator.safetensors"))
    assert find_model("someone/birds").samefile(folder)
    load_generator(find_model("someone/birds"))


def test_a_copy_that_lacks_a_file_is_refused_offline(model, tmp_path, monkeypatch):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub_copy(tmp_path / "hub", model, ("config.json",))
    with pytest.raises(
        FileNotFoundError, match=r"someone/birds on the hub, or its copy in .*, has no generator\.safetensors"
    ):
        load_generator(download_model("someone/birds", None))


@pytest.mark.parametrize("encoder", ["/etc", "../private", "a/../../private", "encoders/mine", ".", 7, None])
def test_a_downloaded_model_may_not_read_this_machine(model, tmp_path, monkeypatch, encoder):
    import huggingface_hub.constants as constants

    (tmp_path / "encoders/mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    change(model, config__text__encoder=encoder)
    hub_copy(tmp_path / "hub", model, ("config.json", "generator.safetensors"))
    with pytest.raises(ValueError, match=r"someone/birds names .* as its text encoder; a downloaded model may name"):
        find_model("someone/birds")


def test_a_copy_is_used_where_the_hub_refuses(model, tmp_path, monkeypatch):
    """As where a revision is gone from the hub; its text encoder must be one that a download may name."""
    import huggingface_hub
    import huggingface_hub.constants as constants

    def refuse(*_, **__):
        raise OSError("no connection\nmore")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(FileNotFoundError, match=r"there is no folder someone/birds, .* The hub: no connection$"):
        find_model("someone/birds")
    change(model, config__text__encoder="minilm")
    folder = hub_copy(tmp_path / "hub", model, ("config.json", "generator.safetensors"))
    assert find_model("someone/birds") == folder
    change(folder, config__text__encoder="/etc")
    with pytest.raises(ValueError, match="someone/birds names '/etc' as its text encoder"):
        find_model("someone/birds")


@pytest.mark.parametrize("name", ["my birds", "birds--sea", "someone/birds?"])
def test_a_name_that_the_hub_cannot_have_is_refused(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        FileNotFoundError, match="and the hub gives no model of that name either; models in the package"
    ):
        find_model(name)


def test_a_file_is_no_model(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(
        FileNotFoundError, match=r"model\.safetensors is a file; a model is a folder: a run, a checkpoint"
    ):
        find_model(tmp_path / "model.safetensors")


def test_metadata_that_grows_in_writing_is_an_error(tmp_path):
    """A header is written over the old one, so it must not overwrite the tensors behind it."""
    path = tmp_path / "weights"
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"__metadata__":{"a":1E9}}'  # 1E9 becomes longer
    content = len(header).to_bytes(8, "little") + header + b"\0" * 4
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"weights has a header of {len(header)} bytes, which cannot be written again"):
        sort_metadata(path)
    assert path.read_bytes() == content
