"""Answers: saved once, undone by marking, never deleted; and reports of pictures that do not load."""

import math
from collections.abc import Sequence
from typing import Literal

import sqlalchemy as sa
from sqlalchemy import Connection, Row, bindparam, select

from xmcgan.study.annotators import Annotator
from xmcgan.study.assignment import release, retake
from xmcgan.study.records import Mode, Study
from xmcgan.study.storage import now
from xmcgan.study.tables import ANSWER, ASSIGNMENT, PICTURE, REPORT


class NotTheirs(LookupError):
    """The item was not given to the annotator."""


class Refused(Exception):
    """The item no longer accepts an answer or a report; the message is for the annotator."""


SENT = select(ANSWER).where(ANSWER.c.client_key == bindparam("client_key"))
SAVE = sa.insert(ANSWER)
SETTLE = sa.update(ASSIGNMENT).where(ASSIGNMENT.c.id == bindparam("of")).values(state="answered")


def save_answer(
    connection: Connection,
    study: Study,
    annotator: Annotator,
    *,
    key: str,
    client_key: str,
    ranking: Sequence[Sequence[int]],
    seconds: float,
    clock: float,
) -> Literal["saved", "again"]:
    """Saves an answer; it counts when the transaction is committed.

    Args:
        key: key of the annotator's assignment.
        client_key: made by the page for this answer. The same answer sent again has the same key and counts once.
        ranking: groups of positions from left to right, from 0, best first.
        seconds: as measured by the page, but at most the time since the item was shown.

    Returns:
        ``again`` if the answer was saved already.

    Raises:
        NotTheirs: if the annotator has no such item.
        Refused: if it was answered before, given to someone else, or reported.
        ValueError: if the ranking does not fit the item.
    """
    assignment = lock_assignment(connection, annotator, key)
    before = connection.execute(SENT, {"client_key": client_key}).first()
    if before is not None:
        if before.assignment == assignment.id:
            return "again"
        raise Refused("This answer belongs to another item.")
    groups = check_ranking(ranking, len(assignment.shown_order), study.mode)
    if assignment.state == "answered":
        raise Refused("This item has been answered already.")
    if assignment.state == "reported":
        raise Refused("This item was reported, so it takes no answer.")
    if assignment.state == "released" and not retake(connection, assignment, assignment.served, wait=True):
        raise Refused("This item went to someone else, because there was no answer for a long time.")
    since = max(0.0, clock - assignment.served)
    values = {
        "client_key": client_key,
        "assignment": assignment.id,
        "ranking": [[assignment.shown_order[position] for position in group] for group in groups],
        "seconds": round(min(seconds, since) if math.isfinite(seconds) and seconds >= 0 else since, 3),
        "answered_at": now(),
    }
    connection.execute(SAVE, values)
    connection.execute(SETTLE, {"of": assignment.id})
    return "saved"


def check_ranking(ranking: Sequence[Sequence[int]], count: int, mode: Mode) -> list[list[int]]:
    """The ranking, with ties in the order of positions.

    Raises:
        ValueError: if a position is missing, twice or unknown, or tied although ties are not allowed.
    """
    if sorted(position for group in ranking for position in group) != list(range(count)):
        raise ValueError(f"ranking should have each of the positions 0 to {count - 1} once")
    if not all(ranking):
        raise ValueError("ranking should have no empty group")
    if len(ranking) < count and mode != "pairs-ties":
        raise ValueError("ranking should have no ties in this study")
    return [sorted(group) for group in ranking]


LOCK = (
    select(ASSIGNMENT)
    .where(ASSIGNMENT.c.key == bindparam("key"), ASSIGNMENT.c.annotator == bindparam("annotator"))
    .with_for_update()
)


def lock_assignment(connection: Connection, annotator: Annotator, key: str) -> Row:
    """An annotator's assignment, locked.

    Raises:
        NotTheirs: if there is none.
    """
    row = connection.execute(LOCK, {"key": key, "annotator": annotator.id}).first()
    if row is None:
        raise NotTheirs(key)
    return row


LAST = (
    select(ANSWER)
    .join(ASSIGNMENT, ASSIGNMENT.c.id == ANSWER.c.assignment)
    .where(ASSIGNMENT.c.annotator == bindparam("annotator"))
    .order_by(ANSWER.c.id.desc())
    .limit(1)
)


def last_answer(connection: Connection, annotator: Annotator) -> Row | None:
    """The annotator's latest answer, undone or not, with its assignment's id as ``assignment``."""
    return connection.execute(LAST, {"annotator": annotator.id}).first()


def can_undo(connection: Connection, annotator: Annotator) -> bool:
    """Whether there is a latest answer that was not undone."""
    row = last_answer(connection, annotator)
    return row is not None and row.withdrawn_at is None


def undo(connection: Connection, annotator: Annotator, *, clock: float, minutes: float) -> bool:
    """Takes the latest answer back, so that its item is shown again. Returns whether there was one to take back.

    Args:
        minutes: how long the item is reserved.
    """
    row = last_answer(connection, annotator)
    if row is None or row.withdrawn_at is not None:
        return False
    connection.execute(sa.update(ANSWER).where(ANSWER.c.id == row.id).values(withdrawn_at=now()))
    change = sa.update(ASSIGNMENT).where(ASSIGNMENT.c.id == row.assignment)
    connection.execute(change.values(state="reserved", served=clock, expires=clock + 60 * minutes))
    return True


def report(connection: Connection, annotator: Annotator, *, key: str, position: int) -> None:
    """Records that a picture does not load, and takes the item back.

    Raises:
        NotTheirs: if the annotator has no such item, or it has no such picture.
        Refused: if the item is not open.
    """
    assignment = lock_assignment(connection, annotator, key)
    if not 0 <= position < len(assignment.shown_order):
        raise NotTheirs(f"{key}, picture {position}")
    if assignment.state == "reported":
        return
    if assignment.state not in ("reserved", "released"):
        raise Refused("This item has been answered already.")
    query = select(PICTURE.c.name).where(
        PICTURE.c.caption == assignment.caption, PICTURE.c.system == assignment.shown_order[position]
    )
    picture = connection.execute(query).scalar_one()
    connection.execute(sa.insert(REPORT).values(assignment=assignment.id, picture=picture, reported_at=now()))
    release(connection, assignment, "reported")


def settle_reports(connection: Connection) -> int:
    """Shows reported items to the same annotators again, after the pictures were fixed. Returns how many."""
    query = select(REPORT.c.assignment).where(REPORT.c.settled_at.is_(None))
    ids = list(connection.execute(query).scalars())
    reported = [ASSIGNMENT.c.id.in_(ids), ASSIGNMENT.c.state == "reported"]
    changed = connection.execute(sa.update(ASSIGNMENT).where(*reported).values(state="released"))
    connection.execute(sa.update(REPORT).where(REPORT.c.settled_at.is_(None)).values(settled_at=now()))
    return changed.rowcount
