"""Makes jobs of complete studies and messages of jobs, once every tick, from what the ledger says.

The ledger is the truth and the queue can be lost at any time. Everything here may be done twice: a job is opened once
for the same content, and a second message for a job changes nothing, since workers take jobs by a claim.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import redis
import structlog
from celery import Celery
from kombu.exceptions import OperationalError as QueueError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from pirtad.daemon.assembler import complete_studies
from pirtad.worker.ledger import jobs, receiving
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.owner import is_dead
from pirtad.worker.queue import epoch_is_new, publish, queue_lengths
from pirtad.worker.settings import AssemblySettings

log = structlog.get_logger(__name__)

LEDGER_TROUBLE = (OperationalError, InterfaceError, NoConnectionFree)
QUEUE_TROUBLE = (redis.RedisError, QueueError, OSError)

# Chosen: a queue that lost its last second of messages, and not its memory of us, is found out within a minute.
_LOST_MESSAGES_CHECK_S = 60.0


class Dispatcher:
    """`run` it in a thread of its own; the attributes may be read from others.

    last_ok_at: when ledger and queue last worked for a whole tick (POSIX seconds), or None.
    last_error: what is wrong since then; "" while all is well.
    """

    def __init__(
        self,
        assembly: AssemblySettings,
        database: Database,
        app: Celery,
        make_redis_client: Callable[[], redis.Redis],
        clock: Callable[[], float],
    ) -> None:
        self._assembly = assembly
        self._database = database
        self._app = app
        self._redis = make_redis_client()  # connects when it is first used, and again after a loss
        self._clock = clock
        self._must_rebuild = False
        self._checked_at: float | None = None
        self.last_ok_at: float | None = None
        self.last_error = ""

    def run(self, stop: threading.Event, interval_s: float = 0.5) -> None:
        """Tick until told to stop."""
        while not stop.is_set():
            self.tick()
            stop.wait(interval_s)

    def tick(self) -> None:
        """One pass. Trouble with ledger or queue ends it, is told once, and the next tick tries again."""
        try:
            self._open_jobs()
            self._rebuild_lost_queue()
            self._publish()
        except LEDGER_TROUBLE as error:
            self._failed(f"ledger: {type(error).__name__}")
        except QUEUE_TROUBLE as error:
            self._failed(f"queue: {type(error).__name__}")
        else:
            if self.last_error:
                log.info("dispatching again", after=self.last_error)
            self.last_error, self.last_ok_at = "", self._clock()

    def _open_jobs(self) -> None:
        now = self._clock()
        open_studies = receiving.open_studies(self._database)
        for study_uid in complete_studies(open_studies, self._assembly.waiting_times_s, now):
            outcome, job_id = receiving.open_job(self._database, study_uid, now)
            log.info("study complete", study_uid=study_uid, job_id=job_id, outcome=str(outcome))

    def _rebuild_lost_queue(self) -> None:
        """Have every job published again whose message the queue lost.

        Known by the epoch, a key that a wiped or new server lacks. And since a server that was killed may lose its
        last messages and keep the key, and this process may die between seeing the epoch and acting on it: by queues
        that are all empty while jobs count as published. A worker may hold such a message at that moment, and the
        second one then finds nothing to do.
        """
        # Kept in memory until the ledger took it, since the epoch says it only once.
        self._must_rebuild = epoch_is_new(self._redis) or self._must_rebuild
        now = self._clock()
        if self._is_check_due(now):
            self._must_rebuild = self._must_rebuild or not any(queue_lengths(self._redis).values())
            self._checked_at = now
        if self._must_rebuild:
            count = jobs.forget_published(self._database, now)
            self._must_rebuild = False
            if count:
                log.warning("queue rebuilt from the ledger", jobs=count)

    def _is_check_due(self, now: float) -> bool:
        return self._checked_at is None or not self._checked_at <= now < self._checked_at + _LOST_MESSAGES_CHECK_S

    def _publish(self) -> None:
        for message in jobs.publishable(self._database, self._clock(), is_dead):
            before = self._clock()
            # Published, then marked: a crash between the two makes a second message, which its claim makes harmless.
            # The other way round it would make none, and the study would wait for the next rebuilding.
            publish(self._app, message)
            jobs.mark_published(self._database, message, before)

    def _failed(self, what: str) -> None:
        if what != self.last_error:
            log.error("dispatching stopped, trying again at every tick", error=what)
        self.last_error = what
