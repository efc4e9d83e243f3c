"""Simulated studies: their truth, their shape, their careless annotators."""

from collections import Counter

import numpy as np
import pytest

from xmcgan.study.analysis.simulate import PAPER, Population, draw, log_worths, simulated_study, true_shares

PLAIN = Population(clarity=0, luck=0, care=0, taste=0, load=0)


def test_without_factors_shares_are_worths():
    worth = {"a": 0.6, "b": 0.3, "c": 0.1}
    np.testing.assert_allclose(true_shares(log_worths(worth), PLAIN, draws=10), [0.6, 0.3, 0.1])


def test_the_truth_is_what_a_large_study_gives():
    population = Population(taste=0.8, random=0.2)
    drawn = draw(log_worths(PAPER), population, captions=4000, per_caption=2, annotators=2000,
                 random=np.random.default_rng(0))  # fmt: skip
    found = np.bincount(drawn.utility_NK.argmax(1), minlength=4) / len(drawn.utility_NK)
    np.testing.assert_allclose(found, true_shares(log_worths(PAPER), population, draws=200_000), atol=0.02)


def test_every_caption_gets_so_many_different_annotators():
    drawn = draw(log_worths(PAPER), Population(), captions=30, per_caption=5, annotators=8,
                 random=np.random.default_rng(0))  # fmt: skip
    pairs = set(zip(drawn.caption_N.tolist(), drawn.annotator_N.tolist(), strict=True))
    assert len(pairs) == 150
    assert set(Counter(caption for caption, _ in pairs).values()) == {5}
    with pytest.raises(ValueError, match="annotators is 3; it should be at least per_caption, 5"):
        draw(log_worths(PAPER), Population(), captions=3, per_caption=5, annotators=3, random=np.random.default_rng(0))


def test_a_study_has_its_kinds_of_answers_and_its_seed():
    worths = {"realism": PAPER, "alignment": PAPER}
    study, answers = simulated_study(worths, captions=12, per_caption=3, annotators=5, seed=4)
    assert study.systems == tuple(PAPER)
    main = [answer for answer in answers if answer.kind == "main"]
    assert len(main) == 2 * 12 * 3
    first = {(answer.annotator, answer.item_id): answer for answer in main}
    repeats = [answer for answer in answers if answer.kind == "repeat"]
    assert repeats
    assert all((answer.annotator, answer.item_id) in first for answer in repeats)
    assert all(sorted(answer.shown_order) == sorted(study.systems) for answer in main)
    assert simulated_study(worths, captions=12, per_caption=3, annotators=5, seed=4)[1] == answers
    assert simulated_study(worths, captions=12, per_caption=3, annotators=5, seed=5)[1] != answers


def test_near_utilities_are_tied():
    _, answers = simulated_study({"realism": PAPER}, Population(ties=0.5), captions=30)
    sizes = Counter(len(group) for answer in answers if answer.kind == "main" for group in answer.ranking)
    assert sizes[1] > sizes[2] > 0
