"""R-precision, contrastive accuracy and CLIPScore: by hand, by the plain definition, and what chance scores."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from xmcgan.losses.contrastive import cosine, symmetric_cross_entropy
from xmcgan.metrics.retrieval import clip_score, contrastive_accuracy, draw_mismatched, r_precision, top1_hits

COUNT = 1000
IDS = [f"image {number}" for number in range(COUNT)]


def pairs(noise: float = 0.0) -> tuple[Tensor, Tensor]:
    """Embeddings of captions, and of images that show them more or less."""
    captions = F.normalize(torch.randn(COUNT, 32), dim=1)
    return captions + noise * F.normalize(torch.randn(COUNT, 32), dim=1), captions


# R-precision


def test_true_pairs_score_1_and_noise_costs():
    scores = [r_precision(*pairs(noise), image_ids=IDS).value for noise in (0.0, 1.5, 2.0, 5.0)]
    assert scores[0] == 1
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 4


@pytest.mark.parametrize("mismatched", [1, 9, 99])
def test_random_features_and_shuffled_captions_score_chance(mismatched):
    images, captions = pairs()
    chance = 1 / (1 + mismatched)
    within = 4 * math.sqrt(chance * (1 - chance) / COUNT)
    strangers = r_precision(torch.randn(COUNT, 32), captions, image_ids=IDS, mismatched=mismatched)
    assert strangers.value == pytest.approx(chance, abs=within)
    shift = captions.roll(1, 0)
    assert r_precision(images, shift, image_ids=IDS, mismatched=mismatched).value == pytest.approx(chance, abs=within)


@pytest.mark.parametrize("constant", [0.0, 1.0])
@pytest.mark.parametrize("side", ["images", "captions", "both"])
def test_a_constant_encoder_scores_chance(constant, side):
    images, captions = pairs()
    same = torch.full_like(images, constant)
    found = r_precision(same if side != "captions" else images, same if side != "images" else captions, image_ids=IDS)
    if side == "images" and constant:
        assert found.value == pytest.approx(0.01, abs=0.013)  # no ties: the captions differ
    else:
        assert found == pytest.approx((0.01, 0), abs=1e-12)


def test_a_caption_that_another_image_has_too_counts_half():
    captions = torch.eye(4).repeat_interleave(2, 0)  # two and two images have the same caption
    found = r_precision(captions, captions, image_ids=range(8), mismatched=7, folds=2)
    assert found == pytest.approx((0.5, 0))


def test_captions_of_the_same_image_are_no_mismatches():
    captions = torch.eye(4).repeat_interleave(2, 0)
    found = r_precision(captions, captions, image_ids=[0, 0, 1, 1, 2, 2, 3, 3], mismatched=6, folds=2)
    assert found == pytest.approx((1, 0))


def test_by_the_plain_definition_with_every_other_caption():
    # With all the others as mismatches nothing is drawn: a hit is the best of a row of the whole score matrix.
    images, captions = pairs(1.5)
    scores = F.normalize(images, dim=1) @ captions.T
    expected = (scores.argmax(1) == torch.arange(COUNT)).double().mean()
    found = r_precision(images, captions, image_ids=IDS, mismatched=COUNT - 1, folds=10)
    assert 0.1 < found.value < 0.9
    assert found.value == pytest.approx(float(expected), abs=1e-9)


def test_folds_divide_the_images():
    images, captions = pairs(1.5)
    folds = r_precision(images, captions, image_ids=IDS)
    whole = r_precision(images, captions, image_ids=IDS, folds=1)
    assert folds.value == pytest.approx(whole.value, abs=1e-9)
    assert whole.deviation == 0
    # A fold of 100 images is that uncertain.
    assert folds.deviation == pytest.approx(math.sqrt(whole.value * (1 - whole.value) / 100), rel=0.6)


def test_randomness_depends_on_the_seed_alone_and_not_on_lengths():
    images, captions = pairs(1.5)
    first = r_precision(images, captions, image_ids=IDS)
    torch.manual_seed(1)
    assert r_precision(images, captions, image_ids=IDS) == first
    assert r_precision(images, captions, image_ids=IDS, seed=1) != first
    assert r_precision(4 * images, captions / 8, image_ids=IDS) == pytest.approx(first, abs=1e-12)


@given(st.lists(st.integers(0, 4), min_size=3, max_size=30), st.integers(0, 1000), st.data())
@settings(max_examples=100, deadline=None)
def test_others_are_distinct_and_of_other_images(image_ids, seed, data):
    available = len(image_ids) - max(image_ids.count(image) for image in image_ids)
    if not available:
        with pytest.raises(ValueError, match="should be 1 to 0"):
            draw_mismatched(image_ids, 1, np.random.default_rng(seed))
        return
    count = data.draw(st.integers(1, available))
    drawn = draw_mismatched(image_ids, count, np.random.default_rng(seed))
    assert drawn.shape == (len(image_ids), count)
    for position, row in enumerate(drawn):
        assert len(set(row)) == count
        assert all(image_ids[other] != image_ids[position] for other in row)


def test_all_others_are_equally_likely():
    image_ids = list("abbacd")
    generator = np.random.default_rng(0)
    drawn = np.stack([draw_mismatched(image_ids, 2, generator) for _ in range(3000)])
    for position, image in enumerate(image_ids):
        allowed = [other for other in range(6) if image_ids[other] != image]
        shares = np.bincount(drawn[:, position].ravel(), minlength=6)[allowed] / 3000
        np.testing.assert_allclose(shares, 2 / len(allowed), atol=0.04)


# Contrastive accuracy


def test_one_batch_has_the_accuracy_of_the_losses():
    images, captions = pairs(1.5)
    expected = symmetric_cross_entropy(cosine(images, captions)).accuracy
    found = contrastive_accuracy(images, captions, batch_size=COUNT)
    assert found == pytest.approx((float(expected), 0), abs=1e-6)
    assert 0.1 < found.value < 0.9


def test_rows_and_columns_weigh_the_same():
    # Both images are nearest to caption 0: one row of two is right. Each caption is nearest to its own image.
    captions = torch.eye(2)
    images = torch.tensor([[1.0, 0.1], [1.0, 0.8]])
    assert contrastive_accuracy(images, captions, batch_size=2).value == pytest.approx(0.75)


def test_accuracy_falls_with_the_batch_and_chance_is_one_of_a_batch():
    images, captions = pairs(1.5)
    small, large = (contrastive_accuracy(images, captions, batch_size=size).value for size in (10, 200))
    assert small > large + 0.1
    strangers = contrastive_accuracy(torch.randn(COUNT, 32), captions, batch_size=10).value
    assert strangers == pytest.approx(0.1, abs=4 * math.sqrt(0.09 / COUNT))
    same = torch.ones_like(images)
    assert contrastive_accuracy(same, same, batch_size=10) == pytest.approx((0.1, 0))


def test_sorted_pairs_are_dealt_out_and_an_unfilled_batch_is_left_out():
    # Ten groups of a hundred equal pairs: neighbours in a batch would all tie.
    captions = torch.eye(10).repeat_interleave(100, 0)
    assert contrastive_accuracy(captions, captions, batch_size=2).value > 0.9
    assert contrastive_accuracy(captions, captions, batch_size=501) == contrastive_accuracy(
        captions, captions, batch_size=501, seed=0
    )
    one = contrastive_accuracy(*pairs(1.5), batch_size=501)
    assert one.deviation == 0


def test_a_true_pair_shares_its_hit_with_its_equals():
    scores = torch.tensor([[1.0, 0, 0], [1, 1, 0], [1, 1, 1], [0, 1, 1], [0, 0, 1]])
    assert top1_hits(scores[:, 0], scores).tolist() == pytest.approx([1, 1 / 2, 1 / 3, 0, 0])


# CLIPScore


def test_clip_score_by_hand():
    images = torch.tensor([[1.0, 0], [3, 4], [-1, 0], [0, 2]])
    captions = torch.tensor([[2.0, 0], [1, 0], [1, 0], [1, 0]])
    assert clip_score(images, captions) == pytest.approx(2.5 * (1 + 0.6 + 0 + 0) / 4)  # not -1 for the third
    assert clip_score(images, captions, weight=100) == pytest.approx(40)


# Errors


@pytest.mark.parametrize(
    "metric",
    [clip_score, contrastive_accuracy, lambda images, captions: r_precision(images, captions, image_ids=IDS)],
)
def test_rows_must_pair_up_and_be_finite(metric):
    images, captions = pairs()
    with pytest.raises(ValueError, match=r"\(999, 32\) and \(1000, 32\)"):
        metric(images[1:], captions)
    with pytest.raises(ValueError, match=r"\(0, 32\)"):
        metric(images[:0], captions[:0])
    with pytest.raises(ValueError, match="NaN or infinity"):
        metric(images * math.nan, captions)


def test_wrong_arguments_are_named():
    images, captions = pairs()
    with pytest.raises(ValueError, match="999 image_ids but 1000 captions"):
        r_precision(images, captions, image_ids=IDS[1:])
    with pytest.raises(ValueError, match="mismatched is 99; it should be 1 to 49"):
        r_precision(images[:50], captions[:50], image_ids=IDS[:50])
    with pytest.raises(ValueError, match="mismatched is 99; it should be 1 to 50"):
        r_precision(images[:100], captions[:100], image_ids=["one"] * 50 + IDS[:50])
    with pytest.raises(ValueError, match="folds is 101; it should be 1 to 100"):
        r_precision(images[:100], captions[:100], image_ids=IDS[:100], folds=101)
    with pytest.raises(ValueError, match="batch_size is 256; it should be 2 to 100"):
        contrastive_accuracy(images[:100], captions[:100])
    with pytest.raises(ValueError, match="weight is 0"):
        clip_score(images, captions, weight=0)
