"""Claims: a job is worked on by whoever holds its claim, an owner's name and a lease that the owner renews.

Every change is made under that claim, so a message delivered twice, or a worker that comes back from the dead, changes
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from pirtad.worker.contract import JobMessage, JobState, Stage, StudyState
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.events import append
from pirtad.worker.ledger.job_rows import locked, set_study_state
from pirtad.worker.ledger.priority import turn
from pirtad.worker.ledger.tables import Instance, Job, JobInstance, Study


class ClaimLost(Exception):
    """The job is no longer this owner's: cancelled, superseded, or taken over after the lease ran out."""


@dataclass(frozen=True, slots=True)
class JobFile:
    """One instance a job was opened on."""

    sop_instance_uid: str
    sha256: str
    path: str  # relative to the data directory


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """A job in its owner's hands."""

    job_id: str
    job_key: str
    study_uid: str
    stage: Stage
    attempt: int  # 1 for the first
    failures: int  # earlier attempts at this stage that ended in a dead worker or an unforeseen error
    owner: str
    opened_at: float
    files: tuple[JobFile, ...]


def claim(
    database: Database, message: JobMessage, owner: str, now: float, lease_s: float, is_dead: Callable[[str], bool]
) -> ClaimedJob | None:
    """Take a job for one attempt at the message's stage: the one whose turn it is; None if there is none.

    A message says that there is work at a stage, not whose turn it is: that may have changed while it lay in the queue.
    The message of the job that is taken instead finds the one that this message was sent for; where it has none yet,
    that one gets another message.
    """
    with database.transaction() as session:
        job = _next_job(session, message, now, is_dead)
        if job is None:
            return None
        if job.state == JobState.RUNNING:
            count_lost_owner(session, job, now)
        if job.id != message.job_id and job.published_at is None:
            _miss_message(session, message)
        job.state, job.owner, job.lease_until = JobState.RUNNING, owner, now + lease_s
        job.published_at = None
        job.attempts += 1
        set_study_state(session, job, StudyState.RUNNING)
        append(session, now, "started", f"{job.stage}, attempt {job.attempts}", job.study_id, job.id)
        study = session.get_one(Study, job.study_id)
        files = session.scalars(
            select(Instance)
            .join(JobInstance, JobInstance.instance_id == Instance.id)
            .where(JobInstance.job_id == job.id)
        )
        return ClaimedJob(
            job_id=job.id,
            job_key=job.job_key,
            study_uid=study.study_uid,
            stage=Stage(job.stage),
            attempt=job.attempts,
            failures=job.failures,
            owner=owner,
            opened_at=job.created_at,
            files=tuple(JobFile(file.sop_instance_uid, file.sha256, file.path) for file in files),
        )


def _next_job(session: Session, message: JobMessage, now: float, is_dead: Callable[[str], bool]) -> Job | None:
    """The first, locked, of the jobs that wait at the stage and of the message's own, whose owner may be dead."""
    waits = Job.state.in_((JobState.QUEUED, JobState.WAITING)) & (Job.next_attempt_at <= now)
    in_turn = session.scalars(
        select(Job.id)
        .join(Study, Study.id == Job.study_id)
        .where(Job.stage == message.stage, or_(waits, Job.id == message.job_id))
        .order_by(turn(), Job.id)
    ).all()
    for job_id in in_turn:
        # Between the list and the lock another worker may have taken it.
        job = locked(session, job_id)
        if job is not None and _is_free(job, message.stage, now, is_dead):
            return job
    return None


def _miss_message(session: Session, message: JobMessage) -> None:
    """Its message was used up for another job."""
    waits = Job.state.in_((JobState.QUEUED, JobState.WAITING)) & (Job.stage == message.stage)
    session.execute(update(Job).where(Job.id == message.job_id, waits).values(published_at=None))


def _is_free(job: Job, stage: Stage, now: float, is_dead: Callable[[str], bool]) -> bool:
    if job.stage != stage:
        return False
    if job.state == JobState.RUNNING:
        return not lease_holds(job, now, is_dead)
    return job.state == JobState.QUEUED or (job.state == JobState.WAITING and job.next_attempt_at <= now)


def renew(database: Database, claimed: ClaimedJob, now: float, lease_s: float) -> None:
    """Prolong the lease; `ClaimLost` if the job is another's by now."""
    with database.transaction() as session:
        owned(session, claimed).lease_until = now + lease_s


@contextmanager
def holding(database: Database, claimed: ClaimedJob) -> Iterator[None]:
    """Nobody takes the job over while the block runs, which is to be short; `ClaimLost` if somebody has."""
    with database.transaction() as session:
        owned(session, claimed)
        yield


def owned(session: Session, claimed: ClaimedJob) -> Job:
    """The job, locked, while its claim holds; `ClaimLost` otherwise."""
    job = locked(session, claimed.job_id)
    if (
        job is None
        or (job.state, job.owner) != (JobState.RUNNING, claimed.owner)
        or (job.stage, job.attempts) != (claimed.stage, claimed.attempt)
    ):
        raise ClaimLost(f"job {claimed.job_id} at {claimed.stage} is no longer {claimed.owner}'s")
    return job


def lease_holds(job: Job, now: float, is_dead: Callable[[str], bool]) -> bool:
    """Whether a running job is still its owner's."""
    silent = job.lease_until is None or job.lease_until < now
    return not silent and job.owner is not None and not is_dead(job.owner)


def count_lost_owner(session: Session, job: Job, now: float) -> None:
    """A running job's owner is gone: that is a failure of the job's, on record."""
    job.failures += 1
    job.last_error = f"the worker process died at {job.stage}"
    append(session, now, "owner_lost", f"{job.owner} is gone at {job.stage}; taken back", job.study_id, job.id)
