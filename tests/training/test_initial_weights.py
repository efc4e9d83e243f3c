"""Fine-tuning: a run that starts from the weights of a model."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from steps import having
from tiny import run
from xmcgan.config import Config
from xmcgan.inference.model_files import PACKAGED, load_generator, newest_checkpoint, read_tensors
from xmcgan.training.initial_weights import architecture, load_initial_weights
from xmcgan.training.state import initial_state, save


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
    assert "the discriminator from random weights (discriminator.width differs)" in line
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


def discriminator_of(config: Config, kind: str, **settings) -> Config:
    fields = {f"discriminator__{name}": value for name, value in settings.items()}
    return having(config, discriminator__kind=kind, discriminator__channels=4, **fields)


def saved(config: Config, folder) -> dict[str, torch.Tensor]:
    """Saves a checkpoint of a fresh state with another seed; returns its discriminator's weights."""
    state = initial_state(having(config, training__seed=3), 32, torch.device("cpu"))
    save(state, folder, 1, config, 32)
    return state.discriminator.state_dict()


BOTH = "generator, the paper's discriminator and the discriminator on frozen features start from"
FROZEN = "generator and the discriminator on frozen features start from"
PAPER = "generator and the paper's discriminator start from"
REST = "the rest of the discriminator from random weights"


@pytest.mark.parametrize(
    ("model", "own", "line", "rest"),
    [
        (("frozen-features", {}), ("combined", {"frozen_contrastive": True}), FROZEN, True),
        (("frozen-features", {}), ("combined", {}), FROZEN, True),
        (("contrastive", {}), ("combined", {}), PAPER, True),
        (("combined", {"frozen_contrastive": True}), ("frozen-features", {}), FROZEN, False),
        (("combined", {}), ("frozen-features", {}), FROZEN, True),  # its contrastive heads are new
        (("combined", {}), ("contrastive", {}), PAPER, False),
        (("combined", {}), ("combined", {"frozen_contrastive": True}), BOTH, True),
        (("combined", {}), ("combined", {"width": 6}), FROZEN, True),
        (("combined", {}), ("combined", {"upsampling": 2}), PAPER, True),
    ],
)
def test_networks_in_both_discriminators_are_loaded(config, tmp_path, untrained_frozen_network, model, own, line, rest):
    weights = saved(discriminator_of(config, model[0], **model[1]), tmp_path)
    config = discriminator_of(config, own[0], **own[1])
    state = fresh_state(config)
    before = {name: tensor.clone() for name, tensor in state.discriminator.state_dict().items()}
    said = load_initial_weights(state, config, str(tmp_path))
    assert said.startswith(f"{line} {tmp_path}")
    assert (REST in said) == rest
    assert said.endswith("differ)" if said.count("discriminator.") > 1 else "differs)") or not rest

    prefix = {"contrastive": "contrastive.", "frozen-features": "frozen.", "combined": ""}
    weights = {prefix[model[0]] + name: tensor for name, tensor in weights.items()}
    before = {prefix[own[0]] + name: tensor for name, tensor in before.items()}
    after = {prefix[own[0]] + name: tensor for name, tensor in state.discriminator.state_dict().items()}
    loaded = {name for name, tensor in after.items() if name in weights and torch.equal(tensor, weights[name])}
    random = {name for name, tensor in after.items() if torch.equal(tensor, before[name])}
    assert loaded | random == after.keys()
    assert (loaded == after.keys()) == (not rest)
    networks = {name for name, word in (("contrastive", "paper"), ("frozen", "frozen")) if word in line}
    assert {name.split(".")[0] for name in after.keys() - random} == networks


def test_a_network_that_lacks_a_weight_is_named(config, tmp_path, untrained_frozen_network):
    saved(discriminator_of(config, "combined"), tmp_path)
    path = newest_checkpoint(tmp_path / "checkpoints") / "training" / "discriminator.safetensors"
    tensors = read_tensors(path)
    del tensors["frozen.network.heads.0.conv1.weight"]
    save_file(tensors, path)
    config = discriminator_of(config, "frozen-features")
    with pytest.raises(ValueError, match=r"lacks frozen\.network\.heads\.0\.conv1\.weight, which its configuration"):
        load_initial_weights(fresh_state(config), config, str(tmp_path))


def test_a_weight_of_another_shape_is_named(config, tmp_path, untrained_frozen_network):
    saved(discriminator_of(config, "combined"), tmp_path)
    path = newest_checkpoint(tmp_path / "checkpoints") / "training" / "discriminator.safetensors"
    save_file(read_tensors(path) | {"frozen.network.heads.0.conv1.bias": torch.zeros(3)}, path)
    config = discriminator_of(config, "frozen-features")
    with pytest.raises(ValueError, match=r"(?s)discriminator\.safetensors does not fit .*heads\.0\.conv1\.bias"):
        load_initial_weights(fresh_state(config), config, str(tmp_path))


def test_a_weight_that_is_not_finite_is_named(config, tmp_path, untrained_frozen_network):
    saved(discriminator_of(config, "combined"), tmp_path)
    path = newest_checkpoint(tmp_path / "checkpoints") / "training" / "discriminator.safetensors"
    tensors = read_tensors(path)
    tensors["frozen.network.heads.0.conv1.weight"][0] = torch.nan
    save_file(tensors, path)
    config = discriminator_of(config, "frozen-features")
    with pytest.raises(ValueError, match=r"frozen\.network\.heads\.0\.conv1\.weight with .* NaN or infinite"):
        load_initial_weights(fresh_state(config), config, str(tmp_path))


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
