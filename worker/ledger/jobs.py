"""The ledger's working side: claims, progress and endings of jobs.

A job is worked on by whoever holds its claim: an owner's name and a lease that the owner renews. Every change is made
under that claim, so a message delivered twice, or a worker that comes back from the dead, changes nothing.

Every transaction locks the study's row before the job's: two that took them in turn would wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from pirtad.worker.contract import SHELVED, UNFINISHED, JobMessage, JobState, Stage, StudyState
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.events import append
from pirtad.worker.ledger.priority import turn
from pirtad.worker.ledger.receiving import (
    draft_anew,
    is_partly_delivered,
    queue_again,
    retraction_of,
    tell_withdrawal,
)
from pirtad.worker.ledger.removed import RETRY_HINT, missing_images, missing_of_job
from pirtad.worker.ledger.shipment_rows import next_due_at
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
            job = locked(session, seen.id)
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


# --- workers ------------------------------------------------------------------------------------------------------


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
            _count_lost_owner(session, job, now)
        if job.id != message.job_id and job.published_at is None:
            _miss_message(session, message)
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
        return not _lease_holds(job, now, is_dead)
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


@contextmanager
def over(database: Database, job_ids: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Which of these jobs are over, for as long as the block runs: reported, withdrawn, or superseded before anything
    of them was composed. What an operator may have tried again is not.
    """
    wanted = list(job_ids)
    composed = select(Delivery.job_id)
    ended = or_(
        Job.state.in_((JobState.DONE, JobState.WITHDRAWN)),
        (Job.state == JobState.SUPERSEDED) & Job.id.not_in(composed),
    )
    found = select(Job.id).where(Job.id.in_(wanted), ended).order_by(Job.id)
    with database.reading() as session:
        is_any = session.scalar(found.limit(1)) is not None
    if not is_any:
        yield ()
        return
    with database.transaction() as session:
        yield tuple(session.scalars(found.with_for_update()))


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


def finish(database: Database, claimed: ClaimedJob, destinations: str | tuple[str, ...], now: float) -> None:
    """Each of these destinations has every object of its own: the job is done and the study reported, or the result
    withdrawn, if that was asked for. ValueError when one lacks one.
    """
    names = (destinations,) if isinstance(destinations, str) else destinations
    with database.transaction() as session:
        job = owned(session, claimed)
        deliveries: list[Delivery] = []
        for name in names:
            of_name = select(Delivery).where(Delivery.job_id == job.id, Delivery.destination == name)
            found = session.scalars(of_name).all()
            if not found or any(one.delivered_at is None or one.commit_failure is not None for one in found):
                raise ValueError(f"job {job.id} has objects that {name} lacks")
            deliveries += found
        destination = ", ".join(names)
        retraction = retraction_of(session, job)
        if retraction is not None:
            append(session, now, "withdrawn", f"the note is with {destination}", job.study_id, job.id)
            _end(session, job, JobState.WITHDRAWN, StudyState.WITHDRAWN, now)
            tell_withdrawal(session.get_one(Study, job.study_id), StudyState.WITHDRAWN, retraction)
            return
        count = len({delivery.sop_instance_uid for delivery in deliveries})
        objects = "1 object" if count == 1 else f"{count} objects"
        append(session, now, "delivered", f"{objects} to {destination}", job.study_id, job.id)
        _end(session, job, JobState.DONE, StudyState.REPORTED, now)


def defer(
    database: Database, claimed: ClaimedJob, until: float, error: str, now: float,
    *, is_failure: bool, is_told: bool = True,
) -> None:  # fmt: skip
    """The attempt brought no result and another follows at `until`; only failures use up the job's attempts.

    At the last stage another follows sooner, if a destination's answer came meanwhile. is_told: with an event.
    """
    with database.transaction() as session:
        job = owned(session, claimed)
        if job.stage == Stage.DELIVER and not is_failure:
            due_at = next_due_at(session, job.id)
            until = until if due_at is None else min(until, max(due_at, now))
        job.state, job.next_attempt_at, job.last_error = JobState.WAITING, until, error
        job.owner, job.lease_until, job.published_at = None, None, None
        job.failures += is_failure
        _set_study_state(session, job, StudyState.WAITING)
        if is_told:
            told = f"{claimed.stage}, attempt {claimed.attempt}: {error}"
            append(session, now, "attempt_failed", told, job.study_id, job.id)


def shelve(
    database: Database, claimed: ClaimedJob, state: JobState, code: str, reason: str, hint: str, now: float
) -> None:
    """End the job without a report: SET_ASIDE (the input) or FAILED (the system), with a reason and what to do."""
    with database.transaction() as session:
        job = owned(session, claimed)
        if retraction_of(session, job) is not None:
            reason = f"the note that withdraws the report was not delivered: {reason}"
        job.last_error = reason
        append(session, now, str(state), f"{claimed.stage}: {reason}", job.study_id, job.id, {"code": code})
        _end(session, job, state, StudyState(state), now, code, reason, hint)


