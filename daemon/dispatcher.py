"""Makes jobs of complete studies and messages of jobs, once every tick, from what the ledger says.

Studies that are still being received are looked at in between, by a worker that knows what an image means.

The ledger is the truth and the queue can be lost at any time. Everything here may be done twice: a job is opened once
for the same content, and a second message for a job changes nothing, since workers take jobs by a claim.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import redis
import structlog
from celery import Celery
from kombu.exceptions import OperationalError as QueueError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from pirtad.daemon.arrivals import Arrivals
from pirtad.daemon.assembler import Decision, Patience, Step, decide
from pirtad.daemon.clock_watch import ClockWatch
from pirtad.worker.contract import LookMessage, StartedBy
from pirtad.worker.ledger import priority, publishing, receiving
from pirtad.worker.ledger.clock import UNBOUNDED, Longest
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.owner import is_dead
from pirtad.worker.ledger.receiving import Opening, OpenStudy
from pirtad.worker.priority_settings import PrioritySettings
from pirtad.worker.queue import epoch_is_new, publish, publish_look, queue_lengths
from pirtad.worker.settings import AssemblySettings

log = structlog.get_logger(__name__)

LEDGER_TROUBLE = (OperationalError, InterfaceError, NoConnectionFree)
QUEUE_TROUBLE = (redis.RedisError, QueueError, OSError)

# Chosen: a queue that lost its last second of messages, and not its memory of us, is found out within a minute.
_LOST_MESSAGES_CHECK_S = 60.0
# Chosen: an answered look is followed by another a second later at the soonest; one that is not answered may be lost.
_LOOK_EVERY_S = 1.0
_LOOK_LOST_AFTER_S = 15.0
_OVERDUE_CHECK_S = 5.0


@dataclass(frozen=True, slots=True)
class _AskedLook:
    """A look that was asked for at a time, and when the look before it was taken."""

    at: float
    before_at: float | None


class Dispatcher:
    """`run` it in a thread of its own; the attributes may be read from others.

    unregistered: (study, series) of received images that are not in the ledger yet.
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
        arrivals: Arrivals | None = None,
        urgency: PrioritySettings = PrioritySettings(),  # noqa: B008 - frozen
        clock_watch: ClockWatch | None = None,
        longest: Longest = UNBOUNDED,
        unregistered: Callable[[], frozenset[tuple[str, str]]] = frozenset,
    ) -> None:
        self._unregistered = unregistered
        self._arrivals = arrivals or Arrivals()
        self._urgency = urgency
        self._wanted_looks: list[OpenStudy] = []
        self._looks: dict[str, _AskedLook] = {}
        self._overdue_checked_at: float | None = None
        self._assembly = assembly
        self._database = database
        self._app = app
        self._redis = make_redis_client()  # connects when it is first used, and again after a loss
        self._clock = clock
        self._clock_watch = clock_watch
        self._longest = longest
        self._must_rebuild = False
        self._checked_at: float | None = None
        self.last_ok_at: float | None = None
        self.last_error = ""

    def run(self, stop: threading.Event, interval_s: float = 0.25) -> None:
        """Tick until told to stop."""
        while not stop.is_set():
            self.tick()
            stop.wait(interval_s)

    def tick(self) -> None:
        """One pass. Trouble with ledger or queue ends it, is told once, and the next tick tries again."""
        try:
            if self._clock_watch is not None:
                self._clock_watch.look()
            self._open_jobs()
            self._rebuild_lost_queue()
            self._publish()
            self._ask_for_looks()
            self._tell_overdue()
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
        by_uid = {study.study_uid: study for study in open_studies}
        self._arrivals.forget_all_but(frozenset(by_uid), now)
        self._looks = {uid: asked for uid, asked in self._looks.items() if uid in by_uid}
        for study in open_studies:
            self._see_priority(study, now)
        decisions = decide(
            open_studies,
            self._patience_with,
            lambda study: self._arrivals.of(study.study_uid, study.open_since),
            now,
        )
        # Looks are asked for last: without a queue, jobs must be opened all the same.
        self._wanted_looks = [by_uid[one.study_uid] for one in decisions if one.step is Step.LOOK]
        starts = [one for one in decisions if one.step is Step.START]
        # Asked for after the ledger: what is registered in between is seen when the job is opened.
        behind = self._unregistered() if starts else frozenset()
        for decision in starts:
            study = by_uid[decision.study_uid]
            if not _is_behind(decision, study, behind):
                self._start(decision, study, now)

    def _see_priority(self, study: OpenStudy, now: float) -> None:
        is_high = self._arrivals.of(study.study_uid, study.open_since).is_urgent
        level, because = self._urgency.of_arrival(study.calling_ae, is_dimse_high=is_high)
        if level > study.priority and not study.is_priority_settled:
            priority.set_priority(
                self._database, study.study_uid, level, because, self._urgency.objective_s(level), now
            )

    def _patience_with(self, calling_ae: str) -> Patience:
        quiet_period_s, hard_cap_s = self._assembly.waiting_times_s(calling_ae)
        together = self._assembly.keeps_series_together(calling_ae)
        return Patience(quiet_period_s, hard_cap_s, self._assembly.early_start, together)

    def _start(self, decision: Decision, study: OpenStudy, now: float) -> None:
        started_by = decision.started_by or StartedBy.QUIET
        quiet_since = study.last_received_at if started_by is StartedBy.QUIET else None
        opening = Opening(started_by, self._urgency.objectives_s, quiet_since)
        outcome, job_id = receiving.open_job(self._database, decision.study_uid, now, opening)
        log.info(
            "study complete", study_uid=decision.study_uid, job_id=job_id, outcome=str(outcome),
            started_by=str(opening.started_by),
        )  # fmt: skip

    def _ask_for_looks(self) -> None:
        for study in self._wanted_looks:
            self._look(study, self._clock())

    def _look(self, study: OpenStudy, now: float) -> None:
        """Ask for a look, unless one is under way or was just taken; what is asked for is kept in memory alone."""
        asked = self._looks.get(study.study_uid)
        if asked is not None:
            is_answered = study.look is not None and study.look.at != asked.before_at
            wait_s = _LOOK_EVERY_S if is_answered else _LOOK_LOST_AFTER_S
            if asked.at <= now < asked.at + wait_s:
                return
        publish_look(self._app, LookMessage(study.study_uid))
        self._looks[study.study_uid] = _AskedLook(now, None if study.look is None else study.look.at)

    def _tell_overdue(self) -> None:
        now = self._clock()
        last = self._overdue_checked_at
        if last is not None and last <= now < last + _OVERDUE_CHECK_S:
            return
        for study_uid in priority.mark_missed(self._database, now):
            log.warning("no report in time", study_uid=study_uid)
        self._overdue_checked_at = now

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
            count = publishing.forget_published(self._database, now)
            self._must_rebuild = False
            if count:
                log.warning("queue rebuilt from the ledger", jobs=count)

    def _is_check_due(self, now: float) -> bool:
        return self._checked_at is None or not self._checked_at <= now < self._checked_at + _LOST_MESSAGES_CHECK_S

    def _publish(self) -> None:
        for message in publishing.publishable(self._database, self._clock(), is_dead, self._longest):
            before = self._clock()
            # Published, then marked: a crash between the two makes a second message, which its claim makes harmless.
            # The other way round it would make none, and the study would wait for the next rebuilding.
            publish(self._app, message)
            publishing.mark_published(self._database, message, before)

    def _failed(self, what: str) -> None:
        if what != self.last_error:
            log.error("dispatching stopped, trying again at every tick", error=what)
        self.last_error = what


def _is_behind(decision: Decision, study: OpenStudy, behind: frozenset[tuple[str, str]]) -> bool:
    """Whether images that the ledger does not know yet speak against a start: the ledger was away, or is slow."""
    series = {series_uid for study_uid, series_uid in behind if study_uid == study.study_uid}
    if decision.started_by is StartedBy.CAP:
        return False
    if decision.started_by is StartedBy.WHOLE and study.look is not None:
        return not series <= study.look.plain_series
    return bool(series)
