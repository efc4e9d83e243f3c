"""Agreement of annotators: Kendall's W against scipy's Friedman test, shares worked by hand."""

import numpy as np
import pytest
from scipy.stats import friedmanchisquare

from study_answers import SYSTEMS, answer
from xmcgan.study.analysis.agreement import Agreement, agreements, kendall_w, percentiles
from xmcgan.study.analysis.krippendorff import alpha
from xmcgan.study.analysis.tally import tally


def by_caption(*captions: list[str], systems=SYSTEMS):
    """Each caption's rankings, by annotators 1, 2, ..."""
    return tally(
        [answer(ranking, caption=number, annotator=rater)
         for number, rankings in enumerate(captions) for rater, ranking in enumerate(rankings, 1)],
        systems,
    )  # fmt: skip


@pytest.mark.parametrize(
    "rankings",
    [
        ["a>b>c>d", "a>c>b>d", "d>a>b>c", "a>b>d>c"],
        ["a=b>c>d", "a>c>b=d", "d>a=b=c", "a>b>d>c"],
        ["a=b=c>d", "d>a>b>c"],
    ],
)
def test_kendalls_w_is_friedmans_statistic_over_its_maximum(rankings):
    counts = by_caption(rankings, systems="abcd")
    ranks = counts.features.rank_DK[counts.ranking_N]
    expected = friedmanchisquare(*ranks.T).statistic / (len(rankings) * 3)  # scipy corrects for ties
    w, chance = kendall_w(counts)
    assert w == pytest.approx([expected])
    assert chance == pytest.approx([1 / len(rankings)])


def test_w_is_averaged_over_the_captions_where_it_exists():
    found = agreements(by_caption(["a>b>c", "a>b>c"], ["a>b>c", "c>b>a"], ["a>b>c"], ["a=b=c", "a=b=c"]))
    assert found.kendall_w.value == pytest.approx(0.5)  # 1 and 0; one annotator; all tied
    assert found.kendall_w_chance == pytest.approx(0.5)
    assert found.captions == 3


def test_chance_equals_the_accuracy_of_random_rankings():
    random = np.random.default_rng(0)
    found = agreements(by_caption(*[[">".join(random.permutation(SYSTEMS)) for _ in range(4)] for _ in range(2000)]))
    assert found.kendall_w.value == pytest.approx(found.kendall_w_chance, abs=0.01)
    assert found.alpha_ordinal.value == pytest.approx(0, abs=0.02)
    assert found.alpha_nominal.value == pytest.approx(0, abs=0.02)
    assert found.ordered_alike.value == pytest.approx(1 / 2, abs=0.02)
    assert found.same_best.value == pytest.approx(1 / 3, abs=0.02)
    assert found.same_best.low < 1 / 3 < found.same_best.high


def test_shares_alike_by_hand():
    found = agreements(by_caption(["a>b>c", "a>c>b", "b>a>c"], ["a>b=c", "a>b=c"]))
    # First caption, pairs of annotators: 2 of 3, 2 of 3, 1 of 3 pairs of systems alike. Second: 3 of 3.
    assert found.ordered_alike.value == pytest.approx((2 + 2 + 1 + 3) / 12)
    assert found.same_best.value == pytest.approx((1 + 0 + 0 + 1) / 4)


def test_alpha_has_a_unit_for_each_system_of_each_caption():
    captions = [["a>b>c", "a>c>b", "b>a>c"], ["c>b>a", "c>a=b"], ["a>b>c"]]
    ranks = {"a>b>c": (1, 2, 3), "a>c>b": (1, 3, 2), "b>a>c": (2, 1, 3), "c>b>a": (3, 2, 1), "c>a=b": (2.5, 2.5, 1)}
    table = np.full((9, 3), np.nan)
    for number, rankings in enumerate(captions):
        for rater, ranking in enumerate(rankings):
            table[3 * number : 3 * number + 3, rater] = ranks[ranking]
    found = agreements(by_caption(*captions))
    assert found.alpha_ordinal.value == pytest.approx(alpha(table, "ordinal"))
    best = np.array([[0, 0, 1], [2, 2, np.nan], [0, np.nan, np.nan]])
    assert found.alpha_nominal.value == pytest.approx(alpha(best, "nominal"))


def test_pairs_are_compared_with_the_same_pair_only():
    answers = [
        answer("a>b", annotator=1, item_id="ab"), answer("a>b", annotator=2, item_id="ab"),
        answer("a>c", annotator=3, item_id="ac"), answer("c>a", annotator=4, item_id="ac"),
    ]  # fmt: skip
    found = agreements(tally(answers, SYSTEMS))
    assert found.kendall_w.value is None
    assert found.alpha_ordinal.value is None
    assert found.ordered_alike.value == pytest.approx(1 / 2)
    assert found.same_best.value == pytest.approx(1 / 2)


def test_one_annotator_a_caption_gives_no_agreement():
    found = agreements(by_caption(["a>b>c"], ["c>b>a"]))
    assert found.captions == 0
    assert {each.value for each in found[:1] + found[2:6]} == {None}


def test_an_interval_needs_two_replicates_that_have_the_measure():
    nan = float("nan")
    assert percentiles(np.array([0.5, nan, 0.7])) == Agreement(0.5)
    assert percentiles(np.array([0.5, nan, 0.7, 0.7])) == Agreement(0.5, 0.7, 0.7)
    assert percentiles(np.array([nan, 0.6, 0.7])) == Agreement(None)
