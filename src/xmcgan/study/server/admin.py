"""The administrator's page: progress, links, reports, raw answers. One token, in a cookie that scripts cannot read."""

import hmac
from hashlib import sha256
from threading import Lock
from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.security.utils import get_authorization_scheme_param

from xmcgan.study.annotators import close_link, create_annotators
from xmcgan.study.answering import settle_reports
from xmcgan.study.progress import by_annotator, by_criterion, incomplete_items, open_reports
from xmcgan.study.raw_answers import to_csv, to_json
from xmcgan.study.records import CRITERION_NAMES
from xmcgan.study.server.annotate import REFUSALS
from xmcgan.study.server.site import Site
from xmcgan.study.storage import reading, standing_answers, writing
from xmcgan.study.tokens import csrf_token, matches

COOKIE = "study-admin"
REPLICATES = 500  # of each bootstrap on this page; `xmcgan study results` takes 2000
Text = Annotated[str, Form(max_length=100)]


def admin_routes(site: Site) -> APIRouter:
    """The routes of the administrator."""
    router = APIRouter(prefix="/admin", responses={**REFUSALS, 401: REFUSALS[403]})
    add_login(router, site)
    add_dashboard(router, site)
    add_changes(router, site)
    add_results(router, site)
    add_exports(router, site)
    return router


def token_of(request: Request) -> str:
    """The token of a request, from its cookie or ``Authorization: Bearer``; "" if there is none."""
    scheme, value = get_authorization_scheme_param(request.headers.get("authorization"))
    return value if scheme.lower() == "bearer" else request.cookies.get(COOKIE, "")


def require_admin(site: Site, request: Request) -> str:
    """The administrator's token.

    Raises:
        HTTPException: 401 for any other token.
    """
    token = token_of(request)
    if not matches(token, site.admin_token_hash):
        if token:
            site.limit_login(request)
        raise HTTPException(401, "this needs the administrator's token", headers={"www-authenticate": "Bearer"})
    return token


def require_form(site: Site, request: Request, csrf: str) -> None:
    """Refuses a form that was not sent from our page."""
    token = require_admin(site, request)
    if not hmac.compare_digest(csrf.encode(), csrf_token(token).encode()):
        raise HTTPException(403, "the form is not of this page; open the page again")


def add_login(router: APIRouter, site: Site) -> None:
    """Login and logout."""

    @router.post("/login", status_code=303, response_class=Response)
    def login(request: Request, token: Text) -> Response:
        """Checks the token and sets the cookie."""
        site.limit_login(request)
        if not matches(token.strip(), site.admin_token_hash):
            return site.page(request, "login.html", 401, wrong=True)
        response = RedirectResponse("/admin", 303)
        response.set_cookie(
            COOKIE,
            token.strip(),
            max_age=14 * 86400,
            httponly=True,
            samesite="strict",
            secure=site.https,
            path="/admin",
        )
        return response

    @router.post("/logout", status_code=303, response_class=Response)
    def logout(request: Request, csrf: Text) -> Response:
        """Removes the cookie."""
        require_form(site, request, csrf)
        response = RedirectResponse("/admin", 303)
        response.delete_cookie(COOKIE, path="/admin")
        return response


def add_dashboard(router: APIRouter, site: Site) -> None:
    """The page itself."""

    @router.get("", response_class=HTMLResponse)
    def dashboard(request: Request) -> Response:
        """Progress, or the login."""
        token = token_of(request)
        if not matches(token, site.admin_token_hash):
            return site.page(request, "login.html", 401, wrong=bool(token))
        return show(site, request, token)


def show(site: Site, request: Request, token: str, links: list[str] | None = None, note: str = "") -> HTMLResponse:
    """The administrator's page.

    Args:
        links: personal links that were made just now; they are shown once.
    """
    with reading(site.database) as connection:
        return site.page(
            request,
            "admin.html",
            csrf=csrf_token(token),
            names=CRITERION_NAMES,
            criteria=by_criterion(connection, site.study),
            annotators=by_annotator(connection, site.study, site.settings),
            incomplete=incomplete_items(connection),
            reports=open_reports(connection),
            links=links or [],
            note=note,
        )


def add_changes(router: APIRouter, site: Site) -> None:
    """Links and reports."""

    @router.post("/links", response_class=HTMLResponse)
    def make_links(request: Request, csrf: Text, count: Annotated[int, Form(ge=1, le=500)]) -> Response:
        """Makes personal links and shows them once; only their hashes are stored."""
        require_form(site, request, csrf)
        with writing(site.database) as connection:
            tokens = create_annotators(connection, count)
        links = [f"{site.url}/a/{token}" for token in tokens]
        return show(site, request, token_of(request), links)

    @router.post("/close", response_class=HTMLResponse)
    def close(request: Request, csrf: Text, number: Annotated[int, Form(ge=1, le=2**31 - 1)]) -> Response:
        """Closes an annotator's link."""
        require_form(site, request, csrf)
        with writing(site.database) as connection:
            closed = close_link(connection, number)
        note = f"The link of annotator {number} is closed." if closed else f"There is no open link of number {number}."
        return show(site, request, token_of(request), note=note)

    @router.post("/settle", response_class=HTMLResponse)
    def settle(request: Request, csrf: Text) -> Response:
        """Shows reported items again."""
        require_form(site, request, csrf)
        with writing(site.database) as connection:
            count = settle_reports(connection)
        return show(site, request, token_of(request), note=f"Reported items that will be shown again: {count}.")


def add_results(router: APIRouter, site: Site) -> None:
    """The current results."""
    held: dict[str, str] = {}  # the last page, by the answers that it shows
    turn = Lock()

    @router.head("/results", include_in_schema=False)
    @router.get("/results", response_class=HTMLResponse)
    def results(request: Request) -> Response:
        """The page of results, computed again if the answers have changed."""
        require_admin(site, request)
        from xmcgan.study.analysis.page import PAGE_POLICY, results_page  # scipy and matplotlib: half a second

        with reading(site.database) as connection:
            answers = standing_answers(connection)
        if not any(answer.kind == "main" for answer in answers):
            return site.page(
                request, "message.html", title="No results yet", text="Nobody has answered an item so far."
            )
        state = sha256(repr([(answer.item_id, answer.annotator, answer.ranking) for answer in answers]).encode())
        with turn:  # one computation at a time, even if the page is opened twice
            if state.hexdigest() not in held:
                held.clear()
                held[state.hexdigest()] = results_page(site.study, answers, replicates=REPLICATES)
        headers = {"content-security-policy": PAGE_POLICY}
        return HTMLResponse(held[state.hexdigest()], headers=headers)


def add_exports(router: APIRouter, site: Site) -> None:
    """Raw answers without personal information, also for programs that send the token."""

    def download(content: str, media_type: str, name: str) -> Response:
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(content, media_type=media_type, headers=headers)

    @router.get("/answers.csv", response_class=Response)
    def answers_csv(request: Request) -> Response:
        """Every answer that was not undone, one line each."""
        require_admin(site, request)
        with reading(site.database) as connection:
            return download(to_csv(standing_answers(connection)), "text/csv; charset=utf-8", "answers.csv")

    @router.get("/answers.json", response_class=Response)
    def answers_json(request: Request) -> Response:
        """The study and every answer that was not undone."""
        require_admin(site, request)
        with reading(site.database) as connection:
            return download(to_json(site.study, standing_answers(connection)), "application/json", "answers.json")
