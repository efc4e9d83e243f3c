"""Exclusion by rules: what counts, what is left out, and why."""

from study_answers import answer, check, study
from xmcgan.study.analysis.exclusion import conduct, counted, ordered_alike
from xmcgan.study.records import ExclusionRules


def test_an_annotator_who_fails_the_checks_is_left_out_with_the_reason():
    answers = [answer("a>b>c", annotator=1), answer("a>b>c", annotator=2)]
    answers += [check(number > 0, annotator=1, number=number) for number in range(4)]  # 3 of 4: the limit itself
    answers += [check(number > 1, annotator=2, number=number) for number in range(4)]
    first, second = conduct(study(), answers)
    assert (first.attention, first.attention_checks, first.excluded) == (0.75, 4, False)
    assert second.reasons == ("2 of 4 attention checks right; the rule is at least 75 %",)
    assert {each.annotator for each in counted(answers, [first, second])} == {1}


def test_the_median_time_of_main_items_counts_not_that_of_checks_or_practice():
    answers = [answer("a>b>c", caption=number, seconds=seconds) for number, seconds in enumerate([0.2, 0.4, 30])]
    answers += [check(True), answer("a>b>c", caption=9, kind="practice", seconds=90)]
    (one,) = conduct(study(), answers)
    assert one.seconds == 0.4
    assert one.reasons == ("median time 0.4 s; the rule is at least 1 s",)
    assert conduct(study(exclusion=ExclusionRules(min_seconds_median=0.4)), answers)[0].reasons == ()


def test_self_agreement_compares_a_repeat_with_the_first_answer_to_the_item():
    answers = [
        answer("a>b>c", caption=0), answer("a>c>b", caption=0, kind="repeat"),  # 2 of 3 pairs alike
        answer("a>b>c", caption=1), answer("c>b>a", caption=1, kind="repeat"),  # none
        answer("a>b>c", caption=2, kind="repeat"),  # the first answer was undone
    ]  # fmt: skip
    strict = ExclusionRules(min_self_agreement=0.5)
    (one,) = conduct(study(exclusion=strict), answers)
    assert one.repeats == 2
    assert one.self_agreement == 1 / 3
    assert one.reasons == ("33 % of pairs ordered alike in repeated items; the rule is at least 50 %",)
    assert not conduct(study(), answers)[0].excluded


def test_a_tie_is_an_order_of_its_own():
    assert ordered_alike(answer("a=b>c"), answer("a=b>c")) == 1
    assert ordered_alike(answer("a=b>c"), answer("a>b>c")) == 2 / 3
    assert ordered_alike(answer("a>b"), answer("a>c")) is None


def test_exclusion_holds_in_its_criterion_only():
    both = study(criteria=("realism", "alignment"))
    answers = [answer("a>b>c", seconds=0.1), answer("a>b>c", criterion="alignment", item_id="other")]
    conducts = conduct(both, answers)
    assert [(each.criterion, each.excluded) for each in conducts] == [("realism", True), ("alignment", False)]
    assert [each.criterion for each in counted(answers, conducts)] == ["alignment"]


def test_what_was_not_measured_excludes_nobody():
    (one,) = conduct(study(exclusion=ExclusionRules(min_self_agreement=1)), [answer("a>b>c")])
    assert (one.attention, one.self_agreement, one.excluded) == (None, None, False)
    (only_checks,) = conduct(study(), [check(True)])
    assert (only_checks.answers, only_checks.seconds) == (0, None)
