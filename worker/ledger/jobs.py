"""The ledger's working side: claims, progress and endings of jobs.

A job is worked on by whoever holds its claim: an owner's name and a lease that the owner renews. Every change is made
under that claim, so a message delivered twice, or a worker that comes back from the dead, changes nothing.

Every transaction locks the study's row before the job's: two that took them in turn would wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from pirtad.worker.contract import SHELVED, UNFINISHED, JobMessage, JobState, Stage, StudyState
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.events import append
from pirtad.worker.ledger.receiving import is_partly_delivered, queue_again
from pirtad.worker.ledger.tables import Delivery, Instance, Job, JobInstance, Study

# A message this old is taken for lost, e.g. with a worker that died holding it. If it is not, the second one does
# nothing. Chosen: longer than most queues, shorter than a stroke team's patience.
REPUBLISH_AFTER_S = 300.0


class ClaimLost(Exception):
    """The job is no longer this owner's: cancelled, superseded, or taken over after the lease ran out."""


class NotPossible(Exception):
    """The operator's request does not fit the study's state; the text says why."""


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


# --- dispatcher ---------------------------------------------------------------------------------------------------


def publishable(database: Database, now: float, is_dead: Callable[[str], bool]) -> list[JobMessage]:
    """Jobs that should have a message in the queue and have none; jobs whose owner is gone are freed first."""
    with database.transaction() as session:
        running = session.scalars(select(Job).where(Job.state == JobState.RUNNING)).all()
        for seen in running:
            if _lease_holds(seen, now, is_dead):
                continue
            job = _locked(session, seen.id)
            if job is not None and job.state == JobState.RUNNING and not _lease_holds(job, now, is_dead):
                _count_lost_owner(session, job, now)
                job.state, job.owner, job.lease_until = JobState.QUEUED, None, None
                job.published_at, job.next_attempt_at = None, now
                _set_study_state(session, job, StudyState.QUEUED)
        session.flush()
        ready = session.scalars(
            select(Job)
            .where(
                Job.state.in_((JobState.QUEUED, JobState.WAITING)),
                or_(Job.published_at.is_(None), Job.published_at < now - REPUBLISH_AFTER_S),
                Job.next_attempt_at <= now,
            )
            .order_by(Job.created_at)
        )
        return [JobMessage(job.id, Stage(job.stage)) for job in ready]


def mark_published(database: Database, message: JobMessage, now: float) -> None:
    """Remember that a message for this stage is in the queue; `now` is the moment before it was published.

    A worker may have taken the message up by now: a job that moved on since (its next attempt, another stage) has no
    message and is left unmarked.
    """
    with database.transaction() as session:
        job = _locked(session, message.job_id)
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


# --- workers ------------------------------------------------------------------------------------------------------


def claim(
    database: Database, message: JobMessage, owner: str, now: float, lease_s: float, is_dead: Callable[[str], bool]
) -> ClaimedJob | None:
    """Take the job for one attempt at the message's stage; None if there is nothing to do for this message."""
    with database.transaction() as session:
        job = _locked(session, message.job_id)
        if job is None or job.stage != message.stage or job.state not in UNFINISHED:
            return None
        if job.state == JobState.RUNNING:
            if _lease_holds(job, now, is_dead):
                return None
            _count_lost_owner(session, job, now)
        if job.state == JobState.WAITING and job.next_attempt_at > now:
            return None
        job.state, job.owner, job.lease_until = JobState.RUNNING, owner, now + lease_s
        job.published_at = None
        job.attempts += 1
        _set_study_state(session, job, StudyState.RUNNING)
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


def renew(database: Database, claimed: ClaimedJob, now: float, lease_s: float) -> None:
    """Prolong the lease; `ClaimLost` if the job is another's by now."""
    with database.transaction() as session:
        owned(session, claimed).lease_until = now + lease_s


def advance(database: Database, claimed: ClaimedJob, to: Stage, now: float) -> JobMessage:
    """The stage is done and its result on disk; the job waits for the next one."""
    with database.transaction() as session:
        job = owned(session, claimed)
        append(session, now, "finished", claimed.stage, job.study_id, job.id)
        job.stage, job.state, job.attempts, job.failures = to, JobState.QUEUED, 0, 0
        job.owner, job.lease_until, job.published_at, job.next_attempt_at = None, None, None, now
        _set_study_state(session, job, StudyState.QUEUED)
        return JobMessage(job.id, to)


def keep_report(database: Database, claimed: ClaimedJob, territory: str, text: str) -> None:
    """Keep the drafted report where `status` and the page can show it."""
    with database.transaction() as session:
        job = owned(session, claimed)
        job.territory, job.report_text = territory, text


def finish(database: Database, claimed: ClaimedJob, destination: str, now: float) -> None:
    """The destination has every object: the job is done and the study reported. ValueError when it lacks one."""
    with database.transaction() as session:
        job = owned(session, claimed)
        deliveries = session.scalars(
            select(Delivery).where(Delivery.job_id == job.id, Delivery.destination == destination)
        ).all()
        if not deliveries or any(delivery.delivered_at is None for delivery in deliveries):
            raise ValueError(f"job {job.id} has objects that {destination} lacks")
        objects = "1 object" if len(deliveries) == 1 else f"{len(deliveries)} objects"
        append(session, now, "delivered", f"{objects} to {destination}", job.study_id, job.id)
        _end(session, job, JobState.DONE, StudyState.REPORTED, now)


