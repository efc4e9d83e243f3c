"""Each item gets its number of distinct annotators, whoever comes, at once, late or not at all."""

import random
import threading
import time
from collections import Counter

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from studies import answer, check_invariants, make_study, new_tokens, step, work
from xmcgan.study.annotators import find_annotator
from xmcgan.study.answering import NotTheirs, Refused
from xmcgan.study.assignment import next_step
from xmcgan.study.storage import open_database, read_answers, read_study, reading, writing
from xmcgan.study.tables import ASSIGNMENT

# Where only the order of things is tested, one database says as much as two, in half the time.
SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def database(database_url):
    opened = open_database(database_url)
    yield opened
    opened.engine.dispose()


def test_each_item_gets_exactly_its_annotators(tmp_path, database_url, database):
    make_study(tmp_path, database_url, captions=4, annotators=2)
    tokens = new_tokens(database, 3)
    assert [work(database, token) for token in tokens] == [8, 8, 0]  # 4 captions, 2 criteria; the third comes too late
    study, answers = read_answers(database_url)
    counts = Counter((each.criterion, each.caption_id) for each in answers)
    assert len(counts) == 8
    assert set(counts.values()) == {2}
    assert {each.annotator for each in answers} == {3, 4}  # 1 and 2 have the links of the study's creation
    assert all(sorted(each.shown_order) == sorted(study.systems) for each in answers)
    check_invariants(database)


@SQLITE
def test_criteria_are_blocks_and_annotators_alternate_in_their_order(tmp_path, database_url, database):
    make_study(tmp_path, database_url, captions=3, annotators=4, links=0)
    for token in new_tokens(database, 2):
        work(database, token)
    _, answers = read_answers(database_url)
    for annotator, expected in ((1, ["realism"] * 3 + ["alignment"] * 3), (2, ["alignment"] * 3 + ["realism"] * 3)):
        assert [each.criterion for each in answers if each.annotator == annotator] == expected


def test_many_at_once(tmp_path, database_url, database):
    """12 threads on 8 items of 3 annotators: none gets more, all are filled, nobody is served twice."""
    make_study(tmp_path, database_url, captions=8, annotators=3, criteria=("realism",))
    tokens = new_tokens(database, 12)
    start, failures = threading.Barrier(12), []

    def annotate(token: str) -> None:
        try:
            start.wait()
            until = time.monotonic() + 20
            while time.monotonic() < until:
                found = step(database, token)
                if found.name == "finished":
                    return
                if found.task is None:  # others hold the last items
                    time.sleep(0.01)
                else:
                    answer(database, token, found.task.key)
            failures.append("not finished in time")
        except Exception as error:
            failures.append(repr(error))

    threads = [threading.Thread(target=annotate, args=(token,)) for token in tokens]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    check_invariants(database)
    counts = Counter(each.caption_id for each in read_answers(database_url)[1])
    assert len(counts) == 8
    assert set(counts.values()) == {3}


