"""Annotators: personal links, consent, and closing a link. An annotator is a number and the hash of a token."""

from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, Row, bindparam, func, select

from xmcgan.study.storage import now
from xmcgan.study.tables import ANNOTATOR
from xmcgan.study.tokens import TOKEN, new_token, token_hash


class Annotator(NamedTuple):
    """A row of the annotators' table."""

    id: int
    number: int
    consented: bool
    introduced: list[str]  # criteria whose instructions were read
    block: int


def create_annotators(connection: Connection, count: int) -> list[str]:
    """Makes annotators and returns the tokens of their links, which are stored nowhere.

    Raises:
        ValueError: if ``count`` is not 0 to 1000.
    """
    if not 0 <= count <= 1000:
        raise ValueError(f"links is {count}; it should be 0 to 1000 at a time")
    # If two administrators do this at once, the unique number makes the second fail, so no number is shared.
    first = (connection.execute(select(func.max(ANNOTATOR.c.number))).scalar() or 0) + 1
    tokens = [new_token() for _ in range(count)]
    created = now()
    rows = [
        {"number": first + index, "token_hash": token_hash(token), "created": created, "introduced": []}
        for index, token in enumerate(tokens)
    ]
    if rows:
        connection.execute(sa.insert(ANNOTATOR), rows)
    return tokens


BY_TOKEN = select(ANNOTATOR).where(ANNOTATOR.c.token_hash == bindparam("hash"), ANNOTATOR.c.closed.is_(None))
FIND = {False: BY_TOKEN, True: BY_TOKEN.with_for_update()}


def find_annotator(connection: Connection, token: str, *, lock: bool = False) -> Annotator | None:
    """The annotator of a link; None if there is none, or the link was closed.

    Args:
        lock: hold the row, so that two windows of one annotator take turns.
    """
    if not TOKEN.fullmatch(token):
        return None
    row = connection.execute(FIND[lock], {"hash": token_hash(token)}).first()
    return row and from_row(row)


def from_row(row: Row) -> Annotator:
    """An annotator, from a row of the table."""
    return Annotator(row.id, row.number, row.consented is not None, row.introduced, row.block)


def consent(connection: Connection, annotator: Annotator) -> None:
    """Records that the annotator read the start page and agreed, once."""
    connection.execute(
        sa.update(ANNOTATOR)
        .where(ANNOTATOR.c.id == annotator.id, ANNOTATOR.c.consented.is_(None))
        .values(consented=now())
    )


def introduce(connection: Connection, annotator: Annotator, criterion: str) -> None:
    """Records that the instructions of a block were read."""
    if criterion not in annotator.introduced:
        connection.execute(
            sa.update(ANNOTATOR)
            .where(ANNOTATOR.c.id == annotator.id)
            .values(introduced=[*annotator.introduced, criterion])
        )


def close_link(connection: Connection, number: int) -> bool:
    """Closes an annotator's link for good; the answers stay. Returns whether there was an open link."""
    changed = connection.execute(
        sa.update(ANNOTATOR).where(ANNOTATOR.c.number == number, ANNOTATOR.c.closed.is_(None)).values(closed=now())
    )
    return changed.rowcount == 1
