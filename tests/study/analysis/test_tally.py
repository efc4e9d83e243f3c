"""Counts of rankings and the statistics of counts, worked by hand."""

import numpy as np
import pytest

from study_answers import SYSTEMS, answer
from xmcgan.study.analysis.tally import mean_rank, share_best, tally, win_rates


def statistics(*rankings: str):
    counts = tally([answer(ranking, caption=number) for number, ranking in enumerate(rankings)], SYSTEMS)
    return [function(counts.counts_D[None], counts.features)[0] for function in (share_best, mean_rank, win_rates)]


def test_shares_ranks_and_wins_of_three_answers():
    best, rank, wins = statistics("a>b>c", "a>c>b", "b>a>c")
    np.testing.assert_allclose(best, [2 / 3, 1 / 3, 0])
    np.testing.assert_allclose(rank, [4 / 3, 2, 8 / 3])
    np.testing.assert_allclose([wins[0, 1], wins[0, 2], wins[1, 2]], [2 / 3, 1, 2 / 3])
    np.testing.assert_allclose(wins[1, 0], 1 / 3)
    assert np.isnan(np.diag(wins)).all()


def test_ties_are_split():
    best, rank, wins = statistics("a=b>c", "a=b=c")
    np.testing.assert_allclose(best, [(1 / 2 + 1 / 3) / 2, (1 / 2 + 1 / 3) / 2, 1 / 6])
    np.testing.assert_allclose(rank, [(1.5 + 2) / 2, (1.5 + 2) / 2, (3 + 2) / 2])
    np.testing.assert_allclose([wins[0, 1], wins[0, 2]], [1 / 2, 3 / 4])


def test_shares_of_pairs_are_of_the_answers_that_show_the_system():
    best, _, wins = statistics("a>b", "a>b", "c>a")
    np.testing.assert_allclose(best, [2 / 3, 0, 1])
    np.testing.assert_allclose(wins[0, 1], 1)
    assert np.isnan(wins[1, 2])  # never compared


def test_the_order_within_a_tie_does_not_matter_and_other_kinds_are_not_counted():
    answers = [answer("b=a>c"), answer("a=b>c", caption=1), answer("c>b>a", caption=2, kind="repeat")]
    counts = tally(answers, SYSTEMS)
    assert counts.rankings == ((("a", "b"), ("c",)),)
    assert counts.counts_D.tolist() == [2]
    assert (counts.captions, counts.annotators) == (2, 1)


@pytest.mark.parametrize("ranking", ["a>b>d", "a>b>a", "a"])
def test_a_ranking_of_other_systems_is_refused_by_name(ranking):
    with pytest.raises(ValueError, match=r"annotator 7 to item item-0 ranks .*should rank at least two of a, b, c"):
        tally([answer(ranking, annotator=7)], SYSTEMS)
