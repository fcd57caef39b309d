"""The event log: append, and nothing else."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy.orm import Session

from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.tables import Event


def append(
    session: Session, now: float, kind: str, text: str = "", study_id: int | None = None, job_id: str | None = None,
    data: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """Add an event within the caller's transaction, so that it is there exactly when what it tells of is."""
    session.add(Event(at=now, study_id=study_id, job_id=job_id, kind=kind, text=text, data=json.dumps(data or {})))


def note(database: Database, now: float, kind: str, text: str, data: dict[str, Any] | None = None) -> None:
    """Record something that belongs to no study, e.g. an association that sent nothing."""
    with database.transaction() as session:
        append(session, now, kind, text, data=data)
