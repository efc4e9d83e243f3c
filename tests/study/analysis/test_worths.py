"""Plackett-Luce worths against choix, known worths, and data without any."""

from itertools import permutations

import choix
import numpy as np
import pytest

from study_answers import SYSTEMS, answer
from xmcgan.study.analysis.tally import tally
from xmcgan.study.analysis.worths import choices, connected, refusal, worths


def counted(*rankings: str, systems=SYSTEMS):
    return tally([answer(ranking, caption=number) for number, ranking in enumerate(rankings)], systems)


def estimate(counts, alpha: float = 0.1):
    return worths(counts.counts_D[None], choices(counts.rankings, counts.systems), alpha=alpha)[0]


@pytest.mark.parametrize("alpha", [1e-6, 0.1, 3.0])
def test_the_estimate_is_that_of_choix(alpha):
    random = np.random.default_rng(0)
    utility = np.array([1.5, 0.5, 0.0, -1.0]) + random.gumbel(size=(60, 4))
    orders = np.argsort(-utility, 1)
    pairs = orders[:, [0, 2]][:20]  # and some comparisons of two
    data = [tuple(order) for order in [*orders.tolist(), *pairs.tolist()]]
    counts = counted(*[">".join("abcd"[place] for place in order) for order in data], systems="abcd")
    expected = np.exp(choix.ilsr_rankings(4, data, alpha=alpha, max_iter=1000, tol=1e-10))
    np.testing.assert_allclose(estimate(counts, alpha), expected / expected.sum(), rtol=1e-6)


def test_two_systems_have_the_odds_of_their_wins():
    counts = counted(*["a>b"] * 30, *["b>a"] * 10, systems="ab")
    np.testing.assert_allclose(estimate(counts, 1e-9), [0.75, 0.25], rtol=1e-6)


def test_a_tie_is_every_order_in_equal_parts():
    some = ["a>b>c>d", "d>c>b>a", "b>a>d>c"]
    tied = counted(*some, *["c>a=b=d"] * 6, "a=b=c=d", systems="abcd")
    orders = [">".join(["c", *order]) for order in permutations("abd")]
    every = [">".join(order) for order in permutations("abcd")]
    spelled_out = counted(*some * 24, *orders * 24, *every, systems="abcd")
    np.testing.assert_allclose(estimate(tied, 0.01), estimate(spelled_out, 0.24), rtol=1e-6)


def test_known_worths_are_found():
    true = np.array([0.6, 0.25, 0.1, 0.05])
    utility = np.log(true) + np.random.default_rng(1).gumbel(size=(20_000, 4))
    counts = counted(*[">".join("abcd"[place] for place in order) for order in np.argsort(-utility, 1)], systems="abcd")
    np.testing.assert_allclose(estimate(counts), true, atol=0.008)


def test_replicates_are_solved_as_if_alone():
    counts = counted("a>b>c", "b>a>c", "c>a>b", "a>c>b")
    made = choices(counts.rankings, counts.systems)
    rows = np.array([[4, 1, 1, 0], [1, 1, 1, 1], [0, 9, 0, 1.0]])
    together = worths(rows, made)
    for row, expected in zip(rows, together, strict=True):
        np.testing.assert_allclose(worths(row[None], made)[0], expected, rtol=1e-12)
    np.testing.assert_allclose(together.sum(1), 1)


def test_an_iteration_that_does_not_converge_is_an_error():
    counts = counted("a>b>c", "b>a>c", "c>a>b")
    with pytest.raises(ValueError, match="Plackett-Luce worths did not converge in 1 iterations"):
        worths(counts.counts_D[None], choices(counts.rankings, counts.systems), most=1)


def test_refused_with_the_systems_that_never_win():
    counts = counted("a>b>c", "b>a>c")
    assert refusal(counts) == (
        "no answer ranks c above a or b: the win graph is not strongly connected, and the model has no finite worths"
    )
    assert refusal(counted("a>b>c", "b>c>a")) is None
    assert refusal(counted("a>b>c", "b>a=c")) is None  # c ties with a: half a win
    assert "no answer ranks a or b above c or d" in str(refusal(counted("a>b", "b>a", "c>d", "d>c", systems="abcd")))


def test_connected_says_it_of_each_replicate():
    counts = counted("a>b>c", "b>c>a")
    assert connected(np.array([[1, 1], [1, 0], [0, 5.0]]), counts).tolist() == [True, False, False]
