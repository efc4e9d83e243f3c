"""Orders and places are functions of the seed."""

from collections import Counter
from dataclasses import replace

import pytest

from xmcgan.study.records import CRITERIA, ExclusionRules, Study
from xmcgan.study.schedule import block_order, places, shown_order

STUDY = Study("id", "name", 3, CRITERIA, "rank", 5, ("a", "b", "c", "d"), ExclusionRules(), "2026-01-01")


def test_blocks_alternate():
    assert [block_order(STUDY, number)[0] for number in (1, 2, 3)] == ["realism", "alignment", "realism"]
    assert set(block_order(STUDY, 8)) == set(CRITERIA)


def test_orders_depend_on_item_annotator_showing_and_seed():
    one = shown_order(STUDY, 5, 2, "main", STUDY.systems)
    assert shown_order(STUDY, 5, 2, "main", STUDY.systems) == one
    others = [
        [shown_order(STUDY, item, 2, "main", STUDY.systems) for item in range(20)],
        [shown_order(STUDY, 5, number, "main", STUDY.systems) for number in range(20)],
        [shown_order(replace(STUDY, seed=seed), 5, 2, "main", STUDY.systems) for seed in range(20)],
    ]
    for orders in others:
        assert len({tuple(order) for order in orders}) > 5
    assert shown_order(STUDY, 5, 2, "repeat", STUDY.systems) != shown_order(STUDY, 5, 2, "main", STUDY.systems)


def test_each_system_is_in_each_place_equally_often():
    counts = Counter(
        (place, system)
        for item in range(4000)
        for place, system in enumerate(shown_order(STUDY, item, 1, "main", "abcd"))
    )
    # 16 cells of 1000 expected; chi-square with 9 degrees of freedom is above 27.9 with probability 0.001.
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 27.9
    assert len(counts) == 16


@pytest.mark.parametrize(
    ("every", "main", "count"), [(0, 30, 0), (10, 0, 0), (10, 30, 3), (10, 3, 1), (1, 4, 4), (20, 1000, 50)]
)
def test_a_place_in_each_stretch(every, main, count):
    found = places(STUDY, 1, "realism", "attention", every, main)
    assert len(found) == count
    assert found == sorted(found)
    assert all(0 < place <= main for place in found)
    if main >= every > 0:
        assert [(place - 1) // every for place in found] == list(range(count))


@pytest.mark.parametrize(("main", "count"), [(1, 4), (3, 4), (4, 4), (30, 4), (79, 4), (80, 4), (1000, 50)])
def test_a_block_too_short_for_the_least_has_them_more_often(main, count):
    found = places(STUDY, 1, "realism", "attention", 20, main, least=4)
    assert len(found) == count
    assert found == sorted(found)
    assert all(0 <= place <= main for place in found)
    if 4 <= main < 80:  # one in each quarter
        assert all(main * part // 4 < place <= main * (part + 1) // 4 for part, place in enumerate(found))
