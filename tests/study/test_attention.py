"""What is said about attention checks before a study is made."""

import pytest

from xmcgan.evaluation.image_set import Request
from xmcgan.study.attention import remarks
from xmcgan.study.captions import Chosen
from xmcgan.study.records import ExclusionRules
from xmcgan.study.settings import Settings


@pytest.mark.parametrize(
    ("checks", "rule", "miss"), [(4, 0.75, False), (3, 0.75, True), (4, 0.8, True), (5, 0.8, False), (1, 1.0, False)]
)
def test_a_rule_that_one_miss_breaks_is_remarked(tmp_path, checks, rule, miss):
    """As the rule is applied: three of four right is enough for 75 %."""
    chosen = Chosen([], [], [Request(str(number), "", "", 0) for number in range(9)])
    settings, rules = Settings(min_attention_checks=checks), ExclusionRules(min_attention_correct=rule)
    assert any("a single miss" in each for each in remarks(chosen, settings, rules, photographs=True)) == miss
