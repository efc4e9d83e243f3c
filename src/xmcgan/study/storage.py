"""The store of a study: SQLite or PostgreSQL."""

from xmcgan.study.records import Answer, Study


def read_answers(database_url: str) -> tuple[Study, list[Answer]]:
    """The study of a database, and every answer that stands, in the order in which they were given.

    Raises:
        ValueError: if there is no study in it.
    """
    raise ValueError(f"{database_url} holds no study")
