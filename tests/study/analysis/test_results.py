"""The results of whole studies: what counts, what is refused, what is known with few answers."""

from dataclasses import replace

import numpy as np
import pytest

from study_answers import answer, check, study
from xmcgan.study.analysis.results import analyse, steps
from xmcgan.study.analysis.simulate import PAPER, Population, log_worths, simulated_study, true_shares

WORTHS = {"realism": PAPER, "alignment": {"XMC-GAN": 0.4, "OP-GAN": 0.3, "SD-GAN": 0.2, "CP-GAN": 0.1}}


@pytest.fixture(scope="module")
def simulated():
    """A study with careless annotators, and its results."""
    described, answers = simulated_study(WORTHS, Population(random=0.2), captions=80, annotators=25, seed=2)
    return described, answers, analyse(described, answers, replicates=300)


def test_each_criterion_has_its_own_results_near_its_truth(simulated):
    _, _, results = simulated
    assert [each.criterion for each in results.criteria] == ["realism", "alignment"]
    for each in results.criteria:
        truth = true_shares(log_worths(WORTHS[each.criterion]), Population(), draws=100_000)
        found = np.array([system.best.value for system in each.systems])
        np.testing.assert_allclose(found, truth, atol=0.1)
        assert found.sum() == pytest.approx(1)
        assert sum(system.worth.value for system in each.systems) == pytest.approx(1)
        assert np.mean([system.mean_rank.value for system in each.systems]) == pytest.approx(2.5)
        for system in each.systems:
            for estimate in (system.best, system.mean_rank, system.worth):
                assert estimate.low < estimate.value < estimate.high
                assert estimate.error > 0


def test_careless_annotators_are_left_out_and_everyone_is_kept_beside(simulated):
    described, answers, results = simulated
    assert results.excluded
    assert all(each.annotator and each.reasons for each in results.excluded)
    for after, every in zip(results.criteria, results.everyone, strict=True):
        lost = sum(each.answers for each in results.excluded if each.criterion == after.criterion)
        assert after.answers == every.answers - lost
        assert every.answers == 400
        assert after.systems[0].best.value > every.systems[0].best.value  # random clicks draw shares to 1/4
    lenient = replace(
        described, exclusion=replace(described.exclusion, min_attention_correct=0.0, min_seconds_median=0.0)
    )
    assert analyse(lenient, answers, replicates=300).criteria == results.everyone


def test_pairs_have_win_rates_and_holm_over_all_criteria(simulated):
    _, _, results = simulated
    pairs = [pair for each in results.criteria for pair in each.pairs]
    assert len(pairs) == 12
    smallest = min(pairs, key=lambda pair: pair.p)
    assert smallest.p_holm == pytest.approx(12 * smallest.p)
    assert all(pair.p <= pair.p_holm <= 1 for pair in pairs)
    first = results.criteria[0].pairs[0]
    assert (first.first, first.second) == ("XMC-GAN", "OP-GAN")
    assert first.wins.low > 0.5
    assert first.p_holm < 0.001


def test_the_same_seed_gives_the_same_numbers_and_steps_count_the_work(simulated):
    described, answers, results = simulated
    done = []
    again = analyse(described, answers, replicates=300, progress=done.append)
    assert again == results
    assert sum(done) == steps(described, answers, 300) == 3 * 300 * 2 * 2
    other = analyse(described, answers, replicates=300, seed=1)
    assert other.criteria[0].systems[0].best.low != results.criteria[0].systems[0].best.low


def test_no_answers_and_one_answer():
    assert analyse(study(), []).criteria == ()
    only_checks = analyse(study(), [check(True)])
    assert only_checks.criteria == ()
    (one,) = analyse(study(), [answer("a>b>c")], replicates=100).criteria
    assert one.systems[0].best == (1.0, None, None, None)
    assert one.pairs[0].p is None
    assert one.agreement.same_best.value is None
    assert "no answer ranks c above a or b" in one.worths_refused
    assert one.systems[0].worth is None
    assert one.notes == (
        "1 of 1 items have fewer than the 2 answers that the study asks for.",
        "Intervals need answers to at least two captions.",
    )


def test_a_single_replicate_is_refused():
    with pytest.raises(ValueError, match="replicates is 1; it should be at least 2"):
        analyse(study(), [answer("a>b>c")], replicates=1)


def test_an_answer_of_another_study_is_refused():
    with pytest.raises(ValueError, match="item-0 has the criterion 'beauty'; those of the study are realism"):
        analyse(study(), [answer("a>b>c", criterion="beauty")])
    with pytest.raises(ValueError, match="it should rank at least two of a, b, c, each once"):
        analyse(study(), [answer("a>b>z")])


def test_worths_lose_their_intervals_where_replicates_have_none():
    answers = [answer("a>b>c", caption=number, annotator=number % 3) for number in range(30)]
    answers.append(answer("c>b>a", caption=30, annotator=0))  # alone: a third of replicates lack it
    (one,) = analyse(study(), answers, replicates=200).criteria
    assert one.systems[0].worth.value > 0.5
    assert one.systems[0].worth.low is None
    assert "bootstrap replicates the win graph is not strongly connected" in one.worths_refused
    assert one.systems[0].best.low is not None


def test_a_system_that_is_never_best_gets_an_interval_above_zero():
    answers = [answer("a>b>c" if number % 3 else "b>a>c", caption=number // 4, annotator=number % 4)
               for number in range(80)]  # fmt: skip
    (one,) = analyse(study(), answers, replicates=200).criteria
    last = one.systems[2]
    assert (last.best.value, last.best.low) == (0, 0)
    assert 0.1 < last.best.high < 0.25  # 20 captions
    assert one.pairs[1].wins.value == 1
    assert one.pairs[1].p < 0.001


def test_pairs_mode_has_shares_and_win_rates_but_no_ranks():
    random = np.random.default_rng(0)
    answers = []
    for caption in range(40):
        for pair in (("a", "b"), ("b", "c"), ("a", "c")):
            for annotator in range(3):
                first, second = pair if random.random() < 0.7 else pair[::-1]
                answers.append(
                    answer(f"{first}>{second}", caption=caption, annotator=annotator, item_id=f"{caption}-{pair}")
                )
    (one,) = analyse(study(mode="pairs", annotators_per_item=3), answers, replicates=200).criteria
    assert (one.items, one.complete, one.captions) == (120, 120, 40)
    assert [system.mean_rank for system in one.systems] == [None] * 3
    assert [system.answers for system in one.systems] == [240] * 3
    a, b, c = (system.best.value for system in one.systems)
    assert a > b > c
    assert a + b + c == pytest.approx(1.5)
    assert one.pairs[0].answers == 120
    assert one.pairs[0].wins.low < 0.7 < one.pairs[0].wins.high
    assert one.agreement.kendall_w.value is None
