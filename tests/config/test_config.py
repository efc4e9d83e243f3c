"""The configuration: recipes, the paper's values, and mistakes that are named by their field."""

import json
import re
from dataclasses import replace

import pytest

from xmcgan.config import (
    AugmentationConfig,
    Config,
    DatasetConfig,
    DiscriminatorConfig,
    EvaluationConfig,
    GeneratorConfig,
    LossConfig,
    PenaltyConfig,
    TextConfig,
    TrainingConfig,
    differences,
    flatten,
    from_dict,
    suggestion,
    to_dict,
    unflatten,
)
from xmcgan.recipes import RECIPES

SECTIONS = {
    "dataset": DatasetConfig,
    "text": TextConfig,
    "generator": GeneratorConfig,
    "discriminator": DiscriminatorConfig,
    "augmentation": AugmentationConfig,
    "losses": LossConfig,
    "penalties": PenaltyConfig,
    "training": TrainingConfig,
    "evaluation": EvaluationConfig,
}


def changed(**values) -> Config:
    """coco14-256 with some fields, by dotted name with __ for the dot, set to other values."""
    nested = to_dict(RECIPES["coco14-256"])
    for name, value in values.items():
        section, _, field = name.rpartition("__")
        (nested[section] if section else nested)[field] = value
    return from_dict(nested)


# ------------------------------------------------------------------------------------------------ recipes


def test_the_recipes_there_are():
    photographs = {"coco14-256", "coco14-128", "ln-coco-256", "ln-openimages-256"}
    photographs |= {"flowers-64", "flowers-64-plus", "cub-64", "cub-256", "flickr8k-64"}
    assert set(RECIPES) == photographs | {
        "scenes-64",
        "scenes-64-plus",
        "scenes-64-frozen",
        "scenes-128",
        "scenes-256",
        "scenes-narratives-64",
    }


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipes_name_says_its_image_size(name):
    assert RECIPES[name].image_size == int(re.search(r"-(\d+)(-plus|-frozen)?$", name)[1])


@pytest.mark.parametrize("name", RECIPES)
def test_the_networks_of_a_recipe_can_be_built(name):
    import torch

    from xmcgan.encoders.image import untrained_map_encoder
    from xmcgan.model.build import build_discriminator, build_generator

    with torch.device("meta"):  # shapes without memory
        generator = build_generator(RECIPES[name], text_dim=384)
        frozen = untrained_map_encoder(RECIPES[name].discriminator)
        discriminator = build_discriminator(RECIPES[name], text_dim=384, encoder=frozen)
    assert generator.image_size == RECIPES[name].image_size
    assert frozen is not None or discriminator.image_size == generator.image_size
    assert generator.to_rgb.weight.shape[1] in (RECIPES[name].generator.width, 2 * RECIPES[name].generator.width)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_survive_json(name):
    assert from_dict(json.loads(json.dumps(to_dict(RECIPES[name])))) == RECIPES[name]


def test_coco14_256_is_the_papers():
    config = RECIPES["coco14-256"]
    assert config.image_size == 256
    assert config.dataset == DatasetConfig(
        layout="coco", split="train2014", validation_split="val2014", fit="squash", flip=True
    )
    assert config.text.encoder == "google-bert/bert-base-uncased"
    assert config.text.max_length == 17
    assert (config.generator.width, config.discriminator.width) == (96, 96)
    assert (config.generator.stem, config.generator.modulation) == ("condition", "attentional")
    assert (config.generator.noise_dim, config.generator.rho_0) == (128, 15.0)
    assert config.discriminator.head_layers == 0
    losses = config.losses
    assert (losses.sentence, losses.word, losses.image_discriminator, losses.image_encoder) == (1, 1, 1, 1)
    assert (losses.temperature, losses.word_temperature, losses.rho_1, losses.rho_2) == (0.1, 1 / 50, 5, 5)
    assert losses.encoder == "vgg19"
    training = config.training
    assert (training.batch_size, training.discriminator_steps) == (256, 2)
    assert (training.discriminator_lr, training.generator_lr) == (4e-4, 1e-4)
    assert (training.beta1, training.beta2) == (0.5, 0.999)
    assert training.ema_decay == 0.999
    assert not training.ema_warmup


