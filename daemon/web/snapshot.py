"""What the queue page, /api/studies and `pirtad status` show, read at one moment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import redis

from pirtad.worker.contract import Stage, StudyState
from pirtad.worker.ledger import views
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.views import EventView, StudyView
from pirtad.worker.queue import queue_lengths


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Studies (newest first), their number by state, queue lengths (None: not reachable), latest notices first."""

    counts: dict[StudyState, int]
    queues: dict[Stage, int] | None
    studies: list[StudyView]
    notices: list[EventView]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "counts": {str(state): number for state, number in self.counts.items()},
            "queues": None if self.queues is None else {str(stage): n for stage, n in self.queues.items()},
            "studies": [asdict(study) for study in self.studies],
            "notices": [asdict(notice) for notice in self.notices],
        }


def take(
    database: Database, client: redis.Redis, limit: int, states: Iterable[StudyState] = (), notices: int = 10
) -> Snapshot:
    """Read it now. SQLAlchemyError if the ledger can't be read."""
    return Snapshot(
        counts=views.counts(database),
        queues=lengths_or_none(client),
        studies=views.studies(database, limit, states),
        notices=views.notices(database, notices),
    )


def lengths_or_none(client: redis.Redis) -> dict[Stage, int] | None:
    """Queue lengths, or None when the queue can't be reached."""
    try:
        return queue_lengths(client)
    except redis.RedisError:
        return None
