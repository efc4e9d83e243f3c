"""The server against those who do not play by the rules, and what it must not tell about systems."""

import re
from uuid import uuid4

import pytest
import uvicorn
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError, OperationalError

from studies import check_invariants, make_study
from xmcgan.cli.main import main
from xmcgan.study.server.app import create_app, open_site
from xmcgan.study.server.security import MAX_BODY
from xmcgan.study.storage import reading, standing_answers
from xmcgan.study.tables import ANNOTATOR, ANSWER, ASSIGNMENT, METADATA, REPORT


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("server")
    return make_study(root, captions=4, annotators=3, links=9, practice=1, attention_every=3, repeat_every=3,
                      contact="someone@example.org")  # fmt: skip


@pytest.fixture(scope="module")
def site(folder):
    found = open_site(folder)
    yield found
    found.database.engine.dispose()


@pytest.fixture
def client(site):
    for limit in (site.requests, site.guesses, site.logins):
        limit.buckets.clear()
    with TestClient(create_app(site)) as found:
        yield found


@pytest.fixture(scope="module")
def tokens(folder):
    return iter([line.rsplit("/", 1)[1] for line in (folder / "links.txt").read_text().split()])


@pytest.fixture
def token(tokens):
    return next(tokens)


@pytest.fixture
def admin(folder):
    return {"authorization": f"Bearer {(folder / 'admin-token').read_text().strip()}"}


def state(site):
    """Everything that is stored."""
    with reading(site.database) as connection:
        return {name: connection.execute(select(table)).all() for name, table in METADATA.tables.items()}


def started(client, token):
    """The first item of an annotator."""
    client.post(f"/api/a/{token}/consent")
    criterion = client.post(f"/api/a/{token}/next").json()["criterion"]
    return client.post(f"/api/a/{token}/introduced", json={"criterion": criterion}).json()


def body(step, **changes):
    return {
        "key": step["task"]["key"],
        "client_key": uuid4().hex,
        "ranking": [[2], [0], [1], [3]],
        "seconds": 1.5,
    } | changes


def test_an_answer_sent_twice_counts_once_and_undo_takes_it_back(client, site, token):
    step = started(client, token)
    sent = body(step)
    first = client.post(f"/api/a/{token}/answer", json=sent).json()
    again = client.post(f"/api/a/{token}/answer", json=sent).json()
    assert first["task"]["key"] == again["task"]["key"] != step["task"]["key"]
    with reading(site.database) as connection:
        stored = connection.execute(select(ANSWER).where(ANSWER.c.client_key == sent["client_key"])).all()
        held = connection.execute(select(ASSIGNMENT).where(ASSIGNMENT.c.key == step["task"]["key"])).one()
    assert len(stored) == 1
    assert stored[0].ranking == [[held.shown_order[at]] for at in (2, 0, 1, 3)]
    undone = client.post(f"/api/a/{token}/undo").json()
    assert undone["task"] == step["task"]
    assert not undone["can_undo"]
    assert client.post(f"/api/a/{token}/undo").json()["task"] == step["task"]  # once
    assert client.post(f"/api/a/{token}/answer", json=body(step)).json()["task"]["key"] == first["task"]["key"]
    with reading(site.database) as connection:
        kept = connection.execute(select(ANSWER.c.withdrawn_at).where(ANSWER.c.assignment == held.id)).scalars().all()
    assert [each is None for each in kept] == [False, True]  # nothing is deleted


