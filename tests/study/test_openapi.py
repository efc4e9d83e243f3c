"""Whatever the description allows and forbids, by schemathesis: no request makes the server fail."""

import os

import pytest

pytest.importorskip("schemathesis", reason="schemathesis is not installed")

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error

from studies import make_study
from xmcgan.study.server.app import create_app, open_site

EXAMPLES = int(os.environ.get("XMCGAN_STUDY_EXAMPLES", "4"))  # for each operation


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = make_study(tmp_path_factory.mktemp("openapi"), captions=3)
    site = open_site(folder)
    for limit in (site.requests, site.guesses, site.logins):
        limit.burst = limit.per_second = 1e9
    token = (folder / "links.txt").read_text().split()[0].rsplit("/", 1)[1]
    yield create_app(site), token, (folder / "admin-token").read_text().strip()
    site.database.engine.dispose()


def test_no_request_makes_the_server_fail(served):
    app, token, admin = served
    statuses: set[int] = set()
    for result in schemathesis.openapi.from_asgi("/openapi.json", app).get_all_operations():
        requests(result.ok(), token, admin, statuses)
    assert {200, 404} <= statuses  # requests came in, and were refused
    assert max(statuses) < 500


def requests(operation, token: str, admin: str, statuses: set[int]) -> None:
    """Sends requests of one operation, right and wrong ones."""

    @given(case=operation.as_strategy())
    @settings(
        max_examples=EXAMPLES, deadline=None, phases=[Phase.generate], derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def send(case):
        if "token" in (case.path_parameters or {}):
            case.path_parameters["token"] = token  # a true link, so that requests get further than the door
        case.headers = {**(case.headers or {}), "authorization": f"Bearer {admin}"}
        response = case.call()
        case.validate_response(response, checks=[not_a_server_error])
        statuses.add(response.status_code)

    send()


def test_the_description_names_what_is_refused(served):
    paths = served[0].openapi()["paths"]
    assert {"403", "404", "409", "413", "422", "429"} <= paths["/api/a/{token}/answer"]["post"]["responses"].keys()
    assert len(paths) >= 15
