"""Notices that the wall clock was set back, while this process runs or before it started."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from pirtad.worker.ledger import clock
from pirtad.worker.ledger.database import Database

log = structlog.get_logger(__name__)

_TOLERANCE_S = 2.0  # chosen: less is slewing, or the time between two readings, and delays nothing that matters


class ClockWatch:
    """wall: POSIX seconds. steady: seconds that never go back."""

    def __init__(
        self, database: Database, wall: Callable[[], float], steady: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._wall = wall
        self._steady = steady
        self._expected: tuple[float, float] | None = None  # (wall, steady) when it was last looked at

    def look(self) -> None:
        """Shift the ledger's waiting times where the clock was set back since the last look."""
        now, steady = self._wall(), self._steady()
        if self._expected is None:
            newest = clock.newest_event_at(self._database)
            expected = now if newest is None else newest
        else:
            expected = self._expected[0] + steady - self._expected[1]
        if expected - now > _TOLERANCE_S:
            log.warning("the clock was set back", by_s=round(expected - now, 1))
            clock.set_back(self._database, expected - now, now)
        self._expected = (now, steady)
