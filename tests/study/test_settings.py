"""Settings of a study out of range are refused by name."""

import pytest

from xmcgan.study.records import ExclusionRules
from xmcgan.study.settings import Settings, question


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 15}, "size is 15; it should be 16 to 2048"),
        ({"practice": 21}, "practice is 21; it should be 0 to 20"),
        ({"attention_every": -1}, "attention_every is -1; it should be 0 to 10000"),
        ({"min_attention_checks": 0}, "min_attention_checks is 0; it should be 1 to 100"),
        ({"repeat_every": 10_001}, "repeat_every is 10001; it should be 0 to 10000"),
        ({"reservation_minutes": 0}, "reservation_minutes is 0; it should be 0.001 to 100000"),
        ({"reservation_minutes": float("nan")}, "reservation_minutes is nan; it should be 0.001 to 100000"),
        ({"most_per_annotator": 0}, "most_per_annotator is 0; it should be at least 1"),
    ],
)
def test_a_setting_out_of_range_is_refused(wrong, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Settings(**wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"min_attention_correct": 75}, "min_attention_correct is 75; it should be 0 to 1"),
        ({"min_self_agreement": -0.1}, "min_self_agreement is -0.1; it should be 0 to 1"),
        ({"min_seconds_median": -1}, "min_seconds_median is -1; it should be 0 or more seconds"),
        ({"min_seconds_median": float("nan")}, "min_seconds_median is nan; it should be 0 or more seconds"),
    ],
)
def test_a_rule_of_exclusion_out_of_range_is_refused(wrong, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        ExclusionRules(**wrong)


def test_a_criterion_without_a_question_is_refused():
    assert question("realism", "pairs-ties") == "Which picture looks more real?"
    with pytest.raises(ValueError, match="criteria has 'beauty'; it can have realism, alignment"):
        question("beauty", "rank")
