"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes all tables."""
    create_pictures()
    create_items()
    create_assignment()
    create_answers()


def create_pictures() -> None:
    """The study, its captions and pictures."""
    op.create_table(
        "caption",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("caption_id", sa.Text(), nullable=False),
        sa.Column("caption", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_caption")),
        sa.UniqueConstraint("caption_id", name=op.f("uq_caption_caption_id")),
    )
    op.create_table(
        "study",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("criteria", sa.JSON(), nullable=False),
        sa.Column("mode", sa.String(length=16), nullable=False),
        sa.Column("annotators_per_item", sa.Integer(), nullable=False),
        sa.Column("systems", sa.JSON(), nullable=False),
        sa.Column("exclusion", sa.JSON(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("admin_token_hash", sa.String(length=64), nullable=False),
        sa.Column("created", sa.String(length=40), nullable=False),
        sa.CheckConstraint("number = 1", name=op.f("ck_study_one")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_study")),
    )
    op.create_table(
        "picture",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("caption", sa.Integer(), nullable=False),
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["caption"], ["caption.id"], name=op.f("fk_picture_caption")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_picture")),
        sa.UniqueConstraint("caption", "system", name=op.f("uq_picture_caption_system")),
    )


def create_items() -> None:
    """Annotators and items."""
    op.create_table(
        "annotator",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("created", sa.String(length=40), nullable=False),
        sa.Column("consented", sa.String(length=40), nullable=True),
        sa.Column("introduced", sa.JSON(), nullable=False),
        sa.Column("block", sa.Integer(), server_default="0", nullable=False),
        sa.Column("closed", sa.String(length=40), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_annotator")),
        sa.UniqueConstraint("number", name=op.f("uq_annotator_number")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_annotator_token_hash")),
    )
    op.create_table(
        "item",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("caption", sa.Integer(), nullable=False),
        sa.Column("criterion", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("systems", sa.JSON(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("quota", sa.Integer(), nullable=False),
        sa.Column("taken", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("quota = 0 OR taken <= quota", name=op.f("ck_item_taken_within_quota")),
        sa.CheckConstraint("taken >= 0", name=op.f("ck_item_taken_not_negative")),
        sa.ForeignKeyConstraint(["caption"], ["caption.id"], name=op.f("fk_item_caption")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_item")),
    )
    op.create_index(
        op.f("ix_item_criterion_kind_taken_position"), "item", ["criterion", "kind", "taken", "position"], unique=False
    )


def create_assignment() -> None:
    """Who has which item."""
    op.create_table(
        "assignment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=32), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("annotator", sa.Integer(), nullable=False),
        sa.Column("caption", sa.Integer(), nullable=False),
        sa.Column("criterion", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=True),
        sa.Column("shown_order", sa.JSON(), nullable=False),
        sa.Column("served", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.CheckConstraint(
            "(slot IS NOT NULL) = (kind = 'main' AND state IN ('reserved', 'answered'))",
            name=op.f("ck_assignment_slot"),
        ),
        sa.ForeignKeyConstraint(["annotator"], ["annotator.id"], name=op.f("fk_assignment_annotator")),
        sa.ForeignKeyConstraint(["caption"], ["caption.id"], name=op.f("fk_assignment_caption")),
        sa.ForeignKeyConstraint(["item"], ["item.id"], name=op.f("fk_assignment_item")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assignment")),
        sa.UniqueConstraint(
            "annotator", "caption", "criterion", "kind", name=op.f("uq_assignment_annotator_caption_criterion_kind")
        ),
        sa.UniqueConstraint("item", "slot", name=op.f("uq_assignment_item_slot")),
        sa.UniqueConstraint("key", name=op.f("uq_assignment_key")),
    )
    op.create_index(op.f("ix_assignment_item"), "assignment", ["item"], unique=False)
    op.create_index(op.f("ix_assignment_state_expires"), "assignment", ["state", "expires"], unique=False)


def create_answers() -> None:
    """Answers, and pictures that did not load."""
    op.create_table(
        "answer",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("client_key", sa.String(length=64), nullable=False),
        sa.Column("assignment", sa.Integer(), nullable=False),
        sa.Column("ranking", sa.JSON(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("answered_at", sa.String(length=40), nullable=False),
        sa.Column("withdrawn_at", sa.String(length=40), nullable=True),
        sa.ForeignKeyConstraint(["assignment"], ["assignment.id"], name=op.f("fk_answer_assignment")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_answer")),
        sa.UniqueConstraint("client_key", name=op.f("uq_answer_client_key")),
    )
    op.create_index(op.f("ix_answer_assignment"), "answer", ["assignment"], unique=False)
    op.create_index(
        "uq_answer_standing",
        "answer",
        ["assignment"],
        unique=True,
        sqlite_where=sa.text("withdrawn_at IS NULL"),
        postgresql_where=sa.text("withdrawn_at IS NULL"),
    )
    op.create_table(
        "report",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("assignment", sa.Integer(), nullable=False),
        sa.Column("picture", sa.String(length=32), nullable=False),
        sa.Column("reported_at", sa.String(length=40), nullable=False),
        sa.Column("settled_at", sa.String(length=40), nullable=True),
        sa.ForeignKeyConstraint(["assignment"], ["assignment.id"], name=op.f("fk_report_assignment")),
        sa.ForeignKeyConstraint(["picture"], ["picture.name"], name=op.f("fk_report_picture")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report")),
    )


def downgrade() -> None:
    """Removes all tables."""
    op.drop_table("report")
    op.drop_table("answer")
    op.drop_table("assignment")
    op.drop_table("picture")
    op.drop_table("item")
    op.drop_table("study")
    op.drop_table("caption")
    op.drop_table("annotator")
