"""A delivery for each object of a job: what was there are narratives."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# The first schema named its constraints by no rule of its own: PostgreSQL names them so, and SQLite has no name, so
# that alembic gives it one while it copies the table.
_OLD = {"postgresql": "deliveries_job_id_destination_key", "sqlite": "uq_deliveries_job_id"}
_NEW = "uq_deliveries_job_id_destination_role"
_NAMING = {"uq": "uq_%(table_name)s_%(column_0_name)s"}


def upgrade() -> None:
    """Add the role; one row for each job, destination and role."""
    with op.batch_alter_table("deliveries", naming_convention=_NAMING) as batch:
        batch.add_column(sa.Column("role", sa.String(length=16), nullable=False, server_default="narrative"))
        batch.drop_constraint(_OLD[op.get_bind().dialect.name], type_="unique")
        batch.create_unique_constraint(_NEW, ["job_id", "destination", "role"])
    with op.batch_alter_table("deliveries") as batch:
        batch.alter_column("role", server_default=None)
    # What an earlier version prepared has no volumes to measure on, and what it drafted was held against less: jobs on
    # the way begin again, unless an object of theirs may have arrived.
    op.execute(
        "UPDATE jobs SET stage = 'prepare', published_at = NULL, attempts = 0 "
        "WHERE stage IN ('infer', 'deliver') AND state IN ('queued', 'waiting') "
        "AND id NOT IN (SELECT job_id FROM deliveries)"
    )


def downgrade() -> None:
    """Keep the narratives alone."""
    op.execute("DELETE FROM deliveries WHERE role <> 'narrative'")
    with op.batch_alter_table("deliveries") as batch:
        batch.drop_constraint(_NEW, type_="unique")
        batch.drop_column("role")
        batch.create_unique_constraint(_OLD[op.get_bind().dialect.name], ["job_id", "destination"])
