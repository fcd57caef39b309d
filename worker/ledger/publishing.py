"""The ledger's side of the dispatcher: which jobs need a message in the queue."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import or_, select

from pirtad.worker.contract import JobMessage, JobState, Stage, StudyState
from pirtad.worker.ledger.claiming import count_lost_owner, lease_holds
from pirtad.worker.ledger.clock import UNBOUNDED, Longest, mend
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.events import append
from pirtad.worker.ledger.job_rows import locked, set_study_state
from pirtad.worker.ledger.priority import turn
from pirtad.worker.ledger.tables import Job, Study

# A message this old is taken for lost, e.g. with a worker that died holding it. If it is not, the second one does
# nothing. Chosen: longer than most queues, shorter than a stroke team's patience.
REPUBLISH_AFTER_S = 300.0


def publishable(
    database: Database, now: float, is_dead: Callable[[str], bool], longest: Longest = UNBOUNDED
) -> list[JobMessage]:
    """Jobs that should have a message in the queue and have none; jobs whose owner is gone are freed first.

    Times further ahead than `longest` allows are mended before (`clock.mend`).
    """
    with database.transaction() as session:
        mend(session, now, longest)
        running = session.scalars(select(Job).where(Job.state == JobState.RUNNING)).all()
        for seen in running:
            if lease_holds(seen, now, is_dead):
                continue
            job = locked(session, seen.id)
            if job is not None and job.state == JobState.RUNNING and not lease_holds(job, now, is_dead):
                count_lost_owner(session, job, now)
                job.state, job.owner, job.lease_until = JobState.QUEUED, None, None
                job.published_at, job.next_attempt_at = None, now
                set_study_state(session, job, StudyState.QUEUED)
        session.flush()
        ready = session.scalars(
            select(Job)
            .where(
                Job.state.in_((JobState.QUEUED, JobState.WAITING)),
                or_(Job.published_at.is_(None), Job.published_at < now - REPUBLISH_AFTER_S),
                Job.next_attempt_at <= now,
            )
            .join(Study, Study.id == Job.study_id)
            .order_by(turn(), Job.id)
        )
        return [JobMessage(job.id, Stage(job.stage)) for job in ready]


def mark_published(database: Database, message: JobMessage, now: float) -> None:
    """Remember that a message for this stage is in the queue; `now` is the moment before it was published.

    A worker may have taken the message up by now: a job that moved on since (its next attempt, another stage) has no
    message and is left unmarked.
    """
    with database.transaction() as session:
        job = locked(session, message.job_id)
        if job is None:
            return
        waits = job.stage == message.stage and job.state in (JobState.QUEUED, JobState.WAITING)
        if waits and job.next_attempt_at <= now:
            job.published_at = now


def forget_published(database: Database, now: float) -> int:
    """The queue was lost: every unfinished job needs a message again. Returns how many."""
    with database.transaction() as session:
        jobs = list(
            session.scalars(
                select(Job).where(Job.state.in_((JobState.QUEUED, JobState.WAITING)), Job.published_at.is_not(None))
            )
        )
        for job in jobs:
            job.published_at = None
        if jobs:
            append(session, now, "queue_rebuilt", f"{len(jobs)} messages had been lost with the queue")
        return len(jobs)