def test_two_windows_of_one_annotator_show_one_item(tmp_path, database_url, database):
    make_study(tmp_path, database_url, captions=6, annotators=3)
    (token,) = new_tokens(database, 1)
    keys: list[str] = []
    threads = [threading.Thread(target=lambda: keys.append(step(database, token).task.key)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 6
    assert len(set(keys)) == 1


def test_an_abandoned_item_goes_to_another(tmp_path, database_url, database):
    make_study(tmp_path, database_url, captions=1, annotators=1, links=1, criteria=("realism",),
               reservation_minutes=10)  # fmt: skip
    first, second = new_tokens(database, 2)
    held = step(database, first, clock=1000).task
    assert step(database, second, clock=1000 + 599).name == "wait"
    passed_on = step(database, second, clock=1000 + 601).task
    assert passed_on.key != held.key
    assert sorted(passed_on.pictures) == sorted(held.pictures)
    with pytest.raises(Refused, match="went to someone else"):
        answer(database, first, held.key, clock=1700)
    assert step(database, first, clock=1700).name == "finished"
    answer(database, second, passed_on.key, clock=1700)
    check_invariants(database)
    assert [each.annotator for each in read_answers(database_url)[1]] == [3]


def test_who_comes_back_late_keeps_an_item_that_nobody_took(tmp_path, database_url, database):
    make_study(tmp_path, database_url, captions=1, annotators=2, criteria=("realism",), reservation_minutes=10)
    first, second = new_tokens(database, 2)
    held = step(database, first, clock=1000).task
    work_key = step(database, second, clock=9000).task.key  # takes the expired reservation back, and the other slot
    answer(database, second, work_key, clock=9001)
    answer(database, first, held.key, clock=9002)  # the first one's slot is free still
    assert step(database, first, clock=9003).name == "finished"
    assert len(read_answers(database_url)[1]) == 2
    check_invariants(database)


@SQLITE
def test_coming_back_shows_the_same_item_in_the_same_order(tmp_path, database_url, database):
    make_study(tmp_path, database_url, captions=5)
    (token,) = new_tokens(database, 1)
    assert step(database, token, clock=0).task == step(database, token, clock=10**6).task


def test_pairs_show_a_caption_once_to_an_annotator(tmp_path, database_url, database):
    make_study(tmp_path, database_url, captions=2, annotators=1, criteria=("realism",), mode="pairs")
    tokens = new_tokens(database, 6)  # 4 systems make 6 pairs
    assert [work(database, token) for token in tokens] == [2] * 6
    _, answers = read_answers(database_url)
    pairs = Counter((each.caption_id, frozenset(each.shown_order)) for each in answers)
    assert len(pairs) == 12
    assert set(pairs.values()) == {1}
    check_invariants(database)


def test_the_database_itself_refuses_one_annotator_too_many(tmp_path, database_url, database):
    make_study(tmp_path, database_url, captions=1, annotators=1, criteria=("realism",))
    step(database, new_tokens(database, 2)[0])
    with reading(database) as connection:
        row = connection.execute(select(ASSIGNMENT)).one()._asdict()
        other = connection.exec_driver_sql("SELECT max(id) FROM annotator").scalar()
    row |= {"id": None, "key": "x", "annotator": other}
    del row["id"]
    with pytest.raises(IntegrityError), writing(database) as connection:
        connection.execute(ASSIGNMENT.insert().values(row))


@SQLITE
def test_the_most_of_an_annotator(tmp_path, database_url, database):
    make_study(tmp_path, database_url, captions=6, annotators=1, most_per_annotator=2)
    tokens = new_tokens(database, 4)
    assert [work(database, token) for token in tokens] == [4, 4, 4, 0]  # two of each criterion


@SQLITE
def test_checks_and_repeats(tmp_path, database_url, database):
    make_study(tmp_path, database_url, captions=12, annotators=2, practice=2, attention_every=20, repeat_every=6)
    (token,) = new_tokens(database, 1)
    work(database, token)
    _, answers = read_answers(database_url)
    for criterion in ("realism", "alignment"):
        mine = [each for each in answers if each.criterion == criterion]
        assert [each.kind for each in mine[:2]] == ["practice"] * 2
        assert Counter(each.kind for each in mine) == {"practice": 2, "main": 12, "attention": 4, "repeat": 2}
        captions = [each.caption_id for each in mine if each.kind != "repeat"]
        assert len(captions) == len(set(captions))
        for number, each in enumerate(mine):
            if each.kind == "attention":
                assert sorted(each.shown_order) == ["noise-1", "noise-2", "noise-3", "reference"]
            if each.kind == "repeat":
                before = [n for n, other in enumerate(mine) if other.kind == "main" and other.item_id == each.item_id]
                assert len(before) == 1
                assert number - before[0] > 1
    check_invariants(database)


@SQLITE
def test_a_short_block_has_four_checks_and_a_repeat_at_least(tmp_path, database_url, database):
    make_study(tmp_path, database_url, captions=3, attention_every=20, repeat_every=20, criteria=("alignment",))
    (token,) = new_tokens(database, 1)
    work(database, token)
    assert Counter(each.kind for each in read_answers(database_url)[1]) == {"main": 3, "attention": 4, "repeat": 1}


@SQLITE
def test_progress_counts_to_its_end(tmp_path, database_url, database):
    make_study(tmp_path, database_url, captions=7, practice=1, attention_every=3, repeat_every=3)
    (token,) = new_tokens(database, 1)
    seen = []
    while (found := step(database, token)).task:
        seen.append((found.task.progress, found.task.practice))
        answer(database, token, found.task.key)
    for block in (1, 2):
        mine = [progress for progress, practice in seen if progress.block == block and not practice]
        assert [progress.done for progress in mine] == list(range(len(mine)))
        assert {progress.total for progress in mine} == {len(mine)}


@SQLITE
def test_order_is_the_seeds_and_balanced(tmp_path, database_url, database):
    make_study(tmp_path, database_url, captions=15, annotators=4, criteria=("realism",))
    for token in new_tokens(database, 4):
        work(database, token)
    _, answers = read_answers(database_url)
    first = Counter(each.shown_order[0] for each in answers)
    assert set(first) == {"xmc-gan", "op-gan", "sd-gan", "cp-gan"}
    assert max(first.values()) < 30  # 60 showings; 15 expected, standard deviation 3.4
    assert len({each.shown_order for each in answers if each.caption_id == answers[0].caption_id}) > 1


@SQLITE
def test_instructions_come_before_a_block(tmp_path, database_url, database):
    from xmcgan.study.annotators import consent, find_annotator, introduce

    make_study(tmp_path, database_url, captions=2, criteria=("realism",))
    (token,) = new_tokens(database, 1, introduced=False)
    assert step(database, token).name == "welcome"
    with writing(database) as connection:
        consent(connection, find_annotator(connection, token))
    assert (step(database, token).name, step(database, token).criterion) == ("instructions", "realism")
    with writing(database) as connection:
        introduce(connection, find_annotator(connection, token), "realism")
    assert step(database, token).name == "task"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_who_finds_every_item_held_at_this_moment_waits(tmp_path, database_url, database):
    """SQLite has one writer, so there nobody holds an item while another chooses."""
    make_study(tmp_path, database_url, captions=1, annotators=2, criteria=("realism",), links=0)
    first, second = new_tokens(database, 2)
    with writing(database) as connection:
        study, settings = read_study(connection)
        annotator = find_annotator(connection, first, lock=True)
        assert next_step(connection, study, settings, annotator, time.time()).name == "task"
        assert step(database, second).name == "wait"
    assert step(database, second).name == "task"


def test_nobody_answers_for_another(tmp_path, database_url, database):
    make_study(tmp_path, database_url, captions=2)
    first, second = new_tokens(database, 2)
    key = step(database, first).task.key
    with pytest.raises(NotTheirs):
        answer(database, second, key)
    assert read_answers(database_url)[1] == []


def test_any_order_of_events_keeps_the_rules(tmp_path, database_url, database):
    """Random annotators act, stop and return on a clock of their own, for 150 events."""
    from studies import undo_last

    make_study(tmp_path, database_url, captions=4, annotators=2, attention_every=3, repeat_every=3,
               reservation_minutes=1)  # fmt: skip
    draw, clock = random.Random(1), 0.0
    tokens = new_tokens(database, 5)
    held: dict[str, str] = {}
    for _ in range(150):
        clock += draw.choice([1, 1, 5, 45, 90])
        token = draw.choice(tokens)
        match draw.choice(["next", "answer", "answer", "undo"]):
            case "next":
                found = step(database, token, clock)
                if found.task:
                    held[token] = found.task.key
            case "answer" if token in held:
                try:
                    answer(database, token, held.pop(token), clock=clock)
                except Refused:
                    continue
            case "undo":
                undo_last(database, token, clock)
    check_invariants(database)
    answers = read_answers(database_url)[1]
    assert len(answers) > 10
