"""Chooses what an annotator is shown next. Each item gets its number of annotators, even if many come at once.

A main item has as many slots as annotators; a showing reserves one, for a limited time. Everything here runs in one
transaction that holds the annotator's row. Rows of items are locked in the order of their ids, or skipped if another
transaction holds them, so that no two transactions wait for each other.
"""

import random
import secrets
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, Row, bindparam, func, select

from xmcgan.study.annotators import Annotator
from xmcgan.study.records import Kind, Study
from xmcgan.study.schedule import block_order, places, shown_order
from xmcgan.study.settings import Settings
from xmcgan.study.tables import ANNOTATOR, ANSWER, ASSIGNMENT, CAPTION, ITEM, PICTURE

CANDIDATES = 24  # chosen among the items nearest to full, so that a study that is stopped early has complete items
APART = 3  # least number of answers between an item and its repeat

Extra = Literal["attention", "repeat"]


class Progress(NamedTuple):
    """An annotator's progress in a block; checks and repeats count, so that they do not stand out."""

    done: int
    total: int
    block: int  # from 1
    blocks: int


class Task(NamedTuple):
    """An item to show. It does not reveal systems."""

    key: str
    criterion: str
    practice: bool
    caption: str | None  # for alignment alone
    pictures: list[str]  # names, from left to right
    progress: Progress


class Step(NamedTuple):
    """The next step: a task, the instructions of a block, or why there is none."""

    name: Literal["welcome", "instructions", "task", "wait", "finished"]
    task: Task | None = None
    criterion: str | None = None
    progress: Progress | None = None


class Block(NamedTuple):
    """Counts of an annotator's block."""

    criterion: str
    answered: dict[str, int]  # by kind
    open: int  # main items that the annotator has
    remaining: int  # main items that the annotator may still get

    @property
    def main(self) -> int:
        """Main items of the block, as far as is known now."""
        return self.answered.get("main", 0) + self.open + self.remaining


def next_step(connection: Connection, study: Study, settings: Settings, annotator: Annotator, clock: float) -> Step:
    """Reserves the annotator's next item, or finds the open one.

    Args:
        annotator: its row is locked by this transaction.
        clock: seconds since 1970.
    """
    if not annotator.consented:
        return Step("welcome")
    release_expired(connection, clock)
    expires = clock + 60 * settings.reservation_minutes
    if (row := open_assignment(connection, annotator, clock, expires)) is not None:
        block = read_block(connection, settings, annotator, row.criterion)
        return task_step(connection, study, settings, annotator, block, row)
    order = block_order(study, annotator.number)
    waits = False
    for turn in range(len(order)):
        at = (annotator.block + turn) % len(order)
        block = read_block(connection, settings, annotator, order[at])
        if block.remaining and order[at] not in annotator.introduced:
            set_block(connection, annotator, at)
            step = Step("instructions", criterion=order[at])
            return step._replace(progress=progress_of(study, settings, annotator, block))
        item, kind = choose(connection, study, settings, annotator, block)
        if item is not None:
            set_block(connection, annotator, at)
            row = reserve(connection, study, annotator, item, kind, clock, expires)
            return task_step(connection, study, settings, annotator, block, row)
        if block.remaining:
            return Step("wait")  # another transaction holds each of them at this moment
        waits = waits or held_by_others(connection, settings, annotator, block)
    return Step("wait" if waits else "finished")


OPEN_OR_FREE = (
    select(ASSIGNMENT.c.id)
    .join(ITEM, ITEM.c.id == ASSIGNMENT.c.item)
    .where(
        ASSIGNMENT.c.annotator == bindparam("annotator"),
        sa.or_(
            ASSIGNMENT.c.state == "reserved",
            sa.and_(ASSIGNMENT.c.state == "released", sa.or_(ITEM.c.quota == 0, ITEM.c.taken < ITEM.c.quota)),
        ),
    )
    .limit(1)
)


def is_finished(connection: Connection, study: Study, settings: Settings, annotator: Annotator) -> bool:
    """Whether ``next_step`` would find nothing for the annotator, now or later. It changes nothing."""
    if connection.execute(OPEN_OR_FREE, {"annotator": annotator.id}).first() is not None:
        return False
    for criterion in study.criteria:
        block = read_block(connection, settings, annotator, criterion)
        if block.remaining or held_by_others(connection, settings, annotator, block):
            return False
        if choose(connection, study, settings, annotator, block)[0] is not None:  # a check or repeat at the end
            return False
    return True


