"""Alembic environment: runs on the connection that `open_ledger` hands over."""

from __future__ import annotations

from alembic import context

from pirtad.worker.ledger.tables import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