def test_localized_narratives_differ_from_coco_in_data_and_words_alone():
    changes = differences(RECIPES["coco14-256"], RECIPES["ln-coco-256"])
    assert changes.pop("text.max_length") == (17, 64)
    assert changes.pop("data") == ("data/coco14", "data/ln-coco")
    assert set(changes) == {"dataset.layout", "dataset.split", "dataset.validation_split"}


def test_scenes_do_not_mirror():
    assert not any(RECIPES[name].dataset.flip for name in RECIPES if name.startswith("scenes"))


def test_scenes_need_nothing_from_outside():
    for name in ("scenes-64", "scenes-128", "scenes-256"):
        assert RECIPES[name].text.encoder == "minilm"
        assert RECIPES[name].losses.image_encoder == 0


def test_flowers_plus_has_the_techniques_of_scenes_frozen():
    changes = differences(RECIPES["scenes-64-frozen"], RECIPES["flowers-64-plus"])
    assert changes["discriminator.upsampling"] == (2, 1)
    assert changes["generator.width"] == (24, 8)
    assert changes["training.batch_size"] == (128, 24)
    assert changes["dataset.flip"] == (False, True)
    assert not [name for name in changes if name.startswith(("losses", "augmentation"))]


def test_a_configuration_cannot_be_changed():
    with pytest.raises(AttributeError):
        RECIPES["scenes-64"].training.steps = 5
    with pytest.raises(AttributeError):
        RECIPES["scenes-64"].data = "elsewhere"


# ----------------------------------------------------------------------------------------- nested plain values


def test_sections_may_be_left_out_of_a_dictionary():
    config = from_dict({"image_size": 64, "training": {"steps": 7}})
    assert config == Config(image_size=64, training=TrainingConfig(steps=7))
    assert isinstance(config.training, TrainingConfig)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_sise": 64}, "unknown setting 'image_sise'; did you mean 'image_size'"),
        ({"training": {"batchsize": 64}}, "unknown setting 'training.batchsize'; did you mean 'batch_size'"),
        (
            {"generator": {"zzz": 1}},
            "unknown setting 'generator.zzz'; there is width, noise_dim, stem, modulation, modulation_upsampling",
        ),
        ({"trainer": {"steps": 1}}, "unknown setting 'trainer'; did you mean 'training'"),
    ],
)
def test_an_unknown_field_is_named_with_the_nearest_one(values, message):
    with pytest.raises(ValueError, match=message):
        from_dict(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], r"config is \[\]; it should be settings by name"),
        ("config", "config is 'config'; it should be settings by name"),
        ({"text": None}, "text is None; it should be settings by name"),
        ({"training": 3}, "training is 3; it should be settings by name"),
        ({"generator": {"width": "4"}}, "generator.width is '4'; it should be a whole number"),
        ({"generator": {"width": 4.5}}, "generator.width is 4.5; it should be a whole number"),
        ({"generator": {"rho_0": float("nan")}}, "generator.rho_0 is nan; it should be a finite number"),
        ({"generator": {"stem": ["noise"]}}, r"generator.stem is \['noise'\]; it should be one of condition, noise"),
        ({"dataset": {"flip": 1}}, "dataset.flip is 1; it should be true or false"),
        ({"text": {"layers": "all"}}, "text.layers is 'all'; it should be a whole number or null"),
        ({"training": {"seed": 2**70}}, r"training.seed is 1180591620717411303424; it should be below 2\*\*63"),
        ({"training": {"seed": 10**5000}}, "training.seed is a whole number of thousands of digits"),
        ({"image_size": True}, "image_size is True; it should be one of 64, 128, 256"),
        ({"image_size": 100}, "image_size is 100; it should be one of 64, 128, 256"),
    ],
)
def test_a_value_of_another_type_is_named_with_what_it_should_be(values, message):
    with pytest.raises(ValueError, match=message):
        from_dict(values)


def test_whole_numbers_are_numbers_and_null_stays():
    config = from_dict({"generator": {"rho_0": 3}, "text": {"layers": None}})
    assert (config.generator.rho_0, config.text.layers) == (3, None)


def test_suggestions():
    assert suggestion("steps", ["steps"]) == "; did you mean 'steps'?"
    assert suggestion("qqq", ["width", "height"]) == "; there is width, height"