def defer(database: Database, claimed: ClaimedJob, until: float, error: str, now: float, *, is_failure: bool) -> None:
    """The attempt brought no result and another follows at `until`; only failures use up the job's attempts."""
    with database.transaction() as session:
        job = owned(session, claimed)
        job.state, job.next_attempt_at, job.last_error = JobState.WAITING, until, error
        job.owner, job.lease_until, job.published_at = None, None, None
        job.failures += is_failure
        _set_study_state(session, job, StudyState.WAITING)
        append(
            session, now, "attempt_failed", f"{claimed.stage}, attempt {claimed.attempt}: {error}", job.study_id, job.id
        )


def shelve(
    database: Database, claimed: ClaimedJob, state: JobState, code: str, reason: str, hint: str, now: float
) -> None:
    """End the job without a report: SET_ASIDE (the input) or FAILED (the system), with a reason and what to do."""
    with database.transaction() as session:
        job = owned(session, claimed)
        job.last_error = reason
        append(session, now, str(state), f"{claimed.stage}: {reason}", job.study_id, job.id, {"code": code})
        _end(session, job, state, StudyState(state), now, code, reason, hint)


# --- operators ----------------------------------------------------------------------------------------------------


def retry(database: Database, study_uid: str, now: float) -> JobMessage:
    """Start a shelved study's newest job again; `NotPossible` for any other.

    A job of which a part was delivered goes on with what is missing.
    """
    with database.transaction() as session:
        study = _study(session, study_uid)
        job = _newest_job(session, study)
        if job is None or job.state not in SHELVED:
            raise NotPossible(
                f"study {study_uid} is {study.state}: only set aside, failed or cancelled ones are retried"
            )
        append(session, now, "retried", "by an operator", study.id, job.id)
        queue_again(session, study, job, now)
        return JobMessage(job.id, Stage(job.stage))


def cancel(database: Database, study_uid: str, now: float) -> None:
    """End an unfinished study without a report; `NotPossible` once it is composed and on its way, or ended."""
    with database.transaction() as session:
        study = _study(session, study_uid)
        job = _newest_job(session, study)
        if job is None and study.open_since is not None:
            raise NotPossible(f"study {study_uid} is still being received: cancel it once it is queued")
        if job is None or job.state not in UNFINISHED:
            raise NotPossible(f"study {study_uid} is {study.state}: there is nothing to cancel")
        if job.stage == Stage.DELIVER and job.state == JobState.RUNNING:
            raise NotPossible(f"study {study_uid} is being delivered at this moment")
        partly = "; a part of its report had been delivered" if is_partly_delivered(session, job) else ""
        append(session, now, "cancelled", f"by an operator{partly}", study.id, job.id)
        _end(
            session,
            job,
            JobState.CANCELLED,
            StudyState.CANCELLED,
            now,
            "cancelled",
            f"cancelled by an operator{partly}",
        )


# --- shared -------------------------------------------------------------------------------------------------------


def _locked(session: Session, job_id: str) -> Job | None:
    """The job, its study locked first; None if there is no such job."""
    study_id = session.scalar(select(Job.study_id).where(Job.id == job_id))
    if study_id is None:
        return None
    session.scalars(select(Study.id).where(Study.id == study_id).with_for_update()).one()
    locked = select(Job).where(Job.id == job_id).with_for_update().execution_options(populate_existing=True)
    return session.scalars(locked).one()


def owned(session: Session, claimed: ClaimedJob) -> Job:
    """The job, locked, while its claim holds; `ClaimLost` otherwise."""
    job = _locked(session, claimed.job_id)
    if (
        job is None
        or (job.state, job.owner) != (JobState.RUNNING, claimed.owner)
        or (job.stage, job.attempts) != (claimed.stage, claimed.attempt)
    ):
        raise ClaimLost(f"job {claimed.job_id} at {claimed.stage} is no longer {claimed.owner}'s")
    return job


def _lease_holds(job: Job, now: float, is_dead: Callable[[str], bool]) -> bool:
    silent = job.lease_until is None or job.lease_until < now
    return not silent and job.owner is not None and not is_dead(job.owner)


def _count_lost_owner(session: Session, job: Job, now: float) -> None:
    job.failures += 1
    job.last_error = f"the worker process died at {job.stage}"
    append(session, now, "owner_lost", f"{job.owner} is gone at {job.stage}; taken back", job.study_id, job.id)


def _set_study_state(session: Session, job: Job, state: StudyState) -> None:
    session.get_one(Study, job.study_id).state = state


def _end(
    session: Session, job: Job, state: JobState, study_state: StudyState, now: float,
    code: str = "", reason: str = "", hint: str = "",
) -> None:  # fmt: skip
    job.state, job.finished_at, job.owner, job.lease_until, job.published_at = state, now, None, None, None
    study = session.get_one(Study, job.study_id)
    study.state, study.reason_code, study.reason, study.hint = study_state, code, reason, hint


def _study(session: Session, study_uid: str) -> Study:
    study = session.scalar(select(Study).where(Study.study_uid == study_uid).with_for_update())
    if study is None:
        raise NotPossible(f"no study {study_uid} is known here")
    return study


def _newest_job(session: Session, study: Study) -> Job | None:
    current = select(Job).where(Job.study_id == study.id, Job.state != JobState.SUPERSEDED)
    return session.scalar(current.order_by(Job.created_at.desc()).limit(1).with_for_update())
