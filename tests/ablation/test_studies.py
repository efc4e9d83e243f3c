"""The studies: what each row changes, what the paper says of it, and lists of one's own."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from xmcgan.ablation.studies import STUDIES, Claim, figure_5, study_from_file, table_4, table_6, techniques
from xmcgan.config import CONTRASTIVE_LOSSES, Config, differences
from xmcgan.recipes import RECIPES

BASE = RECIPES["scenes-64"]
NARRATIVES = RECIPES["scenes-narratives-64"]


@pytest.mark.parametrize("name", STUDIES)
def test_rows_have_names_and_configurations_of_their_own(name):
    study = STUDIES[name](NARRATIVES if name == "trace" else BASE)
    assert study.name == name
    assert len({row.name for row in study.rows}) == len(study.rows) >= 2
    assert len({row.config for row in study.rows}) == len(study.rows)
    names = {row.name for row in study.rows}
    assert all({claim.better, claim.worse} <= names for claim in study.all_claims())


def test_table_4_has_every_combination_of_the_paper():
    weights = {row.name: [getattr(row.config.losses, name) > 0 for name in CONTRASTIVE_LOSSES]
               for row in table_4(BASE).rows}  # fmt: skip
    assert weights == {
        "none": [False, False, False, False],
        "sentence": [True, False, False, False],
        "word": [False, True, False, False],
        "image D": [False, False, True, False],
        "image encoder": [False, False, False, True],
        "sentence + word": [True, True, False, False],
        "image D + encoder": [False, False, True, True],
        "sentence + word + encoder": [True, True, False, True],
        "all": [True, True, True, True],
    }
    encoders = {row.config.losses.encoder for row in table_4(BASE).rows if row.config.losses.image_encoder}
    assert encoders == {"efficientnet-lite0"}  # scenes-64 has none; these weights come with a package
    papers = table_4(RECIPES["coco14-256"])
    assert {row.config.losses.encoder for row in papers.rows} == {"vgg19"}
    assert papers.rows[-1].config == RECIPES["coco14-256"]


def test_the_papers_numbers_give_an_order():
    claims = table_4(BASE).all_claims()
    assert Claim("fid", "sentence + word", "sentence") in claims
    assert Claim("fid", "sentence", "none") in claims
    assert Claim("fid", "none", "sentence") not in claims
    assert Claim("fid", "sentence + word + encoder", "all") in claims  # by its words
    assert len(set(claims)) == len(claims)


def test_more_layers_are_worse_by_fid_and_better_by_accuracy():
    claims = figure_5(BASE).all_claims()
    assert set(claims) == {Claim("fid", "0 layers", "2 layers"), Claim("contrastive-accuracy", "2 layers", "0 layers")}
    with pytest.raises(ValueError, match="frozen-features, which has no projection layers"):
        figure_5(RECIPES["scenes-64-frozen"])
    both = replace(BASE, discriminator=replace(BASE.discriminator, kind="combined"))
    assert [row.config.discriminator.head_layers for row in figure_5(both).rows] == [0, 1, 2]


def test_table_6_compares_losses_in_the_same_features():
    rows = {row.name: row.config for row in table_6(BASE).rows}
    assert set(differences(rows["L2"], rows["contrastive"])) == {"losses.image_encoder_loss"}
    assert rows["no encoder"].losses.image_encoder == 0


def test_techniques_change_one_thing_each_on_top_of_the_recipe():
    first, *others = techniques(BASE).rows
    assert first.config == BASE
    for row in others:
        sections = {name.rpartition(".")[0] for name in differences(BASE, row.config)}
        assert len(sections) == (2 if row.name == "relativistic, R1 + R2" else 1), row.name


def test_a_list_of_ones_own():
    content = {
        "title": "Words",
        "rows": [{"name": "with", "changes": {}}, {"name": "without", "changes": {"losses.word": 0}}],
    }
    study = study_from_file("mine.json", content, BASE)
    assert study.rows[0].config == BASE
    assert study.rows[1].config == replace(BASE, losses=replace(BASE.losses, word=0))
    assert study.title == "Words"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "should hold an object with rows"),
        ({"rows": [{"name": "one", "changes": {}}]}, "has 1 rows; a study compares at least 2"),
        ({"rows": [{"changes": {}}]}, "row 1 should have a name, and changes by dotted name"),
        ({"rows": [{"name": "a", "changes": {"losses.wrod": 0}}]}, r"row 1 changes losses\.wrod, which the conf"),
        ({"rows": [{"name": "a", "changes": {"losses.word": "x"}}]}, r"row 1: losses\.word is 'x'"),
        ({"rows": [{"name": "a", "changes": {}}] * 2}, "two rows with the same name"),
    ],
)
def test_a_wrong_list_is_named_by_its_row(content, message):
    with pytest.raises(ValueError, match=message):
        study_from_file("mine.json", content, BASE)


@pytest.mark.parametrize("data", ["flowers", "scenes"])
def test_the_example_studies_compare_two_recipes(data):
    path = Path(__file__).parents[2] / f"examples/{data}_study.json"
    recipes = [RECIPES[f"{data}-64"], RECIPES[f"{data}-64-plus"]]
    study = study_from_file(path.name, json.loads(path.read_text()), recipes[0])
    # How long a run takes is the ablation's to say.
    assert [without_steps(row.config) for row in study.rows] == [without_steps(recipe) for recipe in recipes]


def test_the_example_study_of_the_text_changes_the_discriminator_alone():
    path, recipe = Path(__file__).parents[2] / "examples/scenes_text_study.json", RECIPES["scenes-64-plus"]
    rows = study_from_file(path.name, json.loads(path.read_text()), recipe).rows
    changed = [set(differences(recipe, row.config)) for row in rows]
    upsampling, both = "discriminator.upsampling", "discriminator.frozen_contrastive"
    assert changed == [set(), {upsampling}, {upsampling, both}]


def without_steps(config: Config) -> Config:
    return replace(config, training=replace(config.training, steps=1))
