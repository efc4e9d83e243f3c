"""Both databases: every test that takes ``database_url`` runs on SQLite and on a real PostgreSQL."""

from uuid import uuid4

import pytest
import sqlalchemy as sa

import postgres as server


@pytest.fixture(scope="session")
def postgres_url():
    reason = server.missing()
    if reason:
        pytest.skip(reason)
    with server.postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'answers.sqlite'}"
    url = sa.make_url(request.getfixturevalue("postgres_url")).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url)
    name = f"study_{uuid4().hex}"  # a schema is made in a tenth of the time that a database takes
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {name}")
    engine.dispose()
    return url.update_query_dict({"options": f"-csearch_path={name}"}).render_as_string(hide_password=False)
