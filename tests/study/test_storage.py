"""The store: migrations give the tables, a commit is on disk, and both databases read alike."""

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from studies import answer, make_study, new_tokens, step, undo_last
from xmcgan.study.raw_answers import from_json, to_csv, to_json
from xmcgan.study.storage import MIGRATIONS, migrate, open_database, read_answers, read_study, reading, writing
from xmcgan.study.tables import ANSWER, METADATA


@pytest.fixture
def database(database_url):
    opened = open_database(database_url)
    yield opened
    opened.engine.dispose()


def test_migrations_make_the_tables(database):
    assert migrate(database)
    assert not migrate(database)
    with reading(database) as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
        assert sa.inspect(connection).has_table("assignment")


def test_migrations_can_be_taken_back(database):
    migrate(database)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with writing(database) as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    with reading(database) as connection:
        assert set(sa.inspect(connection).get_table_names()) <= {"alembic_version"}
    assert migrate(database)


def test_a_later_version_is_refused(database):
    migrate(database)
    with writing(database) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'later'")
    with pytest.raises(ValueError, match="written by a later version"):
        migrate(database)


def test_sqlite_commits_are_on_disk(tmp_path):
    database = open_database(f"sqlite:///{tmp_path / 'study.sqlite'}")
    with reading(database) as connection:
        settings = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in
                    ("journal_mode", "synchronous", "foreign_keys")]  # fmt: skip
    assert settings == ["wal", 2, 1]  # 2 is FULL


def test_what_was_answered_is_read(tmp_path, database_url, database):
    make_study(tmp_path, database_url, captions=3, criteria=("alignment",), links=0)
    (token,) = new_tokens(database, 1)
    first = step(database, token).task
    answer(database, token, first.key, [[3], [1], [0], [2]], seconds=1e6)
    second = step(database, token).task
    answer(database, token, second.key)
    assert undo_last(database, token)
    study, answers = read_answers(database_url)
    (only,) = answers
    assert only.ranking == tuple((only.shown_order[at],) for at in (3, 1, 0, 2))
    assert only.caption == first.caption
    assert only.annotator == 1
    assert only.seconds < 60  # no more than the server saw pass
    assert from_json(to_json(study, answers)) == (study, answers)
    assert ">".join(group[0] for group in only.ranking) in to_csv(answers)
    with reading(database) as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(ANSWER)).scalar_one() == 2  # one was undone


def test_a_database_holds_one_study(tmp_path, database_url):
    make_study(tmp_path, database_url, captions=2)
    (tmp_path / "more").mkdir()
    with pytest.raises(ValueError, match="holds a study already"):
        make_study(tmp_path / "more", database_url, captions=2)
    assert not (tmp_path / "more" / "study").exists()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://host/name", "the database is mysql; it should be sqlite or postgresql"),
        ("not a url", "the database URL cannot be read"),
        ("sqlite:////nowhere/study.sqlite", "/nowhere/study.sqlite does not exist"),
    ],
)
def test_a_wrong_url(url, message):
    with pytest.raises(ValueError, match=message):
        read_answers(url)


def test_an_error_does_not_show_a_password():
    with pytest.raises(ValueError, match="cannot be read") as error:
        read_answers("postgresql://user:secret@host:port/name")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("name", ["postgresql", "postgres", "postgresql+psycopg"])
def test_postgresql_means_psycopg_3(name):
    database = open_database(f"{name}://user:secret@host/name")
    assert database.engine.url.drivername == "postgresql+psycopg"
    assert not database.is_sqlite


@pytest.mark.parametrize("tables", [False, True])
def test_a_database_without_a_study_is_named(database, tables):
    if tables:
        migrate(database)
    place = database.engine.url.render_as_string(hide_password=True)
    with (
        reading(database) as connection,
        pytest.raises(ValueError, match="holds no study; `xmcgan study create`") as error,
    ):
        read_study(connection)
    assert str(error.value).startswith(place)
