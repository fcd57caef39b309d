"""Registry facts that the hospital gives for a study."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add their table. A study need not be known yet, so its UID is no foreign key."""
    op.create_table(
        "registry_facts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("given_at", sa.Float(), nullable=False),
        sa.Column("given_by", sa.String(length=64), nullable=False),
        sa.Column("via", sa.String(length=16), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_registry_facts_study_uid"), "registry_facts", ["study_uid"], unique=False)


def downgrade() -> None:
    """Forget them."""
    op.drop_index(op.f("ix_registry_facts_study_uid"), table_name="registry_facts")
    op.drop_table("registry_facts")
