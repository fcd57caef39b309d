"""Withdrawn results: who asked for what is told by the events, why by a row of its own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "retractions",
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"]),
        sa.PrimaryKeyConstraint("job_id"),
    )


def downgrade() -> None:
    """Drop it. To an earlier version a withdrawn result is a delivered one; what it withdrew stays in the events."""
    op.execute(
        "UPDATE jobs SET state = 'done', owner = NULL, lease_until = NULL, "
        "finished_at = COALESCE(finished_at, created_at) WHERE id IN (SELECT job_id FROM retractions)"
    )
    op.execute(
        "UPDATE studies SET state = 'reported', reason_code = '', reason = '', hint = '' "
        "WHERE state IN ('withdrawing', 'withdrawn')"
    )
    op.execute("DELETE FROM deliveries WHERE role = 'retraction'")
    op.drop_table("retractions")
