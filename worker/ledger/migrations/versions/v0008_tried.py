"""Deliveries of which it is not known whether they arrived."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the mark. Of attempts made before nothing is known, and nothing is said."""
    op.add_column("deliveries", sa.Column("tried_at", sa.Float(), nullable=True))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("deliveries", "tried_at")
