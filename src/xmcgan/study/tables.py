"""The tables of a study, alike in SQLite and PostgreSQL. A change here needs a migration in ``migrations/versions``.

Two rules of the paper's setting are constraints, so that no race can break them: an item gets at most its number of
annotators (``slot``), and an annotator sees a caption only once within a criterion.
"""

from sqlalchemy import (
    JSON,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

STUDY = Table(
    "study",
    METADATA,
    Column("number", Integer, primary_key=True),  # 1: a database holds one study
    Column("id", String(64), nullable=False),
    Column("name", Text, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("criteria", JSON, nullable=False),
    Column("mode", String(16), nullable=False),
    Column("annotators_per_item", Integer, nullable=False),
    Column("systems", JSON, nullable=False),
    Column("exclusion", JSON, nullable=False),
    Column("settings", JSON, nullable=False),
    Column("admin_token_hash", String(64), nullable=False),
    Column("created", String(40), nullable=False),
    CheckConstraint("number = 1", name="one"),
)

CAPTION = Table(
    "caption",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("caption_id", Text, nullable=False, unique=True),
    Column("caption", Text, nullable=False),
)

PICTURE = Table(
    "picture",
    METADATA,
    Column("name", String(32), primary_key=True),  # random: the file is NAME.png
    Column("caption", ForeignKey("caption.id"), nullable=False),
    Column("system", Text, nullable=False),  # or REFERENCE, noise-1, ...
    Column("sha256", String(64), nullable=False),
    UniqueConstraint("caption", "system"),
)

ITEM = Table(
    "item",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("caption", ForeignKey("caption.id"), nullable=False),
    Column("criterion", String(32), nullable=False),
    Column("kind", String(16), nullable=False),  # main, attention or practice
    Column("systems", JSON, nullable=False),
    Column("position", Integer, nullable=False),  # the seeded order of the study
    Column("quota", Integer, nullable=False),  # slots; 0: every annotator may have it (attention, practice)
    Column("taken", Integer, nullable=False, server_default="0"),  # slots in use: reserved or answered
    CheckConstraint("quota = 0 OR taken <= quota", name="taken_within_quota"),
    CheckConstraint("taken >= 0", name="taken_not_negative"),
    Index(None, "criterion", "kind", "taken", "position"),
)

ANNOTATOR = Table(
    "annotator",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("number", Integer, nullable=False, unique=True),  # the pseudonym, from 1
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("created", String(40), nullable=False),
    Column("consented", String(40)),
    Column("introduced", JSON, nullable=False),  # criteria whose instructions were read
    Column("block", Integer, nullable=False, server_default="0"),  # position in the annotator's order of criteria
    Column("closed", String(40)),  # when the administrator closed the link
)

ASSIGNMENT = Table(
    "assignment",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("key", String(32), nullable=False, unique=True),  # random: the page's name for it
    Column("item", ForeignKey("item.id"), nullable=False, index=True),
    Column("annotator", ForeignKey("annotator.id"), nullable=False),
    Column("caption", ForeignKey("caption.id"), nullable=False),
    Column("criterion", String(32), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False),  # reserved, answered, released or reported
    Column("slot", Integer),  # of main items while reserved or answered; else null
    Column("shown_order", JSON, nullable=False),
    Column("served", Double, nullable=False),  # when it was first shown, in seconds since 1970
    Column("expires", Double, nullable=False),  # when it goes to someone else, likewise
    UniqueConstraint("item", "slot"),
    UniqueConstraint("annotator", "caption", "criterion", "kind"),
    Index(None, "state", "expires"),
    CheckConstraint("(slot IS NOT NULL) = (kind = 'main' AND state IN ('reserved', 'answered'))", name="slot"),
)

ANSWER = Table(
    "answer",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("client_key", String(64), nullable=False, unique=True),
    Column("assignment", ForeignKey("assignment.id"), nullable=False, index=True),
    Column("ranking", JSON, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("answered_at", String(40), nullable=False),
    Column("withdrawn_at", String(40)),  # undone by the annotator; the row stays
    Index(
        "uq_answer_standing",
        "assignment",
        unique=True,
        sqlite_where=text("withdrawn_at IS NULL"),
        postgresql_where=text("withdrawn_at IS NULL"),
    ),
)

REPORT = Table(
    "report",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("assignment", ForeignKey("assignment.id"), nullable=False),
    Column("picture", ForeignKey("picture.name"), nullable=False),
    Column("reported_at", String(40), nullable=False),
    Column("settled_at", String(40)),
)
