"""Retention: which images and report objects were removed from the disk, when and why."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the marks and the journal. Nothing has been removed so far."""
    for table in ("studies", "instances", "deliveries"):
        op.add_column(table, sa.Column("removed_at", sa.Float(), nullable=True))
    op.create_table(
        "removals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("what", sa.String(length=16), nullable=False),
        sa.Column("why", sa.String(length=16), nullable=False),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_removals_study_id"), "removals", ["study_id"], unique=False)


def downgrade() -> None:
    """Drop them. An earlier version takes what was removed for lost."""
    op.drop_index(op.f("ix_removals_study_id"), table_name="removals")
    op.drop_table("removals")
    for table in ("deliveries", "instances", "studies"):
        op.drop_column(table, "removed_at")
