"""The store of a study: SQLite (WAL, every commit on disk) or PostgreSQL, behind one set of tables.

A change is one transaction, ``writing``. In SQLite it takes the write lock at once, so it never fails half-way because
another writer came first; in PostgreSQL callers lock the rows that they change.
"""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, event, select
from sqlalchemy.exc import ArgumentError

from xmcgan.study.records import Answer, ExclusionRules, Study
from xmcgan.study.settings import Settings
from xmcgan.study.tables import ANNOTATOR, ANSWER, ASSIGNMENT, CAPTION, STUDY

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_SECONDS = 20


class Database(NamedTuple):
    """An open store, to be shared by the threads of a process."""

    engine: Engine
    turn: Lock  # SQLite has one writer: threads wait here in order of arrival, instead of in SQLite's polling

    @property
    def is_sqlite(self) -> bool:
        """Whether the store is SQLite."""
        return self.engine.dialect.name == "sqlite"


def sqlite_url(folder: Path) -> str:
    """The URL of a study's database unless another one is named."""
    return f"sqlite:///{(folder / 'study.sqlite').resolve()}"


def open_database(url: str) -> Database:
    """Opens a store; ``postgresql://`` means psycopg 3.

    Raises:
        ValueError: if the URL is for another kind of database, or cannot be read.
    """
    parsed = parse_url(url)
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("postgresql+psycopg", "sqlite"):
        raise ValueError(f"the database is {parsed.drivername}; it should be sqlite or postgresql")
    if parsed.drivername == "sqlite":
        engine = sa.create_engine(parsed, connect_args={"timeout": BUSY_SECONDS}, pool_size=40)
        event.listen(engine, "connect", prepare_sqlite)
        event.listen(engine, "begin", begin_sqlite)
    else:
        engine = sa.create_engine(parsed, pool_size=20, max_overflow=20, pool_pre_ping=True)
    return Database(engine, Lock())


def parse_url(url: str) -> sa.URL:
    """A database URL in its parts; an error does not repeat it, since it may hold a password."""
    try:
        return sa.make_url(url)
    except (ArgumentError, ValueError) as error:
        raise ValueError("the database URL cannot be read; it should be postgresql://USER@HOST/NAME") from error


def prepare_sqlite(connection: Any, record: object) -> None:
    """Makes an answer durable when its transaction is committed, and leaves BEGIN to us."""
    connection.isolation_level = None
    cursor = connection.cursor()
    for setting in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {setting}")
    cursor.close()


def begin_sqlite(connection: Connection) -> None:
    """Begins a transaction, with the write lock if something will be written."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def writing(database: Database) -> Generator[Connection]:
    """A transaction that changes something; committed, and on disk, when the block ends without an error."""
    if not database.is_sqlite:
        with database.engine.begin() as connection:
            yield connection
        return
    with database.turn, database.engine.connect().execution_options(writes=True) as connection, connection.begin():
        yield connection


@contextmanager
def reading(database: Database) -> Generator[Connection]:
    """A transaction that only reads, from one snapshot of the store."""
    with database.engine.connect() as connection:
        if not database.is_sqlite:
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection


def migrate(database: Database) -> bool:
    """Migrates the tables to this version; returns whether anything changed.

    Raises:
        ValueError: if the store was written by a later version.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with writing(database) as connection:
        if not database.is_sqlite:
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7201467)")  # one server at a time
        before = current_revision(connection)
        if before == ScriptDirectory.from_config(config).get_current_head():
            return False
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise ValueError(f"the study was written by a later version of xmcgan: {error}") from error
    return True


def current_revision(connection: Connection) -> str | None:
    """The version of the tables; None if there are none."""
    return MigrationContext.configure(connection).get_current_revision()


def read_study(connection: Connection) -> tuple[Study, Settings]:
    """The study of a store and its settings.

    Raises:
        ValueError: if there is none.
    """
    row = connection.execute(select(STUDY)).first() if sa.inspect(connection).has_table("study") else None
    if row is None:
        place = connection.engine.url.render_as_string(hide_password=True)
        raise ValueError(f"{place} holds no study; `xmcgan study create` makes one")
    study = Study(
        id=row.id,
        name=row.name,
        seed=row.seed,
        criteria=tuple(row.criteria),
        mode=row.mode,
        annotators_per_item=row.annotators_per_item,
        systems=tuple(row.systems),
        exclusion=ExclusionRules(**row.exclusion),
        created=row.created,
    )
    return study, Settings(**row.settings)


def read_answers(database_url: str) -> tuple[Study, list[Answer]]:
    """The study of a database, and every answer that was not undone, in the order in which they were given.

    Raises:
        ValueError: if there is no study in it.
    """
    url = parse_url(database_url)
    if url.drivername == "sqlite" and not Path(url.database or "").is_file():
        raise ValueError(f"{url.database} does not exist; `xmcgan study create` makes a study")
    database = open_database(database_url)
    try:
        with reading(database) as connection:
            return read_study(connection)[0], standing_answers(connection)
    finally:
        database.engine.dispose()


def standing_answers(connection: Connection) -> list[Answer]:
    """Every answer that was not undone, in the order in which they were given."""
    columns = (ASSIGNMENT.c.item, ASSIGNMENT.c.criterion, ASSIGNMENT.c.kind, ASSIGNMENT.c.shown_order)
    query = (
        select(
            *columns, CAPTION.c.caption_id, CAPTION.c.caption, ANNOTATOR.c.number,
            ANSWER.c.ranking, ANSWER.c.seconds, ANSWER.c.answered_at,
        )
        .join(ASSIGNMENT, ASSIGNMENT.c.id == ANSWER.c.assignment)
        .join(CAPTION, CAPTION.c.id == ASSIGNMENT.c.caption)
        .join(ANNOTATOR, ANNOTATOR.c.id == ASSIGNMENT.c.annotator)
        .where(ANSWER.c.withdrawn_at.is_(None))
        .order_by(ANSWER.c.id)
    )  # fmt: skip
    return [
        Answer(
            item_id=str(row.item),
            caption_id=row.caption_id,
            caption=row.caption,
            criterion=row.criterion,
            kind=row.kind,
            annotator=row.number,
            ranking=tuple(tuple(group) for group in row.ranking),
            shown_order=tuple(row.shown_order),
            seconds=row.seconds,
            answered_at=row.answered_at,
        )
        for row in connection.execute(query)
    ]


def now() -> str:
    """The current time, as stored: UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
