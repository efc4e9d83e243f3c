"""An answer or a report counts once, for its own item."""

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from studies import answer, make_study, new_tokens, step
from xmcgan.study.annotators import create_annotators, find_annotator
from xmcgan.study.answering import Refused, check_ranking, report
from xmcgan.study.server.app import create_app, open_site
from xmcgan.study.storage import open_database, read_answers, reading, sqlite_url, writing
from xmcgan.study.tables import ANNOTATOR, REPORT


@pytest.fixture
def database(tmp_path):
    opened = open_database(sqlite_url(make_study(tmp_path, captions=3, criteria=("realism",), links=0)))
    yield opened
    opened.engine.dispose()


def reported(database, token, key, position=0) -> None:
    with writing(database) as connection:
        report(connection, find_annotator(connection, token, lock=True), key=key, position=position)


def test_an_answer_counts_for_its_item_once(tmp_path, database):
    (token,) = new_tokens(database, 1)
    first = step(database, token).task.key
    sent = "k" * 32
    assert answer(database, token, first, client_key=sent) == "saved"
    assert answer(database, token, first, client_key=sent) == "again"
    with pytest.raises(Refused, match=r"This item has been answered already\."):
        answer(database, token, first)
    second = step(database, token).task.key
    with pytest.raises(Refused, match=r"This answer belongs to another item\."):
        answer(database, token, second, client_key=sent)
    assert len(read_answers(sqlite_url(tmp_path / "study"))[1]) == 1
    assert step(database, token).task.key == second


def test_a_picture_is_reported_once_and_only_while_its_item_is_open(database):
    (token,) = new_tokens(database, 1)
    broken = step(database, token).task.key
    reported(database, token, broken)
    reported(database, token, broken, position=1)  # the page tried again
    with reading(database) as connection:
        assert connection.execute(select(func.count()).select_from(REPORT)).scalar_one() == 1
    answered = step(database, token).task.key
    answer(database, token, answered)
    with pytest.raises(Refused, match=r"This item has been answered already\."):
        reported(database, token, answered)


@pytest.mark.parametrize(
    ("ranking", "mode", "message"),
    [
        ([[1], [0], []], "rank", "ranking should have no empty group"),
        ([[1], [2]], "rank", "ranking should have each of the positions 0 to 1 once"),
        ([[0, 1]], "pairs", "ranking should have no ties in this study"),
    ],
)
def test_a_ranking_that_does_not_fit_its_item_is_refused(ranking, mode, message):
    with pytest.raises(ValueError, match=message):
        check_ranking(ranking, 2, mode)
    assert check_ranking([[1, 0]], 2, "pairs-ties") == [[0, 1]]


@pytest.mark.parametrize("count", [-1, 1001])
def test_as_many_links_are_made_at_a_time_as_can_be_shown(database, count):
    with writing(database) as connection:
        with pytest.raises(ValueError, match=f"links is {count}; it should be 0 to 1000 at a time"):
            create_annotators(connection, count)
        assert create_annotators(connection, 0) == []
        assert connection.execute(select(func.count()).select_from(ANNOTATOR)).scalar_one() == 0


@pytest.mark.parametrize("token", ["", "short", "\ud800" * 32, "\0" * 32])
def test_what_is_no_token_is_nobodys(database, token):
    with reading(database) as connection:
        assert find_annotator(connection, token) is None


def test_instructions_of_a_block_that_the_study_has_not_are_refused(tmp_path):
    site = open_site(make_study(tmp_path, captions=2, criteria=("realism",), links=1))
    (link,) = (tmp_path / "study" / "links.txt").read_text().split()
    path = f"/api/a/{link.rsplit('/', 1)[1]}"
    with TestClient(create_app(site)) as client:
        client.post(f"{path}/consent")
        refused = client.post(f"{path}/introduced", json={"criterion": "alignment"})
        assert refused.status_code == 422
        assert "the study has no block of alignment" in refused.text
        assert client.post(f"{path}/introduced", json={"criterion": "realism"}).json()["task"]
    site.database.engine.dispose()
