"""Early start, revised reports, priority: what was seen of a study, what a job is drafted from, and by when."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them. Studies and jobs that are there are routine, and nothing is known of their pair."""
    op.add_column("studies", sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("studies", sa.Column("priority_because", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("jobs", sa.Column("started_by", sa.String(length=16), nullable=False, server_default=""))
    op.add_column("jobs", sa.Column("used_key", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("jobs", sa.Column("revises", sa.String(length=32), nullable=True))
    for name in ("images_at", "due_at", "missed_at"):
        op.add_column("jobs", sa.Column(name, sa.Float(), nullable=True))
    op.create_table(
        "looks",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("seen_instance_id", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("is_clear", sa.Integer(), nullable=False),
        sa.Column("counts", sa.String(length=16), nullable=False),
        sa.Column("used_key", sa.String(length=64), nullable=False),
        sa.Column("used_at", sa.Float(), nullable=True),
        sa.Column("known_series", sa.Text(), nullable=False),
        sa.Column("plain_series", sa.Text(), nullable=False),
        sa.Column("reason_code", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"]),
        sa.PrimaryKeyConstraint("study_id"),
    )


def downgrade() -> None:
    """Drop them. A revised report that was delivered stays delivered; an earlier version does not know what it is."""
    op.drop_table("looks")
    for name in ("missed_at", "due_at", "images_at", "revises", "used_key", "started_by"):
        op.drop_column("jobs", name)
    op.drop_column("studies", "priority_because")
    op.drop_column("studies", "priority")