def test_refusals_change_nothing(client, site, token, tokens, admin):
    step, other = started(client, token), next(tokens)
    started(client, other)
    before = state(site)
    answer = f"/api/a/{token}/answer"
    wrong = [
        ("post", answer, {"json": body(step, ranking=[[0], [1], [2]])}, 422),
        ("post", answer, {"json": body(step, ranking=[[0], [1], [2], [2]])}, 422),
        ("post", answer, {"json": body(step, ranking=[[0, 1], [2], [3]])}, 422),  # a tie, where there are none
        ("post", answer, {"json": body(step, ranking=[[0], [1], [2], [3], []])}, 422),
        ("post", answer, {"json": body(step, seconds=-1)}, 422),
        ("post", answer, {"json": body(step, key="x" * 16)}, 404),
        ("post", answer, {"json": body(step, client_key="'; DROP TABLE answer; --")}, 422),
        ("post", answer, {"json": body(step, system="xmc-gan")}, 422),
        ("post", answer, {"content": b'{"seconds": NaN}', "headers": {"content-type": "application/json"}}, 422),
        ("post", answer, {"content": b"{" * 100, "headers": {"content-type": "application/json"}}, 422),
        ("post", answer, {"content": b"x" * (MAX_BODY + 1)}, 413),
        ("post", answer, {"content": iter([b"x" * 9000] * 3)}, 413),  # no length is given
        ("post", answer, {"json": body(step), "headers": {"sec-fetch-site": "cross-site"}}, 403),
        ("post", answer, {"json": body(step), "headers": {"origin": "https://elsewhere.example"}}, 403),
        ("post", f"/api/a/{other}/answer", {"json": body(step)}, 404),  # an item of someone else
        ("post", f"/api/a/{other}/report", {"json": {"key": step["task"]["key"], "position": 0}}, 404),
        ("post", f"/api/a/{token}/report", {"json": {"key": step["task"]["key"], "position": 8}}, 404),
        ("post", f"/api/a/{'A' * 32}/answer", {"json": body(step)}, 404),
        ("post", f"/api/a/{token[:-1]}/next", {}, 404),
        ("post", f"/api/a/{token}/introduced", {"json": {"criterion": "beauty"}}, 422),
        ("get", f"/a/{'A' * 32}", {}, 404),
        ("get", "/pictures/..%2fstudy.sqlite.png", {}, 404),
        ("get", "/pictures/%2e%2e/%2e%2e/etc/passwd", {}, 404),
        ("get", f"/pictures/{'A' * 22}.png", {}, 404),
        ("get", "/static/../app.py", {}, 404),
        ("get", "/static/%2e%2e/app.py", {}, 404),
        ("get", "/admin/answers.csv", {}, 401),
        ("get", "/admin/answers.json", {"headers": {"authorization": "Bearer " + "A" * 32}}, 401),
        ("get", "/admin/results", {}, 401),
        ("post", "/admin/links", {"data": {"count": "3", "csrf": "x"}}, 401),
        ("post", "/admin/links", {"data": {"count": "3", "csrf": "x"}, "headers": admin}, 403),
        ("post", "/admin/close", {"data": {"number": "1", "csrf": "y" * 64}, "headers": admin}, 403),
        ("post", "/admin/login", {"data": {"token": "A" * 32}}, 401),
    ]  # fmt: skip
    for method, path, given, status in wrong:
        response = getattr(client, method)(path, **given)
        assert response.status_code == status, (path, given, response.text)
        assert "content-security-policy" in response.headers
    assert state(site) == before


def test_nothing_tells_systems_apart(client, site, token):
    step = started(client, token)
    page = client.get(f"/a/{token}")
    for text in (page.text, str(page.headers), str(step)):
        assert not re.search("xmc-gan|op-gan|sd-gan|cp-gan|noise|reference|attention|repeat", text)
    assert step["criterion_name"] in ("Realism", "Alignment with the caption")
    assert step["task"]["caption"] is None or step["criterion"] == "alignment"
    pictures = [client.get(address) for address in step["task"]["pictures"]]
    assert len({(each.status_code, each.headers["content-length"]) for each in pictures}) == 1
    headers = [{name: value for name, value in each.headers.items() if name != "date"} for each in pictures]
    assert all(each == headers[0] for each in headers)
    assert len({each.content for each in pictures}) == 4
    for picture in (site.pictures / address.rsplit("/", 1)[1] for address in step["task"]["pictures"]):
        assert picture.stat().st_mtime == 0
    assert "last-modified" not in headers[0]
    assert "etag" not in headers[0]


