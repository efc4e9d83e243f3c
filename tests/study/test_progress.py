"""What the administrator reads of annotators."""

import re

import pytest
from fastapi.testclient import TestClient

from studies import answer, make_study, new_tokens, step, undo_last, work
from xmcgan.study.progress import by_annotator
from xmcgan.study.server.app import create_app, open_site
from xmcgan.study.storage import open_database, read_study, reading


@pytest.fixture
def database(database_url):
    opened = open_database(database_url)
    yield opened
    opened.engine.dispose()


def finished(database) -> list[bool]:
    """Whether each annotator is, by number."""
    with reading(database) as connection:
        return [each.finished for each in by_annotator(connection, *read_study(connection))]


def test_an_annotator_who_has_answered_everything_is_finished(tmp_path, database_url, database):
    make_study(tmp_path, database_url, captions=3, annotators=2, links=0, attention_every=20, repeat_every=20)
    first, second, third = new_tokens(database, 3)
    for _ in range(2 * (3 + 4 + 1)):  # main items, checks and a repeat, in two blocks
        assert finished(database) == [False] * 3
        answer(database, first, step(database, first).task.key)
    assert step(database, first).name == "finished"
    assert finished(database) == [True, False, False]
    assert undo_last(database, first)
    assert finished(database) == [False] * 3
    work(database, first)
    work(database, second)
    assert step(database, third).name == "finished"  # nothing is left for them
    assert finished(database) == [True, True, False]  # but they have answered nothing


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_who_may_still_get_an_item_is_not_finished(tmp_path, database_url, database):
    make_study(tmp_path, database_url, captions=2, annotators=1, criteria=("realism",), links=0, reservation_minutes=10)
    first, second = new_tokens(database, 2)
    held = step(database, first, clock=1000).task.key
    answer(database, second, step(database, second, clock=1000).task.key, clock=1001)
    assert step(database, second, clock=1002).name == "wait"
    assert finished(database) == [False, False]
    taken = step(database, second, clock=9000).task.key  # the first one's item, after its time
    assert finished(database) == [False, False]
    answer(database, second, taken, clock=9001)
    assert held != taken
    assert step(database, first, clock=9002).name == step(database, second, clock=9002).name == "finished"
    assert finished(database) == [False, True]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_most_of_an_annotator_is_everything(tmp_path, database_url, database):
    study = make_study(tmp_path, database_url, captions=5, annotators=1, criteria=("realism",), links=0,
                       most_per_annotator=2)  # fmt: skip
    first, second, _ = new_tokens(database, 3)
    assert work(database, first) == 2
    answer(database, second, step(database, second).task.key)
    assert finished(database) == [True, False, False]
    site = open_site(study, database_url=database_url)
    headers = {"authorization": f"Bearer {(study / 'admin-token').read_text().strip()}"}
    with TestClient(create_app(site)) as client:
        page = client.get("/admin", headers=headers).text
    site.database.engine.dispose()
    states = re.findall(r"<th scope=\"row\">\d+</th>\s*<td>([^<]*)</td>", page)
    assert states == ["finished", "active", "agreed"]
