"""Rows of jobs, within the caller's transaction: locked, queued, ended, and what their study shows of that.

Every transaction locks the study's row before the job's: two that took them in turn would wait for each other.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from pirtad.worker.contract import JobState, Stage, StudyState
from pirtad.worker.ledger.shipment_rows import restart_all
from pirtad.worker.ledger.tables import Delivery, Job, Retraction, Study
from pirtad.worker.rejection import TITLES, RejectionReason


def locked(session: Session, job_id: str) -> Job | None:
    """The job, its study locked first; None if there is no such job."""
    study_id = session.scalar(select(Job.study_id).where(Job.id == job_id))
    if study_id is None:
        return None
    session.scalars(select(Study.id).where(Study.id == study_id).with_for_update()).one()
    locked = select(Job).where(Job.id == job_id).with_for_update().execution_options(populate_existing=True)
    return session.scalars(locked).one()


def newest_job(session: Session, study: Study) -> Job | None:
    """The job that the study's state tells of, locked."""
    current = select(Job).where(Job.study_id == study.id, Job.state != JobState.SUPERSEDED)
    return session.scalar(current.order_by(Job.created_at.desc()).limit(1).with_for_update())


def queue_again(session: Session, study: Study, job: Job, now: float) -> None:
    """Put a job at its start, within the caller's transaction; where a part was delivered, at its last stage."""
    # A job that is not in the database yet has no id that a delivery could refer to.
    stage = Stage.DELIVER if is_partly_delivered(session, job) else Stage.PREPARE
    job.state, job.stage, job.attempts, job.failures = JobState.QUEUED, stage, 0, 0
    job.next_attempt_at, job.published_at = now, None
    job.owner, job.lease_until, job.finished_at, job.last_error = None, None, None, ""
    restart_all(session, job.id)
    retraction = retraction_of(session, job)
    if retraction is None:
        study.state = StudyState.QUEUED
        study.reason_code = study.reason = study.hint = ""
    elif is_shown(session, job):
        tell_withdrawal(study, StudyState.WITHDRAWING, retraction)


def end(
    session: Session, job: Job, state: JobState, study_state: StudyState, now: float,
    code: str = "", reason: str = "", hint: str = "",
) -> None:  # fmt: skip
    """The job is over, and its study shows how and why; but for a note about an earlier result alone."""
    job.state, job.finished_at, job.owner, job.lease_until, job.published_at = state, now, None, None, None
    if retraction_of(session, job) is not None and not is_shown(session, job):
        return
    study = session.get_one(Study, job.study_id)
    study.state, study.reason_code, study.reason, study.hint = study_state, code, reason, hint


def set_study_state(session: Session, job: Job, state: StudyState) -> None:
    """Show with the study how its job is doing; of a note's job, that the report is being withdrawn."""
    if retraction_of(session, job) is None:
        session.get_one(Study, job.study_id).state = state
    elif is_shown(session, job):
        session.get_one(Study, job.study_id).state = StudyState.WITHDRAWING


def is_shown(session: Session, job: Job) -> bool:
    """Whether the study's state tells of this job: an earlier result is withdrawn behind the newest one's back."""
    current = select(Job.id).where(Job.study_id == job.study_id, Job.state != JobState.SUPERSEDED)
    return session.scalar(current.order_by(Job.created_at.desc()).limit(1)) == job.id


def may_be_out() -> ColumnElement[bool]:
    """Of a delivery: its destination has the object, or may have it, since the answer of some attempt was lost."""
    return or_(Delivery.delivered_at.is_not(None), Delivery.tried_at.is_not(None))


def is_partly_delivered(session: Session, job: Job) -> bool:
    """Whether a destination has, or may have, one of the job's objects: another draft would be a second report beside
    it."""
    return session.scalar(select(Delivery.id).where(Delivery.job_id == job.id, may_be_out()).limit(1)) is not None


def retraction_of(session: Session, job: Job) -> Retraction | None:
    """An operator's word that the job's result is withdrawn, whether or not the note has arrived."""
    return session.get(Retraction, job.id)


def withdrawn_with(session: Session, note_job_id: str) -> list[str]:
    """Ids of the jobs whose results the note that is a delivery of this job withdraws; its own, if it is, first."""
    rows = session.scalars(
        select(Retraction).where(or_(Retraction.job_id == note_job_id, Retraction.note_job_id == note_job_id))
    ).all()
    named = [row.job_id for row in rows if row.job_id != note_job_id or row.note_job_id in (None, note_job_id)]
    return sorted(named, key=lambda job_id: (job_id != note_job_id, job_id))


def tell_withdrawal(study: Study, state: StudyState, retraction: Retraction) -> None:
    """Show a withdrawn result's title and the operator's words with the study."""
    title = TITLES[RejectionReason(retraction.reason)]
    study.state, study.reason_code = state, title.code
    study.reason, study.hint = f"{title.meaning}: {retraction.words}", ""


def tell_lost_note(study: Study, job: Job) -> None:
    """Add to the study's note, for people, that the note about an earlier report was given up, with the job's last
    error. What stands there already stays: it may say that the patient is another one."""
    told = _lost_note(job)
    if told not in study.note:
        study.note = f"{study.note}; {told}" if study.note else told


def untell_lost_note(study: Study, job: Job) -> None:
    """Take that back, and nothing else; before the job is queued again, which forgets its last error."""
    told = _lost_note(job)
    if told in study.note:
        before, _, after = study.note.partition(told)
        study.note = "; ".join(part for part in (before.removesuffix("; "), after.removeprefix("; ")) if part)


def _lost_note(job: Job) -> str:
    return f"of an earlier report, {job.last_error}; `pirtad retract` again"