def choose(
    connection: Connection, study: Study, settings: Settings, annotator: Annotator, block: Block
) -> tuple[Row | None, Kind]:
    """The next item of a block: practice, then main items, with checks and repeats in between."""
    answered = block.answered
    begun = block.criterion in annotator.introduced
    if begun and block.remaining and answered.get("practice", 0) < settings.practice:
        row = unseen(connection, study, annotator, block.criterion, "practice")
        if row is not None:
            return row, "practice"
    for kind in ("attention", "repeat"):
        if begun and is_due(study, settings, annotator, block, kind):
            row = (unseen if kind == "attention" else to_repeat)(connection, study, annotator, block.criterion, kind)
            if row is not None:
                return row, kind
    return (lock_main(connection, study, annotator, block) if begun and block.remaining else None), "main"


def is_due(study: Study, settings: Settings, annotator: Annotator, block: Block, kind: Extra) -> bool:
    """Whether a check or a repeat is due now."""
    planned = planned_places(study, settings, annotator, block, kind)
    done = block.answered.get(kind, 0)
    return done < len(planned) and planned[done] <= block.answered.get("main", 0)


def planned_places(study: Study, settings: Settings, annotator: Annotator, block: Block, kind: Extra) -> list[int]:
    """After how many main items of a block its checks or repeats come, as far as is known now."""
    attention = kind == "attention"
    every = settings.attention_every if attention else settings.repeat_every
    least = settings.min_attention_checks if attention else 0
    return places(study, annotator.number, block.criterion, kind, every, block.main, least)


def unmet(kind: Kind) -> list[sa.ColumnElement[bool]]:
    """Conditions of items whose caption the annotator has not seen in this criterion."""
    # Not a correlated EXISTS: PostgreSQL runs it once for each item, which takes 20 ms instead of 1 with 600 items.
    seen = select(ASSIGNMENT.c.caption).where(
        ASSIGNMENT.c.annotator == bindparam("annotator"),
        ASSIGNMENT.c.criterion == bindparam("criterion"),
        ASSIGNMENT.c.kind == kind,
    )
    return [ITEM.c.criterion == bindparam("criterion"), ITEM.c.kind == kind, ITEM.c.caption.not_in(seen)]


# Statements are built once: building one takes as long as running it, and a server runs these at every answer.
HAD = (
    select(ASSIGNMENT.c.kind, ASSIGNMENT.c.state, func.count())
    .where(
        ASSIGNMENT.c.annotator == bindparam("annotator"),
        ASSIGNMENT.c.criterion == bindparam("criterion"),
    )
    .group_by(ASSIGNMENT.c.kind, ASSIGNMENT.c.state)
)
IN_REACH = [ITEM.c.taken < ITEM.c.quota, *unmet("main")]
REMAINING = select(func.count(ITEM.c.caption.distinct())).where(*IN_REACH)
NEAREST = select(ITEM.c.id).where(*IN_REACH).order_by(ITEM.c.taken.desc(), ITEM.c.position).limit(CANDIDATES)
HELD = (
    select(ITEM.c.id)
    .where(
        *unmet("main"),
        select(ASSIGNMENT.c.id).where(ASSIGNMENT.c.item == ITEM.c.id, ASSIGNMENT.c.state == "reserved").exists(),
    )
    .limit(1)
)
UNSEEN: dict[str, sa.Select] = {
    kind: select(ITEM).where(*unmet(kind)).order_by(ITEM.c.position) for kind in ("attention", "practice")
}


def read_block(connection: Connection, settings: Settings, annotator: Annotator, criterion: str) -> Block:
    """Counts of an annotator's block."""
    of = {"annotator": annotator.id, "criterion": criterion}
    had: dict[tuple[str, str], int] = {(row[0], row[1]): row[2] for row in connection.execute(HAD, of)}
    answered = {kind: count for (kind, state), count in had.items() if state == "answered"}
    opened = had.get(("main", "reserved"), 0)
    remaining = connection.execute(REMAINING, of).scalar_one()
    if settings.most_per_annotator is not None:
        remaining = min(remaining, max(0, settings.most_per_annotator - answered.get("main", 0) - opened))
    return Block(criterion, answered, opened, remaining)


