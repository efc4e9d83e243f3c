"""A study's progress, for the administrator: by item, criterion and annotator. Only reads the database."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection, func, select

from xmcgan.study.annotators import from_row
from xmcgan.study.assignment import is_finished
from xmcgan.study.records import Study
from xmcgan.study.settings import Settings
from xmcgan.study.tables import ANNOTATOR, ANSWER, ASSIGNMENT, CAPTION, ITEM, REPORT


@dataclass(frozen=True, slots=True)
class CriterionProgress:
    """Main items of a criterion by how many answers they have."""

    criterion: str
    items: int
    items_by_answers: list[int]  # position k: items with k answers
    answers: int
    needed: int

    @property
    def complete(self) -> int:
        """Items with all their answers."""
        return self.items_by_answers[-1]


@dataclass(frozen=True, slots=True)
class AnnotatorProgress:
    """The progress of an annotator."""

    number: int
    consented: bool
    closed: bool
    finished: bool  # answered something, and nothing is left
    main: dict[str, int]  # answers by criterion
    attention_correct: int
    attention: int
    median_seconds: float | None
    last_answer: str | None


@dataclass(frozen=True, slots=True)
class ItemProgress:
    """A main item that lacks answers."""

    caption_id: str
    caption: str
    criterion: str
    answers: int
    reserved: int
    quota: int


def by_criterion(connection: Connection, study: Study) -> list[CriterionProgress]:
    """Progress of each criterion."""
    answered = case_count("answered")
    query = (
        select(ITEM.c.criterion, ITEM.c.id, answered)
        .outerjoin(ASSIGNMENT, sa.and_(ASSIGNMENT.c.item == ITEM.c.id, ASSIGNMENT.c.kind == "main"))
        .where(ITEM.c.kind == "main")
        .group_by(ITEM.c.criterion, ITEM.c.id)
    )
    counts = {criterion: [0] * (study.annotators_per_item + 1) for criterion in study.criteria}
    for criterion, _, answers in connection.execute(query):
        counts[criterion][answers] += 1
    return [
        CriterionProgress(
            criterion, sum(held), held, sum(k * n for k, n in enumerate(held)), sum(held) * study.annotators_per_item
        )
        for criterion, held in counts.items()
    ]


def case_count(state: str) -> sa.ColumnElement[int]:
    """How many joined assignments are in a state."""
    return func.coalesce(func.sum(sa.case((ASSIGNMENT.c.state == state, 1), else_=0)), 0)


def by_annotator(connection: Connection, study: Study, settings: Settings) -> list[AnnotatorProgress]:
    """Progress of each annotator, by number."""
    query = (
        select(
            ANNOTATOR.c.number, ASSIGNMENT.c.criterion, ASSIGNMENT.c.kind,
            ANSWER.c.seconds, ANSWER.c.ranking, ANSWER.c.answered_at,
        )
        .join(ASSIGNMENT, ASSIGNMENT.c.annotator == ANNOTATOR.c.id)
        .join(ANSWER, ANSWER.c.assignment == ASSIGNMENT.c.id)
        .where(ANSWER.c.withdrawn_at.is_(None), ASSIGNMENT.c.kind.in_(("main", "attention")))
        .order_by(ANSWER.c.id)
    )  # fmt: skip
    answers: dict[int, list[sa.Row]] = {}
    for row in connection.execute(query):
        answers.setdefault(row.number, []).append(row)
    rows = connection.execute(select(ANNOTATOR).order_by(ANNOTATOR.c.number)).all()
    return [
        annotator_progress(row, own, finished=bool(own) and is_finished(connection, study, settings, from_row(row)))
        for row in rows
        for own in [answers.get(row.number, [])]
    ]


def annotator_progress(row: sa.Row, answers: list[sa.Row], *, finished: bool) -> AnnotatorProgress:
    """One line of the administrator's table."""
    main = [answer for answer in answers if answer.kind == "main"]
    checks = [answer for answer in answers if answer.kind == "attention"]
    times = sorted(answer.seconds for answer in main)
    middle = len(times) // 2
    counts: dict[str, int] = {}
    for answer in main:
        counts[answer.criterion] = counts.get(answer.criterion, 0) + 1
    return AnnotatorProgress(
        number=row.number,
        consented=row.consented is not None,
        closed=row.closed is not None,
        finished=finished,
        main=counts,
        attention_correct=sum(answer.ranking[0] == ["reference"] for answer in checks),
        attention=len(checks),
        median_seconds=(times[middle] + times[-1 - middle]) / 2 if times else None,
        last_answer=answers[-1].answered_at if answers else None,
    )


def incomplete_items(connection: Connection, limit: int = 50) -> list[ItemProgress]:
    """Main items that lack answers, the nearest to full first."""
    answered, reserved = case_count("answered"), case_count("reserved")
    query = (
        select(CAPTION.c.caption_id, CAPTION.c.caption, ITEM.c.criterion, answered, reserved, ITEM.c.quota)
        .join(CAPTION, CAPTION.c.id == ITEM.c.caption)
        .outerjoin(ASSIGNMENT, sa.and_(ASSIGNMENT.c.item == ITEM.c.id, ASSIGNMENT.c.kind == "main"))
        .where(ITEM.c.kind == "main")
        .group_by(ITEM.c.id, CAPTION.c.caption_id, CAPTION.c.caption, ITEM.c.criterion, ITEM.c.quota)
        .having(answered < ITEM.c.quota)
        .order_by(answered.desc(), ITEM.c.criterion, ITEM.c.id)
        .limit(limit)
    )
    return [ItemProgress(*row) for row in connection.execute(query)]


def open_reports(connection: Connection) -> list[str]:
    """File names of pictures that annotators could not load."""
    query = select(REPORT.c.picture).where(REPORT.c.settled_at.is_(None)).distinct().order_by(REPORT.c.picture)
    return [f"{name}.png" for name in connection.execute(query).scalars()]
