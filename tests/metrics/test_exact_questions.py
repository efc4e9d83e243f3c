"""The rules of the exact questions, on boxes placed by hand."""

import pytest
from scipy.stats import binomtest

from xmcgan.metrics.exact_questions import Found, Question, Rules, Wanted, answer, proportion, relations, summarize

CAR, DOG = 3, 18
RULES = Rules()


def found(category, x, y, score=0.95, colour=None, size=10):
    """An object of a size around a centre."""
    return Found(category, (x - size / 2, y - size / 2, x + size / 2, y + size / 2), score, colour)


def test_an_object_counts_above_the_threshold_only():
    question = Question("single-object", (Wanted(CAR),))
    assert answer(question, [found(CAR, 5, 5, 0.31)], RULES)
    assert not answer(question, [found(CAR, 5, 5, 0.3)], RULES)
    assert not answer(question, [found(DOG, 5, 5)], RULES)


def test_two_objects_must_both_be_there():
    question = Question("two-objects", (Wanted(CAR), Wanted(DOG)))
    assert answer(question, [found(DOG, 5, 5), found(CAR, 50, 5)], RULES)
    assert not answer(question, [found(CAR, 5, 5), found(CAR, 50, 5)], RULES)


def test_counting_is_exact_and_asks_for_more_confidence():
    question = Question("counting", (Wanted(CAR, 2),), (Wanted(CAR, 2),))
    two = [found(CAR, 5, 5, 0.95), found(CAR, 30, 5, 0.91)]
    assert answer(question, two, RULES)
    assert not answer(question, [*two, found(CAR, 60, 5, 0.92)], RULES)
    assert answer(question, [*two, found(CAR, 60, 5, 0.9)], RULES)  # not above 0.9
    assert not answer(question, two[:1], RULES)


def test_colour_is_asked_of_the_most_confident_object():
    question = Question("colour", (Wanted(CAR, 1, "red"),))
    cars = [found(CAR, 5, 5, 0.9, "blue"), found(CAR, 30, 5, 0.8, "red")]
    assert not answer(question, cars, RULES)
    assert answer(question, cars, Rules(any_objects=True))
    assert answer(question, cars[1:], RULES)


def test_colours_must_be_on_the_right_objects():
    question = Question("colour-attribution", (Wanted(CAR, 1, "red"), Wanted(DOG, 1, "blue")))
    assert answer(question, [found(CAR, 5, 5, colour="red"), found(DOG, 30, 5, colour="blue")], RULES)
    assert not answer(question, [found(CAR, 5, 5, colour="blue"), found(DOG, 30, 5, colour="red")], RULES)


def test_positions_by_centres():
    def question(relation):
        return Question("position", (Wanted(DOG), Wanted(CAR, relation=relation, target=0)))

    objects = [found(DOG, 50, 50), found(CAR, 20, 50)]
    assert [relation for relation in ("left of", "right of", "above", "below")
            if answer(question(relation), objects, RULES)] == ["left of"]  # fmt: skip
    assert answer(question("above"), [found(DOG, 50, 50), found(CAR, 50, 20)], RULES)
    assert not answer(question("above"), objects[:1], RULES)


@pytest.mark.parametrize(
    ("dx", "dy", "expected"),
    [
        (2.0, 0, set()),  # the margin is 0.1 * (10 + 10) = 2
        (2.5, 0, set()),  # (2.5 - 2) / 2.5 = 0.2, not above 0.5
        (5, 0, {"right of"}),  # (5 - 2) / 5 = 0.6
        (-5, 0, {"left of"}),
        (20, 20, {"right of", "below"}),  # 18 / 28.3 = 0.64 in both
        (20, 50, {"below"}),  # 18 / 53.9 = 0.33
    ],
)
def test_relations_of_boxes_of_ten_by_ten(dx, dy, expected):
    a, b = found(CAR, 50 + dx, 50 + dy).box, found(CAR, 50, 50).box
    assert relations(a, b, RULES) == expected