def test_flatten_gives_dotted_names():
    assert flatten({"a": 1, "b": {"c": 2, "d": {"e": None}}}) == {"a": 1, "b.c": 2, "b.d.e": None}
    assert flatten({}) == {}


def test_unflatten_is_the_inverse_of_flatten():
    assert unflatten({"a": 1, "b.c": 2, "b.d.e": None, "b.d.f": 3}) == {"a": 1, "b": {"c": 2, "d": {"e": None, "f": 3}}}
    values = to_dict(Config())
    assert unflatten(flatten(values)) == values


def test_every_field_has_a_dotted_name():
    names = set(flatten(to_dict(Config())))
    assert {"image_size", "data", "training.batch_size", "text.encoder", "losses.encoder_weights"} <= names
    assert {name.partition(".")[0] for name in names if "." in name} == set(SECTIONS)


def test_every_field_is_explained():
    """`--help` shows what the Args of the docstring say of a field."""
    for kind in (Config, *SECTIONS.values()):
        plain = [name for name in kind.__dataclass_fields__ if name not in SECTIONS]
        assert all(f"\n        {name}: " in kind.__doc__ for name in plain), kind


def test_differences_name_fields_with_both_values():
    one = RECIPES["scenes-64"]
    other = replace(one, data="x", training=replace(one.training, beta1=0.0))
    assert differences(one, one) == {}
    assert differences(one, other) == {"data": ("data/scenes-64", "x"), "training.beta1": (0.5, 0.0)}
    assert differences(other, one)["data"] == ("x", "data/scenes-64")


# ----------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("training.steps", 0),
        ("training.batch_size", 0),
        ("training.batch_size", 1),
        ("training.discriminator_steps", 0),
        ("training.discriminator_lr", 0.0),
        ("training.discriminator_lr", float("nan")),
        ("training.generator_lr", -1e-4),
        ("training.generator_lr", float("inf")),
        ("training.beta1", 1.0),
        ("training.beta1", -0.1),
        ("training.beta2", 1.5),
        ("training.ema_decay", 1.0),
        ("training.ema_decay", -0.5),
        ("training.seed", -1),
        ("training.micro_batch", 0),
        ("training.micro_batch", -4),
        ("training.log_every", 0),
        ("training.sample_every", 0),
        ("training.checkpoint_every", -5),
        ("training.keep_checkpoints", -1),
        ("dataset.workers", -1),
    ],
)
def test_a_value_out_of_range_names_its_field(name, value):
    with pytest.raises(ValueError, match=rf"^{name.replace('.', '[.]')} is {value}"):
        changed(**{name.replace(".", "__"): value})


def test_a_batch_of_one_is_refused_only_with_a_contrastive_loss():
    off = dict.fromkeys(("losses__sentence", "losses__word", "losses__image_discriminator", "losses__image_encoder"), 0)
    assert changed(training__batch_size=1, **off).training.batch_size == 1
    for name in off:
        with pytest.raises(ValueError, match=r"training\.batch_size is 1, but a contrastive loss"):
            changed(training__batch_size=1, **(off | {name: 0.5}))


def test_weights_of_an_encoder_that_is_not_used_are_refused():
    assert changed(losses__encoder_weights="vgg19.pth").losses.encoder_weights == "vgg19.pth"
    with pytest.raises(ValueError, match=r"losses\.encoder_weights names a file, but losses\.image_encoder is 0"):
        changed(losses__encoder_weights="vgg19.pth", losses__image_encoder=0.0)


def test_the_least_values_are_accepted():
    least = {"training__steps": 1, "training__batch_size": 2, "training__beta1": 0.0, "training__ema_decay": 0.0}
    config = changed(**least, training__keep_checkpoints=0, dataset__workers=0)
    assert config.training.beta1 == 0


def test_mouse_traces_need_a_set_that_has_them():
    recipe = RECIPES["coco14-256"]
    with pytest.raises(ValueError, match="coco, which has no mouse traces"):
        replace(recipe, losses=replace(recipe.losses, trace=1.0))


@pytest.mark.parametrize("kind", ["frozen-features", "combined"])
def test_checkpointed_activations_are_refused_on_frozen_features(kind):
    with pytest.raises(ValueError, match=f"{kind}, which cannot recompute its activations"):
        replace(
            Config(discriminator=DiscriminatorConfig(kind=kind)),
            training=TrainingConfig(checkpoint_activations=True),
        )
