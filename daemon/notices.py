"""Events that belong to no study, at a bounded rate: a peer that misbehaves for days must not fill the ledger."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError

from pirtad.worker.ledger import events
from pirtad.worker.ledger.database import Database

log = structlog.get_logger(__name__)

# Chosen: enough to see each of a morning's failed tests, and at most 43,000 rows a day of one kind.
_MAX_PER_WINDOW = 30
_WINDOW_S = 60.0


class Notices:
    """Writes them to the log and the ledger; beyond 30 a minute of one kind they are counted and left out."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[str, _Window] = {}  # by kind; the kinds are ours, so this stays small

    def note(self, kind: str, text: str) -> None:
        """Record what happened; trouble with the ledger is logged and stops nobody."""
        now = self._clock()
        with self._lock:
            window = self._windows.get(kind)
            if window is None or not window.began_at <= now < window.began_at + _WINDOW_S:
                left_out = 0 if window is None else max(0, window.count - _MAX_PER_WINDOW)
                window = self._windows[kind] = _Window(now)
            else:
                left_out = 0
            window.count += 1
            if window.count > _MAX_PER_WINDOW:
                return
        log.warning(text, kind=kind, left_out_before=left_out)
        try:
            events.note(self._database, now, kind, text, {"left_out_before": left_out} if left_out else None)
        except SQLAlchemyError as error:
            log.error("notice not recorded", kind=kind, error=type(error).__name__)


class _Window:
    def __init__(self, began_at: float) -> None:
        self.began_at = began_at
        self.count = 0
