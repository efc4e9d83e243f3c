"""Settings without effect: which they are, and that a new run does not take them silently."""

import json

import pytest

from xmcgan.cli.main import run
from xmcgan.config import flatten, from_dict, to_dict, unflatten
from xmcgan.config.unused import refuse_unused, unused_settings
from xmcgan.recipes import RECIPES

CASES = [
    ({}, "discriminator.upsampling", 2, "discriminator.kind is contrastive, which has no frozen network"),
    ({}, "discriminator.channels", 32, "discriminator.kind is contrastive, which has no frozen network"),
    ({"discriminator.kind": "frozen-features"}, "discriminator.width", 8, "discriminator.kind is frozen-features"),
    (
        {"discriminator.kind": "frozen-features"},
        "discriminator.head_layers",
        1,
        "discriminator.kind is frozen-features",
    ),
    ({}, "discriminator.frozen_contrastive", True, "discriminator.kind is contrastive, which has one network"),
    ({"generator.modulation": "plain"}, "generator.rho_0", 5.0, "generator.modulation is plain"),
    ({}, "losses.diversity_distance", 0.1, "losses.diversity is 0"),
    ({}, "augmentation.adaptive_images", 1000, "augmentation.adaptive_target is not set"),
    ({"training.ema_half_life": 2000}, "training.ema_decay", 0.9, "training.ema_half_life replaces both"),
]


@pytest.mark.parametrize(("changes", "name", "value", "reason"), CASES, ids=[case[1] for case in CASES])
def test_it_is_refused_with_the_reason(changes, name, value, reason):
    base = flatten(to_dict(RECIPES["scenes-64"]))
    config = from_dict(unflatten(base | changes | {name: value}))
    option = name.replace("_", "-")
    with pytest.raises(ValueError, match=f"--{option} would have no effect: {reason}"):
        refuse_unused([*changes, name], config)
    refuse_unused(changes, config)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_unused_setting_exists_and_no_recipe_sets_one(recipe):
    values, defaults = flatten(to_dict(RECIPES[recipe])), flatten(to_dict(RECIPES["coco14-256"]))
    ours = {name for name in unused_settings(RECIPES[recipe]) if values[name] != defaults[name]}
    # Inherited: from scenes-64 its average, from scenes-64-frozen nothing.
    assert ours <= {"training.ema_decay", "training.ema_warmup"}


def test_a_new_run_refuses_it_and_an_old_one_is_resumed(tmp_path, monkeypatch):
    option = ["--discriminator.upsampling", "2", "--output", str(tmp_path / "run"), "--training.device", "cpu"]
    with pytest.raises(ValueError, match=r"--discriminator\.upsampling would have no effect"):
        run(["train", "scenes-64", *option])
    assert not (tmp_path / "run").exists()
    trained = []
    monkeypatch.setattr("xmcgan.cli.train.train_recipe", lambda *given, **_: trained.append(given) or 0)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps({}))
    assert run(["train", "scenes-64", *option]) == 0
    assert len(trained) == 1


def test_the_recipes_own_value_may_be_named(tmp_path, monkeypatch):
    monkeypatch.setattr("xmcgan.cli.train.train_recipe", lambda *_, **__: 0)
    option = ["--discriminator.upsampling", "1", "--output", str(tmp_path / "run"), "--training.device", "cpu"]
    assert run(["train", "scenes-64", *option]) == 0
