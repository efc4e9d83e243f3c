"""Semantic object accuracy by hand and by the plain definition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmcgan.metrics.soa import semantic_object_accuracy


def test_by_hand():
    wanted = [18, 18, 18, 18, 1, 1, 44]
    detected = [{18}, {1, 18}, {1}, set(), {1, 2, 3}, {1}, {18, 1}]
    found = semantic_object_accuracy(detected, wanted)
    assert found.per_class == {1: 1, 18: 0.5, 44: 0}
    assert found.counts == {1: 2, 18: 4, 44: 1}
    assert found.c == pytest.approx(0.5)
    assert found.i == pytest.approx(4 / 7)
    assert found.c_rare == 0  # 44, with one image
    assert found.c_frequent == 0.75  # 1 and 18


def test_eighty_labels_fall_into_forty_and_forty():
    # Label n has n images; the detector sees labels above 60 always, others never.
    wanted = [label for label in range(1, 81) for _ in range(label)]
    found = semantic_object_accuracy([{label} if label > 60 else set() for label in wanted], wanted)
    assert (found.c_frequent, found.c_rare) == (0.5, 0)
    assert found.c == 0.25
    assert found.i == pytest.approx(sum(range(61, 81)) / len(wanted))


def test_of_labels_with_as_many_images_the_smaller_is_the_rarer():
    found = semantic_object_accuracy([{3}, set(), set(), set()], [3, 9, 5, 7])
    assert (found.c_rare, found.c_frequent) == (0.5, 0)


def test_one_label_has_no_rare_half():
    found = semantic_object_accuracy([[7, 8]], [7])
    assert (found.c, found.i, found.c_frequent, found.c_rare) == (1, 1, 1, None)


@given(st.lists(st.tuples(st.sets(st.integers(1, 6)), st.integers(1, 6)), min_size=1))
def test_soa_i_is_soa_c_weighted_by_images(images):
    detected, wanted = zip(*images, strict=True)
    found = semantic_object_accuracy(detected, wanted)
    recall = {}
    for label in set(wanted):
        seen = [label in ids for ids, asked in images if asked == label]
        recall[label] = sum(seen) / len(seen)
    assert found.per_class == recall
    assert found.c == pytest.approx(sum(recall.values()) / len(recall))
    assert found.i == pytest.approx(sum(recall[label] for label in wanted) / len(wanted))
    assert sum(found.counts.values()) == len(images)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="2 images but 1 labels"):
        semantic_object_accuracy([{1}, {2}], [1])
    with pytest.raises(ValueError, match="there are no images"):
        semantic_object_accuracy([], [])
