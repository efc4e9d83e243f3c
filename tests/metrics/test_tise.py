"""TISE's metrics on cases worked by hand, and the ranking score on the published table."""

import json
import math
import re
from pathlib import Path

import pytest
import torch

from xmcgan.metrics.inception_score import inception_score
from xmcgan.metrics.tise import (
    RANKED,
    calibrated_inception_score,
    calibrating_temperature,
    counting_alignment,
    positional_alignment,
    ranking_score,
)

TABLE = Path(__file__).parents[3] / "shared/data/metrics/tise_coco_benchmark.json"

PUBLISHED_RANKING = {
    "GAN-CLS": 7,
    "StackGAN": 11.5,
    "AttnGAN": 29,
    "DM-GAN": 41,
    "CPGAN": 43,
    "DF-GAN": 31.5,
    "AttnGAN + CL": 37,
    "DM-GAN + CL": 51.5,
    "DALLE-Mini": 23.5,
    "AttnGAN++": 56,
    "Real-Images": 65,
}
"""The column RS of ranking_scores/results/coco_benchmark_results.txt in the authors' repository, at f61fb07c."""


def test_counting_alignment_by_hand():
    # two dogs and one cat wanted, three dogs found: errors 1 and 1, so sqrt((1 + 1) / 2) = 1; then a perfect image
    found = counting_alignment([{18: 2, 17: 1}, {3: 4}], [{18: 3, 44: 9}, {3: 4}])
    assert found.value == pytest.approx(0.5)
    assert found.deviation == pytest.approx(0.5)  # of 1 and 0: standard deviation sqrt(1/2), over sqrt(2)


def test_counting_alignment_averages_squares_within_an_image_only():
    # errors 3 and 4 in one image: sqrt(25 / 2); the same in two images: 3.5
    assert counting_alignment([{1: 3, 2: 4}], [{}]).value == pytest.approx(math.sqrt(12.5))
    assert counting_alignment([{1: 3}, {2: 4}], [{}, {}]).value == pytest.approx(3.5)


def test_a_caption_that_counts_nothing_is_refused():
    with pytest.raises(ValueError, match="counts no object"):
        counting_alignment([{}], [{}])


def test_positional_alignment_averages_over_words_not_images():
    images = torch.tensor([[1.0, 0.0]] * 3)
    true, false = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    captions, others = torch.stack([true, true, false]), torch.stack([false, false, true])
    # both "left" images are right, the "behind" one is wrong: (1 + 0) / 2
    assert positional_alignment(images, captions, others, ["left", "left", "behind"]).value == 0.5


@pytest.mark.parametrize(("difference", "right"), [(0.0039, 0.0), (0.0042, 1.0)])
def test_a_position_is_right_only_if_its_probability_exceeds_six_tenths(difference, right):
    # log(0.6 / 0.4) = 0.405, so cosines must differ by more than 0.00405 at CLIP's scale of 100
    angle = math.acos(0.5 + difference) - math.acos(0.5)
    start = math.acos(0.5)
    caption = torch.tensor([[math.cos(start + angle), math.sin(start + angle)]])
    other = torch.tensor([[math.cos(start), -math.sin(start)]])
    found = positional_alignment(torch.tensor([[1.0, 0.0]]), caption.double(), other.double(), ["above"])
    assert found.value == right


def test_equal_captions_are_never_right():
    rows = torch.randn(5, 8)
    assert positional_alignment(rows, rows, rows, ["left"] * 5).value == 0


def test_a_temperature_of_one_is_the_inception_score_and_heat_lowers_it():
    logits = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)) * 3
    plain = inception_score(logits, splits=2)
    assert calibrated_inception_score(logits, temperature=1.0, splits=2) == plain
    assert 1 < calibrated_inception_score(logits, temperature=5.0, splits=2).value < plain.value


def test_calibration_recovers_a_known_temperature():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20_000, 4, generator=generator, dtype=torch.float64) * 2
    classes = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    assert calibrating_temperature(logits * 3, classes) == pytest.approx(3, rel=0.03)


@pytest.mark.parametrize("classes", [(0, 1, 2), (1, 2, 0)])
def test_logits_that_no_temperature_calibrates(classes):
    """If they are always right, the loss falls with the temperature; if always wrong, with its inverse."""
    with pytest.raises(ValueError, match=r"no temperature from 0\.01 to 100 calibrates these logits"):
        calibrating_temperature(torch.eye(3) * 50, torch.tensor(classes))


def test_ranking_score_by_hand():
    best = dict.fromkeys(RANKED, 2.0) | {"FID": 1.0, "O-FID": 1.0, "CA": 1.0}
    worst = dict.fromkeys(RANKED, 1.0) | {"FID": 2.0, "O-FID": 2.0, "CA": 2.0}
    assert ranking_score({"worst": worst, "best": best}) == {"worst": 6.0, "best": 12.0}
    assert ranking_score({"a": best, "b": best}) == {"a": 9.0, "b": 9.0}


def test_ranking_score_needs_every_metric():
    with pytest.raises(ValueError, match="a has no PA"):
        ranking_score({"a": {name: 1.0 for name in RANKED if name != "PA"}})


@pytest.mark.skipif(not TABLE.is_file(), reason=f"{TABLE} is not here")
def test_ranking_score_of_the_published_table():
    table = json.loads(TABLE.read_text())["coco"]
    # DM-GAN + CL and the like have no equal values, so the ranks are those of the authors' code
    assert ranking_score(table) == pytest.approx(PUBLISHED_RANKING)


@pytest.mark.parametrize(("captions", "images"), [(0, 0), (2, 1)])
def test_counting_alignment_needs_an_image_for_each_caption(captions, images):
    with pytest.raises(ValueError, match=f"{captions} captions and {images} images; give an image a caption"):
        counting_alignment([{1: 2}] * captions, [{1: 2}] * images)


@pytest.mark.parametrize(
    ("false", "words", "message"),
    [
        (torch.ones(2, 5), ["left", "above"], r"\(2, 5\).* and there are 2 words; all should be N rows"),
        (torch.ones(2, 4), ["left"], r"shapes \{\(2, 4\)\} and there are 1 words"),
        (torch.ones(2, 4), [], r"there are 0 words"),
    ],
)
def test_positional_alignment_needs_a_row_and_a_word_for_each_image(false, words, message):
    with pytest.raises(ValueError, match=message):
        positional_alignment(torch.ones(2, 4), torch.ones(2, 4), false, words)


@pytest.mark.parametrize("temperature", [0, -1.5, math.inf, math.nan])
def test_a_temperature_that_calibrates_nothing_is_refused(temperature):
    with pytest.raises(ValueError, match=f"temperature is {temperature}; it should be above 0"):
        calibrated_inception_score(torch.ones(20, 5), temperature=temperature)


@pytest.mark.parametrize(("logits", "classes"), [((6,), (6,)), ((6, 3), (5,)), ((6, 3), (6, 1))])
def test_calibration_needs_a_class_for_each_image(logits, classes):
    message = f"logits have shape {logits}, classes {classes}; both need N"
    with pytest.raises(ValueError, match=re.escape(message)):
        calibrating_temperature(torch.zeros(logits), torch.zeros(classes, dtype=torch.long))