def held_by_others(connection: Connection, settings: Settings, annotator: Annotator, block: Block) -> bool:
    """Whether the annotator may still get an item if someone who has it now does not answer."""
    most = settings.most_per_annotator
    if most is not None and block.answered.get("main", 0) >= most:
        return False
    of = {"annotator": annotator.id, "criterion": block.criterion}
    return connection.execute(HELD, of).first() is not None


def lock_main(connection: Connection, study: Study, annotator: Annotator, block: Block) -> Row | None:
    """Locks a main item with a free slot; None if others hold all of them at this moment."""
    of = {"annotator": annotator.id, "criterion": block.criterion}
    found = list(connection.execute(NEAREST, of).scalars())
    turn = f"{study.seed} turn {annotator.number} {block.criterion} {block.answered.get('main', 0)}"
    random.Random(turn).shuffle(found)
    return next((row for id in found if (row := lock_item(connection, id)) is not None), None)


FREE = select(ITEM).where(ITEM.c.id == bindparam("id"), ITEM.c.taken < ITEM.c.quota)
LOCK_FREE = {wait: FREE.with_for_update(key_share=True, skip_locked=not wait) for wait in (False, True)}


def lock_item(connection: Connection, id: int, *, wait: bool = False) -> Row | None:
    """Locks an item that has a free slot; None if it is full, or held by another transaction."""
    return connection.execute(LOCK_FREE[wait], {"id": id}).first()


def unseen(connection: Connection, study: Study, annotator: Annotator, criterion: str, kind: Kind) -> Row | None:
    """A check or practice item that is new to the annotator, drawn by the seed."""
    found = connection.execute(UNSEEN[kind], {"annotator": annotator.id, "criterion": criterion}).all()
    draw = random.Random(f"{study.seed} {kind} {annotator.number} {criterion} {len(found)}")
    return draw.choice(found) if found else None


def to_repeat(connection: Connection, study: Study, annotator: Annotator, criterion: str, kind: Kind) -> Row | None:
    """An item that the annotator answered some time ago and was not shown again, drawn by the seed."""
    mine = [ASSIGNMENT.c.annotator == annotator.id, ASSIGNMENT.c.criterion == criterion]
    repeated = select(ASSIGNMENT.c.item).where(*mine, ASSIGNMENT.c.kind == kind)
    query = (
        select(ITEM)
        .join(ASSIGNMENT, ASSIGNMENT.c.item == ITEM.c.id)
        .join(ANSWER, ANSWER.c.assignment == ASSIGNMENT.c.id)
        .where(*mine, ASSIGNMENT.c.kind == "main", ANSWER.c.withdrawn_at.is_(None), ITEM.c.id.not_in(repeated))
        .order_by(ANSWER.c.id)
    )
    found = connection.execute(query).all()
    found = found[: max(1, len(found) - APART)] if len(found) > 1 else []
    draw = random.Random(f"{study.seed} repeat {annotator.number} {criterion} {len(found)}")
    return draw.choice(found) if found else None


RESERVE = sa.insert(ASSIGNMENT).returning(ASSIGNMENT)


def reserve(
    connection: Connection, study: Study, annotator: Annotator, item: Row, kind: Kind, clock: float, expires: float
) -> Row:
    """Gives an item to an annotator; a main item must be locked and have a free slot."""
    values: dict[str, Any] = {
        "key": secrets.token_urlsafe(12),
        "item": item.id,
        "annotator": annotator.id,
        "caption": item.caption,
        "criterion": item.criterion,
        "kind": kind,
        "state": "reserved",
        "slot": take_slot(connection, item) if kind == "main" else None,
        "shown_order": shown_order(study, item.id, annotator.number, kind, item.systems),
        "served": clock,
        "expires": expires,
    }
    return connection.execute(RESERVE, values).one()


SLOTS = select(ASSIGNMENT.c.slot).where(ASSIGNMENT.c.item == bindparam("id"), ASSIGNMENT.c.slot.is_not(None))
TAKE = sa.update(ITEM).where(ITEM.c.id == bindparam("of")).values(taken=ITEM.c.taken + 1)


