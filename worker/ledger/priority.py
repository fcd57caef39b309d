"""The ledger's urgency: who goes first, by when a report should be there, and when it was not.

Order is decided where a worker takes a job (`claiming.claim`), by one expression: a STAT study counts as opened half an
hour earlier than it was. So it overtakes whatever is not yet under way, and a routine study that has waited half an
hour longer is overtaken no more: nobody waits for ever.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from pirtad.worker.contract import UNFINISHED, JobState, Priority
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.events import append
from pirtad.worker.ledger.tables import Job, Retraction, Study

STAT_HEAD_START_S = 1800.0
"""Chosen: longer than any queue that a site would live with, and far from never. See ADR 13."""


_BECAUSE_MAX = 64  # the column's
BY_OPERATOR = "operator"
"""How the reason begins where a person decided; nothing else changes it afterwards."""


def turn() -> ColumnElement[float]:
    """What jobs, joined with their studies, are taken up by, the least first."""
    return Job.created_at - Study.priority * STAT_HEAD_START_S


def set_priority(
    database: Database, study_uid: str, priority: Priority, because: str, objective_s: float, now: float
) -> bool:
    """Set a study's urgency and by when its report should be there; whether that was done.

    Not for a study that is not known, has it already, or whose urgency an operator settled and this is not one.
    """
    with database.transaction() as session:
        study = session.scalar(select(Study).where(Study.study_uid == study_uid).with_for_update())
        if study is None or study.priority == priority:
            return False
        if study.priority_because.startswith(BY_OPERATOR) and not because.startswith(BY_OPERATOR):
            return False
        study.priority, study.priority_because = priority, because[:_BECAUSE_MAX]
        append(session, now, "priority", f"{priority.name}: {because}", study.id)
        for job in session.scalars(select(Job).where(Job.study_id == study.id, Job.state.in_(UNFINISHED))):
            set_due(job, objective_s)
        return True


def is_known(database: Database, study_uid: str) -> bool:
    """Whether an image of the study was ever received."""
    with database.reading() as session:
        return session.scalar(select(Study.id).where(Study.study_uid == study_uid)) is not None


def set_due(job: Job, objective_s: float) -> None:
    """By when the job's report should be there, counted from the last image that it needed."""
    job.due_at = None if job.images_at is None else job.images_at + objective_s


def mark_missed(database: Database, now: float) -> list[str]:
    """Note the reports that are overdue, each once; the studies' UIDs."""
    overdue = (
        Job.missed_at.is_(None),
        Job.due_at.is_not(None),
        Job.due_at < func.coalesce(Job.finished_at, now),
        or_(Job.state.in_(UNFINISHED), Job.state == JobState.DONE),
        Job.id.not_in(select(Retraction.job_id)),  # what it delivers now is a note
    )
    with database.reading() as session:
        if session.scalar(select(Job.id).where(*overdue).limit(1)) is None:
            return []  # the usual case must not wait for writers
    with database.transaction() as session:
        return [_note_missed(session, job, now) for job in session.scalars(select(Job).where(*overdue))]


def _note_missed(session: Session, job: Job, now: float) -> str:
    study = session.get_one(Study, job.study_id)
    job.missed_at = now
    assert job.due_at is not None  # what the query asked for
    assert job.images_at is not None  # what `set_due` counts from
    told = f"{Priority(study.priority).name}: no report {job.due_at - job.images_at:.0f} s after its last image"
    append(session, now, "objective_missed", told, study.id, job.id, {"priority": Priority(study.priority).name})
    return study.study_uid
