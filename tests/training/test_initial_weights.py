"""Fine-tuning: a run that starts from the weights of a model."""

import json
import shutil

import pytest
import torch

from steps import having
from tiny import run
from xmcgan.config import Config
from xmcgan.inference.model_files import PACKAGED, load_generator, newest_checkpoint, read_tensors
from xmcgan.training.initial_weights import architecture, load_initial_weights
from xmcgan.training.state import initial_state


def equal(network: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> bool:
    own = network.state_dict()
    return own.keys() == tensors.keys() and all(torch.equal(own[name], tensors[name].float()) for name in own)


def fresh_state(config: Config, text_dim: int = 32):
    return initial_state(having(config, training__seed=7), text_dim, torch.device("cpu"))


def test_networks_start_from_a_run(config, trained):
    state = fresh_state(config)
    line = load_initial_weights(state, config, str(trained))
    checkpoint = newest_checkpoint(trained / "checkpoints")
    averaged = read_tensors(checkpoint / "generator.safetensors")
    assert equal(state.generator, averaged)
    assert equal(state.ema.network, averaged)
    assert equal(state.discriminator, read_tensors(checkpoint / "training" / "discriminator.safetensors"))
    assert line == f"generator and discriminator start from {trained}"


def test_another_discriminator_starts_at_random_and_is_named(config, trained):
    other = having(config, discriminator__width=6)
    state = fresh_state(other)
    before = {name: tensor.clone() for name, tensor in state.discriminator.state_dict().items()}
    line = load_initial_weights(state, other, str(trained))
    assert "the discriminator from random weights: discriminator.width differs" in line
    assert equal(state.discriminator, before)


def test_a_model_without_a_discriminator_says_so(config, trained, tmp_path):
    checkpoint = newest_checkpoint(trained / "checkpoints")
    for name in ("config.json", "generator.safetensors"):
        shutil.copy(checkpoint / name, tmp_path / name)
    assert "has no discriminator" in load_initial_weights(fresh_state(config), config, str(tmp_path))


def test_another_generator_is_refused_with_what_would_be_right(config, trained, tmp_path):
    other = having(config, generator__width=6, training__init=str(trained))
    with pytest.raises(ValueError, match=r"generator\.width is 6, that model has 4\. Give --generator\.width 4"):
        run(other, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_unknown_model_is_refused_before_the_folder_is_claimed(config, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match="no-such-model"):
        run(having(config, training__init="no-such-model"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_no_longer_needs_the_model(config, trained, tmp_path):
    model = shutil.copytree(trained, tmp_path / "model")
    tuned = having(config, training__init=str(model), training__steps=2)
    run(tuned, tmp_path / "run")
    shutil.rmtree(model)
    assert run(having(tuned, training__steps=3), tmp_path / "run") == 3


def test_the_packaged_model_starts_both_networks():
    _, config, _ = load_generator(PACKAGED / "scenes-64")
    state = fresh_state(config, text_dim=384)
    assert load_initial_weights(state, config, "scenes-64") == "generator and discriminator start from scenes-64"


def test_the_architecture_of_a_model():
    settings = architecture("scenes-64")
    assert settings["generator.width"] == 24
    assert settings["discriminator.kind"] == "frozen-features"
    assert settings["text.layers"] == 4
    assert "training.steps" not in settings


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"trainign": {}}, "unknown setting 'trainign'"),
        ({"image_size": 100}, "image_size is 100"),
        ([], r"config is \[\]"),
    ],
)
def test_a_model_of_another_version_is_named(tmp_path, settings, said):
    (tmp_path / "generator.safetensors").touch()
    description = {"library": "xmcgan", "config": settings, "text_dim": 32, "step": 6}
    (tmp_path / "config.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match=rf"^{tmp_path}/config\.json describes no model of this version: {said}"):
        architecture(str(tmp_path))
