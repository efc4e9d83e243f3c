"""GenEval's prompts, made by rule."""

from collections import Counter

import pytest

from xmcgan.evaluation.asking import geneval_asking, geneval_prompts, geneval_requests
from xmcgan.evaluation.image_set import Request
from xmcgan.evaluation.soa_rules import COCO_NAMES
from xmcgan.metrics.exact_questions import TASKS, Question, Rules, Wanted, check_question


def test_every_class_and_about_a_hundred_of_each_other_task():
    prompts = geneval_prompts()
    tasks = Counter(prompt.question.task for prompt in prompts)
    assert set(tasks) == set(TASKS)
    assert tasks["single-object"] == 80
    assert all(75 <= tasks[task] <= 100 for task in TASKS[1:])
    assert len({prompt.caption for prompt in prompts}) == len(prompts)
    for prompt in prompts:
        check_question(prompt.question)


def test_prompts_say_what_their_questions_ask():
    by_task = {}
    for prompt in geneval_prompts():
        by_task.setdefault(prompt.question.task, prompt)
    second, first = by_task["position"].question.include
    relation = first.relation
    name = COCO_NAMES[first.category]
    assert f"{name} {relation} a" in by_task["position"].caption
    assert by_task["position"].caption.endswith(COCO_NAMES[second.category])
    colour = by_task["colour"].question.include[0]
    assert by_task["colour"].caption.endswith(f"{colour.colour} {COCO_NAMES[colour.category]}")
    count = by_task["counting"].question
    assert count.include == count.at_most
    assert ("two", "three", "four")[count.include[0].count - 2] in by_task["counting"].caption


def test_persons_have_no_colour():
    assert not any(
        wanted.colour and COCO_NAMES[wanted.category] == "person"
        for prompt in geneval_prompts(count=300)
        for wanted in prompt.question.include
    )


def test_the_same_seed_makes_the_same_prompts():
    assert geneval_prompts(count=5, seed=1) == geneval_prompts(count=5, seed=1)
    assert geneval_prompts(count=5, seed=1) != geneval_prompts(count=5, seed=2)
    with pytest.raises(ValueError, match="count is 0"):
        geneval_prompts(count=0)


def test_questions_are_found_by_prompt_and_rules_are_genevals():
    prompts = geneval_prompts(count=1)
    asking = geneval_asking(prompts)
    requests = geneval_requests(prompts, images=2, seed=10)
    assert asking.questions_of(requests[2]) == [prompts[1].question]
    assert asking.questions_of(Request("1", "1", "a dog", 0)) == []
    assert prompts[0].question == Question("single-object", (Wanted(1),))
    assert (asking.rules.confidence, asking.rules.counting_confidence, asking.rules.margin) == (0.3, 0.9, 0.1)
    assert asking.rules == Rules()
    assert [request.seed for request in requests[:4]] == [10, 11, 12, 13]
    assert len({request.id for request in requests}) == len(requests)
