"""A study's urgency through the API: a stroke team's system says STAT before a person could.

Nobody is asked for a password here, as on all of the page.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from fastapi import FastAPI, HTTPException, Request

from pirtad.worker.contract import Priority
from pirtad.worker.ledger import priority
from pirtad.worker.ledger.database import Database
from pirtad.worker.priority_settings import PrioritySettings


def add_priority(app: FastAPI, database: Database, urgency: PrioritySettings, clock: Callable[[], float]) -> None:
    """Register PUT of a study's priority."""

    @app.put("/api/studies/{study_uid}/priority/{level}")
    def set_priority(study_uid: str, level: Literal["stat", "routine"], request: Request) -> dict[str, Any]:
        wanted = Priority[level.upper()]
        who = request.client.host if request.client is not None else "unknown"
        because = f"{priority.BY_OPERATOR} {who} (api)"
        changed = priority.set_priority(database, study_uid, wanted, because, urgency.objective_s(wanted), clock())
        if not changed and not priority.is_known(database, study_uid):
            raise HTTPException(404, "This study is not known here.")
        return {"study_uid": study_uid, "priority": level, "changed": changed}