def take_slot(connection: Connection, item: Row) -> int:
    """Takes the first free slot of a locked item."""
    used = set(connection.execute(SLOTS, {"id": item.id}).scalars())
    slot = next(slot for slot in range(item.quota) if slot not in used)
    connection.execute(TAKE, {"of": item.id})
    return slot


def release(connection: Connection, assignment: Row, state: Literal["released", "reported"]) -> None:
    """Takes an item back from an annotator."""
    connection.execute(sa.update(ASSIGNMENT).where(ASSIGNMENT.c.id == assignment.id).values(state=state, slot=None))
    if assignment.slot is not None:
        connection.execute(sa.update(ITEM).where(ITEM.c.id == assignment.item).values(taken=ITEM.c.taken - 1))


EXPIRED = (
    select(ASSIGNMENT)
    .where(ASSIGNMENT.c.state == "reserved", ASSIGNMENT.c.kind == "main", ASSIGNMENT.c.expires < bindparam("clock"))
    .order_by(ASSIGNMENT.c.item, ASSIGNMENT.c.id)
    .with_for_update(skip_locked=True)
)
OPEN = (
    select(ASSIGNMENT)
    .where(ASSIGNMENT.c.annotator == bindparam("annotator"), ASSIGNMENT.c.state.in_(("reserved", "released")))
    .order_by(ASSIGNMENT.c.id)
)


def release_expired(connection: Connection, clock: float) -> None:
    """Takes back the main items that were not answered in time."""
    for row in connection.execute(EXPIRED, {"clock": clock}).all():
        release(connection, row, "released")


def open_assignment(connection: Connection, annotator: Annotator, clock: float, expires: float) -> Row | None:
    """The annotator's oldest item without an answer, with its time renewed; or a free one that was taken back."""
    for row in connection.execute(OPEN, {"annotator": annotator.id}).all():
        if row.state == "reserved" or retake(connection, row, clock):
            change = sa.update(ASSIGNMENT).where(ASSIGNMENT.c.id == row.id).values(expires=expires)
            return connection.execute(change.returning(ASSIGNMENT)).one()
    return None


def retake(connection: Connection, assignment: Row, clock: float, *, wait: bool = False) -> bool:
    """Gives an item that was taken back to the same annotator again, if it has a free slot."""
    slot = None
    if assignment.kind == "main":
        item = lock_item(connection, assignment.item, wait=wait)
        if item is None:
            return False
        slot = take_slot(connection, item)
    change = sa.update(ASSIGNMENT).where(ASSIGNMENT.c.id == assignment.id)
    connection.execute(change.values(state="reserved", slot=slot, served=clock))
    return True


def set_block(connection: Connection, annotator: Annotator, at: int) -> None:
    """Records which block the annotator is in."""
    if at != annotator.block:
        connection.execute(sa.update(ANNOTATOR).where(ANNOTATOR.c.id == annotator.id).values(block=at))


PICTURES = select(PICTURE.c.system, PICTURE.c.name).where(PICTURE.c.caption == bindparam("caption"))
CAPTION_TEXT = select(CAPTION.c.caption).where(CAPTION.c.id == bindparam("caption"))


def task_step(
    connection: Connection, study: Study, settings: Settings, annotator: Annotator, block: Block, row: Row
) -> Step:
    """An assignment as the page shows it."""
    caption = {"caption": row.caption}
    names: dict[str, str] = {found[0]: found[1] for found in connection.execute(PICTURES, caption)}
    text = connection.execute(CAPTION_TEXT, caption).scalar_one() if row.criterion == "alignment" else None
    progress = progress_of(study, settings, annotator, block)
    pictures = [names[system] for system in row.shown_order]
    task = Task(row.key, row.criterion, row.kind == "practice", text, pictures, progress)
    return Step("task", task=task, criterion=row.criterion, progress=progress)


def progress_of(study: Study, settings: Settings, annotator: Annotator, block: Block) -> Progress:
    """The annotator's progress in a block; practice does not count."""
    done = sum(count for kind, count in block.answered.items() if kind != "practice")
    extras = sum(len(planned_places(study, settings, annotator, block, kind)) for kind in ("attention", "repeat"))
    order = block_order(study, annotator.number)
    total = max(block.main + extras, done)
    return Progress(done, total, order.index(block.criterion) + 1, len(order))
