"""One note may withdraw several results of a study."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add which job's delivery the note is. Until now every withdrawn job had one of its own."""
    op.add_column("retractions", sa.Column("note_job_id", sa.String(32), nullable=True))


def downgrade() -> None:
    """Drop it; a result that another job's note withdraws is then without a note of its own."""
    op.drop_column("retractions", "note_job_id")
