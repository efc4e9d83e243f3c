"""The annotator's page and the API that it calls. The personal link's token is in every address; there is no cookie."""

import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Request
from fastapi import Path as InPath
from fastapi.responses import HTMLResponse, Response
from sqlalchemy import Connection

from xmcgan.study.annotators import Annotator, consent, find_annotator, introduce
from xmcgan.study.answering import NotTheirs, Refused, can_undo, report, save_answer, undo
from xmcgan.study.assignment import Step, next_step
from xmcgan.study.pictures import picture_file
from xmcgan.study.records import criterion_name
from xmcgan.study.server.models import (
    AnswerBody,
    IntroducedBody,
    Problem,
    ProgressReply,
    ReportBody,
    StepReply,
    TaskReply,
)
from xmcgan.study.server.site import Site
from xmcgan.study.settings import question
from xmcgan.study.storage import reading, writing

Token = Annotated[str, InPath(pattern="^[A-Za-z0-9_-]{32}$", description="Of the personal link.")]
REFUSALS: dict[int | str, dict[str, Any]] = {code: {"model": Problem} for code in (403, 404, 409, 413, 422, 429)}


def annotator_routes(site: Site) -> APIRouter:
    """The routes of annotators."""
    router = APIRouter(responses=REFUSALS)
    add_pages(router, site)
    add_changes(router, site)
    return router


def add_pages(router: APIRouter, site: Site) -> None:
    """The page, and pictures."""

    @router.get("/a/{token}", response_class=HTMLResponse)
    def page(request: Request, token: Token) -> Response:
        """The annotator's page."""
        site.limit_annotator(request, token)
        with reading(site.database) as connection:
            if find_annotator(connection, token) is None:
                raise unknown_link(site, request)
        return site.page(request, "annotate.html", token=token)

    @router.get("/pictures/{name}.png", response_class=Response)
    def picture(name: Annotated[str, InPath(pattern="^[A-Za-z0-9_-]{22}$")]) -> Response:
        """A picture. The pictures of a caption differ in nothing but their pixels."""
        path = picture_file(site.pictures, name)
        if path is None:
            raise HTTPException(404, "there is no such picture")
        headers = {"cache-control": "private, max-age=31536000, immutable"}
        return Response(path.read_bytes(), media_type="image/png", headers=headers)


def add_changes(router: APIRouter, site: Site) -> None:
    """The API that the page calls; each call is one transaction, and its reply is the next step."""
    change = partial(in_transaction, site)

    @router.post("/api/a/{token}/next")
    def following(request: Request, token: Token) -> StepReply:
        """The next step; if an item is open, that item again."""
        return change(request, token, lambda connection, annotator, clock: None)

    @router.post("/api/a/{token}/consent")
    def agree(request: Request, token: Token) -> StepReply:
        """The annotator agrees to take part."""
        return change(request, token, lambda connection, annotator, clock: consent(connection, annotator))

    @router.post("/api/a/{token}/introduced")
    def introduced(request: Request, token: Token, body: IntroducedBody) -> StepReply:
        """The instructions of a block were read."""

        def act(connection: Connection, annotator: Annotator, clock: float) -> None:
            if body.criterion not in site.study.criteria:
                raise ValueError(f"the study has no block of {body.criterion}")
            introduce(connection, annotator, body.criterion)

        return change(request, token, act)

    @router.post("/api/a/{token}/answer")
    def answer(request: Request, token: Token, body: AnswerBody) -> StepReply:
        """Saves an answer. The reply is sent when it is on disk."""
        return change(
            request,
            token,
            lambda connection, annotator, clock: save_answer(
                connection, site.study, annotator, key=body.key, client_key=body.client_key,
                ranking=body.ranking, seconds=body.seconds, clock=clock,
            ),
        )  # fmt: skip

    @router.post("/api/a/{token}/undo")
    def undo_last(request: Request, token: Token) -> StepReply:
        """Shows the item of the last answer again."""
        minutes = site.settings.reservation_minutes
        return change(
            request,
            token,
            lambda connection, annotator, clock: undo(connection, annotator, clock=clock, minutes=minutes),
        )

    @router.post("/api/a/{token}/report")
    def report_picture(request: Request, token: Token, body: ReportBody) -> StepReply:
        """Reports a picture that does not load to the administrator; the annotator goes on."""
        return change(
            request,
            token,
            lambda connection, annotator, clock: report(connection, annotator, key=body.key, position=body.position),
        )


def in_transaction(
    site: Site, request: Request, token: str, act: Callable[[Connection, Annotator, float], object]
) -> StepReply:
    """Acts for the annotator of a link, and finds the next step, in one transaction."""
    site.limit_annotator(request, token)
    clock = time.time()
    with writing(site.database) as connection:
        annotator = find_annotator(connection, token, lock=True)
        if annotator is None:
            raise unknown_link(site, request)
        try:
            act(connection, annotator, clock)
        except NotTheirs as error:
            raise HTTPException(404, "you have no such item") from error
        except Refused as error:
            raise HTTPException(409, str(error)) from error
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        annotator = find_annotator(connection, token) or annotator
        step = next_step(connection, site.study, site.settings, annotator, clock)
        return reply(site, step, can_undo(connection, annotator))


def unknown_link(site: Site, request: Request) -> HTTPException:
    """The error for a link that is unknown or closed; an address that tries too many gets a 429 instead."""
    site.limit_guess(request)
    return HTTPException(404, "this link is not known, or it was closed")


def reply(site: Site, step: Step, undoable: bool) -> StepReply:
    """A step as JSON."""
    task = step.task and TaskReply(
        key=step.task.key,
        practice=step.task.practice,
        caption=step.task.caption,
        pictures=[f"/pictures/{name}.png" for name in step.task.pictures],
    )
    return StepReply(
        screen=step.name,
        criterion=step.criterion,
        criterion_name=step.criterion and criterion_name(step.criterion),
        question=step.criterion and question(step.criterion, site.study.mode),
        task=task,
        progress=step.progress and ProgressReply(**step.progress._asdict()),
        can_undo=undoable,
    )