def test_pages_are_locked_down(client, token, admin):
    for path in ("/", f"/a/{token}", "/admin", "/static/study.css", "/openapi.json", "/nowhere"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
    page = client.get(f"/a/{token}").text + client.get("/admin", headers=admin).text
    assert not re.search(r"https?://(?!127\.0\.0\.1)", page)
    assert not re.search(r"<style|\sstyle=|\son\w+=", page)


def test_a_report_takes_the_item_back_until_it_is_settled(client, site, token, folder, admin):
    step = started(client, token)
    following = client.post(f"/api/a/{token}/report", json={"key": step["task"]["key"], "position": 1}).json()
    assert following["task"]["key"] != step["task"]["key"]
    assert client.post(f"/api/a/{token}/answer", json=body(step)).status_code == 409
    with reading(site.database) as connection:
        picture = connection.execute(select(REPORT.c.picture).order_by(REPORT.c.id.desc())).scalars().first()
    assert step["task"]["pictures"][1] == f"/pictures/{picture}.png"
    page = client.get("/admin", headers=admin).text
    assert picture in page
    csrf = re.search(r'name="csrf" value="(\w+)"', page)[1]
    assert client.post("/admin/settle", data={"csrf": csrf}, headers=admin).status_code == 200
    assert client.post(f"/api/a/{token}/next").json()["task"] == step["task"]
    check_invariants(site.database)


def test_the_administrator(client, site, folder, token):
    secret = (folder / "admin-token").read_text().strip()
    assert (folder / "admin-token").stat().st_mode & 0o077 == 0
    response = client.post("/admin/login", data={"token": secret}, follow_redirects=False)
    cookie = response.headers["set-cookie"].lower()
    assert response.status_code == 303
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    page = client.get("/admin").text
    csrf = re.search(r'name="csrf" value="(\w+)"', page)[1]
    with reading(site.database) as connection:
        before = connection.execute(select(func.count()).select_from(ANNOTATOR)).scalar_one()
    made = re.findall(r"/a/([\w-]{32})", client.post("/admin/links", data={"csrf": csrf, "count": "2"}).text)
    assert len(set(made)) == 2
    assert client.post(f"/api/a/{made[0]}/next").json()["screen"] == "welcome"
    assert "closed" in client.post("/admin/close", data={"csrf": csrf, "number": str(before + 1)}).text
    assert client.post(f"/api/a/{made[0]}/next").status_code == 404
    stored = str(state(site))
    assert secret not in stored
    assert made[1] not in stored
    started(client, token)
    with reading(site.database) as connection:
        count = len(standing_answers(connection))
    assert len(client.get("/admin/answers.json").json()["answers"]) == count
    assert client.get("/admin/answers.csv").text.count("\n") == count + 1
    client.post("/admin/logout", data={"csrf": csrf})
    assert client.get("/admin/answers.csv").status_code == 401


def test_the_results_page_answers_head_and_not_without_the_token(client, site, token, admin):
    step = started(client, token)
    while step["screen"] == "task" and step["task"]["practice"]:
        step = client.post(f"/api/a/{token}/answer", json=body(step)).json()
    client.post(f"/api/a/{token}/answer", json=body(step))
    found, seen = client.head("/admin/results", headers=admin), client.get("/admin/results", headers=admin)
    assert (found.status_code, found.content) == (200, b"")
    assert found.headers["content-security-policy"] == seen.headers["content-security-policy"]
    assert found.headers["content-type"] == seen.headers["content-type"]
    assert "Ranked best" in seen.text
    assert client.head("/admin/results").status_code == 401
    assert "/admin/results" in client.get("/openapi.json").json()["paths"]
    assert "head" not in client.get("/openapi.json").json()["paths"]["/admin/results"]


def test_a_password_manager_finds_a_user_name_in_the_login(client, folder):
    """Browsers store a password under a name; the field is not shown, and the server takes no notice of it."""
    form = re.search(r"<form.*?</form>", client.get("/admin").text, re.DOTALL)[0]
    field = re.search(r"<input [^>]*autocomplete=\"username\"[^>]*>", form)[0]
    assert 'value="administrator"' in field
    assert "hidden" in field
    assert form.index('autocomplete="username"') < form.index('autocomplete="current-password"')
    given = {"username": "administrator", "token": (folder / "admin-token").read_text().strip()}
    assert client.post("/admin/login", data=given, follow_redirects=False).status_code == 303


def test_rates(client, site, token):
    assert {client.post(f"/api/a/{'B' * 31}{n % 10}/next").status_code for n in range(40)} == {404, 429}
    assert client.post(f"/api/a/{token}/next").status_code == 200  # who has a link is not disturbed by it
    assert {client.post("/admin/login", data={"token": "x"}).status_code for _ in range(15)} == {401, 429}


def test_people_see_an_error_as_a_page_and_scripts_as_json(client):
    page = client.get("/a/no-such-token", headers={"accept": "text/html"})
    assert page.status_code == 404
    assert "This did not work" in page.text
    assert "detail" in client.get("/a/no-such-token").json()


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (IntegrityError, 409, "this conflicts with what is stored; try again"),
        (OperationalError, 503, "the database is not available; try again"),
    ],
)
def test_an_error_of_the_database_can_be_tried_again(site, client, error, status, detail, monkeypatch):
    def fail(connection):
        raise error("SELECT", {}, Exception("secret"))

    monkeypatch.setattr("xmcgan.study.server.app.read_study", fail)
    answer = client.get("/health")
    assert (answer.status_code, answer.json()) == (status, {"detail": detail})
    assert answer.headers.get("retry-after") == ("2" if status == 503 else None)


def test_the_command_announces_the_study_and_keeps_links_out_of_logs(folder, site, monkeypatch, capsys):
    runs = []
    monkeypatch.setattr(uvicorn, "run", lambda app, **settings: runs.append(settings))
    arguments = ["study", "serve", str(folder), "--port", "8123"]
    assert main(arguments) == 0
    assert main([*arguments, "--url", "https://study.example.org/"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{site.study.name}: {url}/a/TOKEN for annotators, {url}/admin for you. Ctrl-C stops it."
        for url in ("http://127.0.0.1:8123", "https://study.example.org")
    ]
    assert {(each["host"], each["port"], each["access_log"]) for each in runs} == {("127.0.0.1", 8123, False)}


def test_a_study_that_is_not_there_is_not_served(folder, tmp_path, capsys):
    (tmp_path / "pictures").mkdir()
    for arguments, message in (
        ([str(tmp_path / "none")], f"{tmp_path / 'none'} is not a study's folder; `xmcgan study create` makes one"),
        ([str(tmp_path)], f"{tmp_path} has no study.sqlite; name the study's --database"),
        ([str(folder), "--port", "70000"], "--port is 70000; it should be 0 to 65535"),
    ):
        assert main(["study", "serve", *arguments]) == 2
        assert capsys.readouterr().err == f"xmcgan: {message}\n"
