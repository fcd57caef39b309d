"""What the queue page, /api/studies and `pirtad status` show, read at one moment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import redis

from pirtad.worker.contract import Stage, StudyState
from pirtad.worker.ledger import breakers, views
from pirtad.worker.ledger.breakers import Health
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
    destinations: list[Health] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "counts": {str(state): number for state, number in self.counts.items()},
            "queues": None if self.queues is None else {str(stage): n for stage, n in self.queues.items()},
            "studies": [asdict(study) for study in self.studies],
            "notices": [asdict(notice) for notice in self.notices],
            "destinations": [asdict(one) for one in self.destinations],
        }


def take(
    database: Database, client: redis.Redis, limit: int, states: Iterable[StudyState] = (), notices: int = 10,
    breaker_failures: int = 3,
) -> Snapshot:  # fmt: skip
    """Read it now. breaker_failures: after so many in a row a destination is down.

    SQLAlchemyError if the ledger can't be read.
    """
    return Snapshot(
        counts=views.counts(database),
        queues=lengths_or_none(client),
        studies=views.studies(database, limit, states),
        notices=views.notices(database, notices),
        destinations=breakers.all_health(database, breaker_failures),
    )


def lengths_or_none(client: redis.Redis) -> dict[Stage, int] | None:
    """Queue lengths, or None when the queue can't be reached."""
    try:
        return queue_lengths(client)
    except redis.RedisError:
        return None