# --- operators ----------------------------------------------------------------------------------------------------


def retry(database: Database, study_uid: str, now: float) -> JobMessage:
    """Start a shelved study's newest job again, or draft a withdrawn one anew; `NotPossible` for any other.

    A job of which a part was delivered goes on with what is missing. After a withdrawal it is another job on all images
    that are there now, and its objects are others.
    """
    with database.transaction() as session:
        study = study_of(session, study_uid)
        job = newest_job(session, study)
        if job is not None and job.state == JobState.WITHDRAWN:
            _require_images(study, missing_images(session, study))
            job = draft_anew(session, study, job, now)
            append(session, now, "retried", "by an operator, after a withdrawal", study.id, job.id)
            return JobMessage(job.id, Stage(job.stage))
        if job is None or job.state not in SHELVED:
            raise NotPossible(
                f"study {study_uid} is {study.state}: only set aside, failed or cancelled ones are retried, "
                "and withdrawn ones drafted anew"
            )
        if retraction_of(session, job) is None:  # a note needs no images
            _require_images(study, missing_of_job(session, job))
        append(session, now, "retried", "by an operator", study.id, job.id)
        queue_again(session, study, job, now)
        return JobMessage(job.id, Stage(job.stage))


def _require_images(study: Study, missing: int) -> None:
    if missing:
        raise NotPossible(f"study {study.study_uid}: {missing} of its images were removed; {RETRY_HINT}")


def cancel(database: Database, study_uid: str, now: float) -> None:
    """End an unfinished study without a report; `NotPossible` once it is composed and on its way, or ended."""
    with database.transaction() as session:
        study = study_of(session, study_uid)
        job = newest_job(session, study)
        if job is None and study.open_since is not None:
            raise NotPossible(f"study {study_uid} is still being received: cancel it once it is queued")
        if job is None or job.state not in UNFINISHED:
            raise NotPossible(f"study {study_uid} is {study.state}: there is nothing to cancel")
        if retraction_of(session, job) is not None:
            raise NotPossible(
                f"study {study_uid} is being withdrawn, and that is not called back: the note may have arrived"
            )
        if job.stage == Stage.DELIVER and job.state == JobState.RUNNING:
            raise NotPossible(f"study {study_uid} is being delivered at this moment")
        partly = "; a part of its report had been sent" if is_partly_delivered(session, job) else ""
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


def locked(session: Session, job_id: str) -> Job | None:
    """The job, its study locked first; None if there is no such job."""
    study_id = session.scalar(select(Job.study_id).where(Job.id == job_id))
    if study_id is None:
        return None
    session.scalars(select(Study.id).where(Study.id == study_id).with_for_update()).one()
    locked = select(Job).where(Job.id == job_id).with_for_update().execution_options(populate_existing=True)
    return session.scalars(locked).one()


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


def _lease_holds(job: Job, now: float, is_dead: Callable[[str], bool]) -> bool:
    silent = job.lease_until is None or job.lease_until < now
    return not silent and job.owner is not None and not is_dead(job.owner)


def _count_lost_owner(session: Session, job: Job, now: float) -> None:
    job.failures += 1
    job.last_error = f"the worker process died at {job.stage}"
    append(session, now, "owner_lost", f"{job.owner} is gone at {job.stage}; taken back", job.study_id, job.id)


def _set_study_state(session: Session, job: Job, state: StudyState) -> None:
    is_retraction = retraction_of(session, job) is not None
    session.get_one(Study, job.study_id).state = StudyState.WITHDRAWING if is_retraction else state


def _end(
    session: Session, job: Job, state: JobState, study_state: StudyState, now: float,
    code: str = "", reason: str = "", hint: str = "",
) -> None:  # fmt: skip
    job.state, job.finished_at, job.owner, job.lease_until, job.published_at = state, now, None, None, None
    study = session.get_one(Study, job.study_id)
    study.state, study.reason_code, study.reason, study.hint = study_state, code, reason, hint


def study_of(session: Session, study_uid: str) -> Study:
    """The study, locked; `NotPossible` if it is not known."""
    study = session.scalar(select(Study).where(Study.study_uid == study_uid).with_for_update())
    if study is None:
        raise NotPossible(f"no study {study_uid} is known here")
    return study


def newest_job(session: Session, study: Study) -> Job | None:
    """The job that the study's state tells of, locked."""
    current = select(Job).where(Job.study_id == study.id, Job.state != JobState.SUPERSEDED)
    return session.scalar(current.order_by(Job.created_at.desc()).limit(1).with_for_update())