def test_without_direction_left_does_not_care_about_height():
    a, b = found(CAR, 70, 100).box, found(CAR, 50, 50).box
    assert relations(a, b, Rules(direction=False)) == {"right of", "below"}


def test_overlapping_objects_of_a_category_count_once_if_asked():
    question = Question("counting", (Wanted(CAR, 1),), (Wanted(CAR, 1),))
    twice = [found(CAR, 50, 50, 0.99), found(CAR, 51, 50, 0.98)]
    assert not answer(question, twice, RULES)
    assert answer(question, twice, Rules(overlap=0.5))


def test_only_so_many_objects_count():
    question = Question("counting", (Wanted(CAR, 2),), (Wanted(CAR, 2),))
    three = [found(CAR, x, 5) for x in (5, 30, 60)]
    assert answer(question, three, Rules(most_objects=2))


def test_impossible_questions_are_refused():
    with pytest.raises(ValueError, match="task is 'sizes'"):
        answer(Question("sizes", ()), [], RULES)
    with pytest.raises(ValueError, match="target is 1"):
        answer(Question("position", (Wanted(CAR), Wanted(DOG, relation="above", target=1))), [], RULES)
    with pytest.raises(ValueError, match="relation is 'near'"):
        answer(Question("position", (Wanted(CAR), Wanted(DOG, relation="near"))), [], RULES)


@pytest.mark.parametrize(("yes", "asked"), [(0, 7), (3, 10), (199, 200), (5, 5)])
def test_the_interval_is_wilsons(yes, asked):
    expected = binomtest(yes, asked).proportion_ci(method="wilson")
    share = proportion(yes, asked)
    assert (share.low, share.high) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_the_mean_weighs_tasks_not_questions():
    summary = summarize(["colour"] * 3 + ["counting"], [True, True, True, False])
    assert summary.mean == 0.5
    assert {task: (share.value, share.asked) for task, share in summary.tasks.items()} == {
        "counting": (0.0, 1),
        "colour": (1.0, 3),
    }
    assert list(summary.tasks) == ["counting", "colour"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"confidence": 1.1}, "^confidence is 1.1; it should be 0 to 1"),
        ({"counting_confidence": -0.1}, "^counting_confidence is -0.1; it should be 0 to 1"),
        ({"overlap": float("nan")}, "^overlap is nan; it should be 0 to 1"),
        ({"most_objects": 0}, "^most_objects is 0; it should be at least 1"),
        ({"margin": -0.1}, "^margin is -0.1; it should be at least 0"),
        ({"margin": float("nan")}, "^margin is nan; it should be at least 0"),
    ],
)
def test_rules_out_of_range_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Rules(**wrong)


def test_a_side_that_pictures_do_not_have_is_refused():
    with pytest.raises(ValueError, match="side is 'top'; it should be one of left, middle, right"):
        answer(Question("position", (Wanted(CAR, side="top"),)), [found(CAR, 0.2, 0.2, size=0.1)], RULES)


@pytest.mark.parametrize(("yes", "asked"), [(-1, 3), (4, 3), (0, 0)])
def test_a_proportion_needs_as_many_questions_as_answers(yes, asked):
    with pytest.raises(ValueError, match=f"yes is {yes} of {asked}; it should be 0 to the number asked, at least 1"):
        proportion(yes, asked)


@pytest.mark.parametrize(("tasks", "answers"), [([], []), (["colour"], []), (["colour"], [True, False])])
def test_each_answer_needs_its_task(tasks, answers):
    with pytest.raises(ValueError, match=f"{len(tasks)} tasks and {len(answers)} answers; give one task an answer"):
        summarize(tasks, answers)


def test_an_unknown_task_is_named():
    with pytest.raises(ValueError, match="unknown task 'size'; it can be "):
        summarize(["colour", "size"], [True, False])
