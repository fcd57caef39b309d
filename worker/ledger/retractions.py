"""The ledger's withdrawals: an operator's word that what was delivered of a job is rejected, and what that is.

A request puts the job back to its last stage, where the note takes the place of the objects: it is kept, sent, tried
again and told of as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from pirtad.worker.contract import UNFINISHED, JobState
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.deliveries import RETRACTION, KeptObject
from pirtad.worker.ledger.events import append
from pirtad.worker.ledger.jobs import ClaimedJob, NotPossible, newest_job, study_of
from pirtad.worker.ledger.receiving import queue_again, retraction_of
from pirtad.worker.ledger.tables import Delivery, Job, Retraction
from pirtad.worker.rejection import MAX_WORDS, TITLES, RejectionReason


class Requested(StrEnum):
    """What a request did."""

    REQUESTED = "requested"
    AGAIN = "again"  # the note had been given up, and is sent again
    UNDER_WAY = "under_way"  # asked for before; the note is on its way
    WITHDRAWN = "withdrawn"  # asked for before; the destination has the note


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """Why and when a job's result was withdrawn. words: the operator's own; they may hold anything."""

    reason: RejectionReason
    words: str
    requested_at: float

    def __repr__(self) -> str:
        return f"Withdrawal({self.reason})"


@dataclass(frozen=True, slots=True)
class Withdrawable:
    """What a study's newest job has delivered, in the order of delivery, and where to."""

    job_id: str
    objects: tuple[KeptObject, ...]
    destinations: tuple[str, ...]


def withdrawable(database: Database, study_uid: str) -> Withdrawable:
    """What a request would withdraw; `NotPossible` where nothing was delivered, or work on it is still under way."""
    with database.transaction() as session:
        job = newest_job(session, study_of(session, study_uid))
        return _withdrawable(session, study_uid, job)


def request(
    database: Database, study_uid: str, reason: RejectionReason, words: str, destinations: str | tuple[str, ...],
    now: float, *, is_moved: bool = False,
) -> Requested:  # fmt: skip
    """Withdraw everything that was delivered of the study's newest job; asked again, it is the same withdrawal.

    destinations: those that the workers deliver to now. Every destination that has objects must be one of them, so that
    the note reaches it; where one is not, `is_moved` says that it is the same archive under another name, or gone.
    `NotPossible` otherwise; for another reason than the result is withdrawn for already; and where `withdrawable` says
    so. ValueError without words, or for too many.
    """
    words = words.strip()
    if not words or len(words) > MAX_WORDS:
        raise ValueError(f"a reason in words, of at most {MAX_WORDS} characters, is needed")
    with database.transaction() as session:
        study = study_of(session, study_uid)
        job = newest_job(session, study)
        earlier = None if job is None else retraction_of(session, job)
        if job is not None and earlier is not None:
            if (earlier.reason, earlier.words) != (reason, words):
                raise NotPossible(
                    f"study {study_uid} is {study.state} for another reason ({earlier.reason}): "
                    "a second note is not sent"
                )
            if job.state == JobState.WITHDRAWN:
                return Requested.WITHDRAWN
            if job.state in UNFINISHED:
                return Requested.UNDER_WAY
            append(session, now, "withdrawal_retried", "by an operator", study.id, job.id)
            queue_again(session, study, job, now)
            return Requested.AGAIN
        found = _withdrawable(session, study_uid, job)
        names = (destinations,) if isinstance(destinations, str) else destinations
        if not set(found.destinations) <= set(names) and not is_moved:
            raise NotPossible(
                f"the report was delivered to {', '.join(found.destinations)}, and the settings name {', '.join(names)}"
            )
        session.add(Retraction(job_id=found.job_id, reason=reason, words=words, requested_at=now))
        session.flush()
        named = " ".join(one.sop_instance_uid for one in found.objects)
        told = f"by an operator, {TITLES[reason].meaning}: {named}"
        append(session, now, "withdrawal_requested", told, study.id, found.job_id, {"code": TITLES[reason].code})
        queue_again(session, study, session.get_one(Job, found.job_id), now)
        return Requested.REQUESTED


def withdrawal_of(database: Database, claimed: ClaimedJob) -> Withdrawal | None:
    """Whether the job is to deliver a note instead of its objects."""
    with database.reading() as session:
        row = session.get(Retraction, claimed.job_id)
        return None if row is None else Withdrawal(RejectionReason(row.reason), row.words, row.requested_at)


def delivered_objects(database: Database, claimed: ClaimedJob) -> tuple[KeptObject, ...]:
    """What a note about this job rejects: what some destination has, and nothing that was never delivered."""
    with database.reading() as session:
        return _objects(_delivered(session, claimed.job_id))


def earlier_notes(database: Database, claimed: ClaimedJob) -> tuple[str, ...]:
    """SOP Instance UIDs of the notes that withdrew earlier results on the same study, sorted."""
    with database.reading() as session:
        study_id = select(Job.study_id).where(Job.id == claimed.job_id).scalar_subquery()
        return tuple(
            sorted(
                session.scalars(
                    select(Delivery.sop_instance_uid)
                    .join(Job, Job.id == Delivery.job_id)
                    .where(Job.study_id == study_id, Job.id != claimed.job_id, Delivery.role == RETRACTION)
                    .distinct()
                )
            )
        )


def _withdrawable(session: Session, study_uid: str, job: Job | None) -> Withdrawable:
    if job is not None and job.state in UNFINISHED:
        raise NotPossible(f"the report on study {study_uid} is not finished: cancel it first")
    rows = [] if job is None else _delivered(session, job.id)
    if job is None or not rows:
        raise NotPossible(f"no object of the report on study {study_uid} was delivered: there is nothing to withdraw")
    return Withdrawable(job.id, _objects(rows), tuple(dict.fromkeys(row.destination for row in rows)))


def _delivered(session: Session, job_id: str) -> list[Delivery]:
    of_job = select(Delivery).where(
        Delivery.job_id == job_id, Delivery.role != RETRACTION, Delivery.delivered_at.is_not(None)
    )
    return list(session.scalars(of_job.order_by(Delivery.id)))


def _objects(rows: list[Delivery]) -> tuple[KeptObject, ...]:
    """Each object once, whatever number of destinations has it."""
    found = {row.sop_instance_uid: row for row in rows}
    return tuple(
        KeptObject(row.role, row.sop_instance_uid, row.sha256, row.path, is_delivered=True) for row in found.values()
    )
