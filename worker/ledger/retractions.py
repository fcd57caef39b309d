"""The ledger's withdrawals: an operator's word that what was delivered of a job is rejected, and what that is.

A request puts the job back to its last stage, where the note takes the place of the objects: it is kept, sent, tried
again and told of as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from pirtad.worker.contract import SHELVED, UNFINISHED, JobState
from pirtad.worker.ledger.claiming import ClaimedJob
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.deliveries import RETRACTION, KeptObject
from pirtad.worker.ledger.events import append
from pirtad.worker.ledger.job_rows import may_be_out, queue_again, retraction_of, untell_lost_note, withdrawn_with
from pirtad.worker.ledger.operating import NotPossible, study_of
from pirtad.worker.ledger.tables import Delivery, Job, Retraction, Study
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
    """What one note would reject. job_ids: of the results, the newest first, whose delivery the note becomes.

    objects: in the order of delivery. results: of each, the job that it is a result of. destinations: that have any.
    """

    job_ids: tuple[str, ...]
    objects: tuple[KeptObject, ...]
    results: tuple[str, ...]
    destinations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request did, and the SOP Instance UIDs of all that its note rejects."""

    requested: Requested
    withdraws: tuple[str, ...]


def withdrawable(database: Database, study_uid: str, job_id: str | None = None) -> Withdrawable | None:
    """What a request would withdraw; None where that was asked for before, and nothing is left.

    `NotPossible` where nothing was delivered, or work on it is still under way.
    """
    with database.transaction() as session:
        study = study_of(session, study_uid)
        jobs = _jobs(session, study, job_id)
        left = _left(session, jobs, job_id)
        return None if left is None else _withdrawable(session, study, left)


def request(
    database: Database, study_uid: str, reason: RejectionReason, words: str, destinations: str | tuple[str, ...],
    now: float, *, is_moved: bool = False, job_id: str | None = None, expected: Collection[str] | None = None,
) -> Answer:  # fmt: skip
    """Withdraw everything that was delivered of the study and is not withdrawn yet, by one note; asked again, it is the
    same withdrawal.

    job_id: this result alone; the study's others stay as they are. destinations: those that the workers deliver to now.
    Every destination that has objects must be one of them, so that the note reaches it; where one is not, `is_moved`
    says that it is the same archive under another name, or gone. `NotPossible` otherwise; for another reason than the
    result is withdrawn for already; and where `withdrawable` says so. ValueError without words, or for too many.

    expected: SOP Instance UIDs of all that the operator was shown, empty where that was asked for before; `NotPossible`
    where something else would be withdrawn by now. None: whatever is there.
    """
    words = words.strip()
    if not words or len(words) > MAX_WORDS:
        raise ValueError(f"a reason in words, of at most {MAX_WORDS} characters, is needed")
    with database.transaction() as session:
        study = study_of(session, study_uid)
        jobs = _jobs(session, study, job_id)
        left = _left(session, jobs, job_id)
        if left is None:
            answer = _again(session, study, jobs, (reason, words), now)
            if expected and set(answer.withdraws) != set(expected):
                raise _changed(study)
            return answer
        found = _withdrawable(session, study, left)
        if expected is not None and {one.sop_instance_uid for one in found.objects} != set(expected):
            raise _changed(study)
        names = (destinations,) if isinstance(destinations, str) else destinations
        if not set(found.destinations) <= set(names) and not is_moved:
            raise NotPossible(
                f"the report was, or may have been, delivered to {', '.join(found.destinations)}, and the settings "
                f"name {', '.join(names)}"
            )
        note_job_id = found.job_ids[0]
        for void in {row.note_job_id for job in left if (row := retraction_of(session, job)) is not None}:
            untell_lost_note(study, session.get_one(Job, void))
            session.execute(delete(Retraction).where(Retraction.note_job_id == void))
            # Its note names the results that it was about: sent now, it would withdraw those that stay.
            session.execute(
                delete(Delivery).where(
                    Delivery.job_id == void,
                    Delivery.role == RETRACTION,
                    Delivery.tried_at.is_(None),
                    Delivery.delivered_at.is_(None),
                )
            )
        session.flush()
        session.expire_all()
        facts = {"reason": reason, "words": words, "requested_at": now, "note_job_id": note_job_id}
        session.add_all(Retraction(job_id=one, **facts) for one in found.job_ids)
        session.flush()
        named = tuple(one.sop_instance_uid for one in found.objects)
        told = f"by an operator, {TITLES[reason].meaning}: {' '.join(named)}"
        append(session, now, "withdrawal_requested", told, study.id, note_job_id, {"code": TITLES[reason].code})
        queue_again(session, study, session.get_one(Job, note_job_id), now)
        return Answer(Requested.REQUESTED, named)


def _changed(study: Study) -> NotPossible:
    return NotPossible(
        f"other objects of study {study.study_uid} would be withdrawn than were shown: another report was delivered or "
        "withdrawn meanwhile; ask again"
    )


def _jobs(session: Session, study: Study, job_id: str | None) -> list[Job]:
    """The study's jobs that are not superseded, newest first, locked; of them the named one alone, if one is named."""
    of_study = select(Job).where(Job.study_id == study.id, Job.state != JobState.SUPERSEDED)
    jobs = list(session.scalars(of_study.order_by(Job.created_at.desc()).with_for_update()))
    if job_id is None:
        return jobs
    named = [job for job in jobs if job.id == job_id]
    if not named:
        raise NotPossible(f"study {study.study_uid} has no job {job_id}")
    return named


def _left(session: Session, jobs: Sequence[Job], job_id: str | None) -> list[Job] | None:
    """Those that a request is about; None where only what was asked for before is there."""
    asked = {job.id: row for job in jobs if (row := retraction_of(session, job)) is not None}
    left = [job for job in jobs if job.id not in asked or (job_id is not None and _is_void(session, asked[job.id]))]
    is_news = not asked or any(job.state in UNFINISHED for job in left)
    return left if is_news or _delivered(session, [job.id for job in left]) else None


def _is_void(session: Session, row: Retraction) -> bool:
    """A note about several results that was given up before it was sent. It may be one that can't be made, for the
    bytes of one result are gone, or their patients differ: then each can be withdrawn by its name."""
    if row.note_job_id is None or len(withdrawn_with(session, row.note_job_id)) == 1:
        return False
    of_note = select(Delivery.id).where(Delivery.job_id == row.note_job_id, Delivery.role == RETRACTION, may_be_out())
    return session.get_one(Job, row.note_job_id).state in SHELVED and session.scalar(of_note.limit(1)) is None


def _again(
    session: Session, study: Study, jobs: Sequence[Job], wanted: tuple[RejectionReason, str], now: float
) -> Answer:
    """Of withdrawals that were asked for before, the one that is still open, else the last one."""
    rows = [row for job in jobs if (row := retraction_of(session, job)) is not None]
    note_jobs = {row.note_job_id or row.job_id: row for row in reversed(rows)}
    notes = {note: session.get_one(Job, note) for note in note_jobs}
    last = min(notes, key=lambda note: (notes[note].state == JobState.WITHDRAWN, -note_jobs[note].requested_at))
    row, job = note_jobs[last], notes[last]
    if (row.reason, row.words) != wanted:
        raise NotPossible(
            f"study {study.study_uid} is {study.state} for another reason ({row.reason}): a second note is not sent"
        )
    named = tuple(one.sop_instance_uid for one in _objects(_delivered(session, withdrawn_with(session, last))))
    if job.state == JobState.WITHDRAWN:
        return Answer(Requested.WITHDRAWN, named)
    if job.state in UNFINISHED:
        return Answer(Requested.UNDER_WAY, named)
    append(session, now, "withdrawal_retried", "by an operator", study.id, job.id)
    untell_lost_note(study, job)
    queue_again(session, study, job, now)
    return Answer(Requested.AGAIN, named)


def withdrawal_of(database: Database, claimed: ClaimedJob) -> Withdrawal | None:
    """Whether the job is to deliver a note instead of its objects."""
    with database.reading() as session:
        row = session.get(Retraction, claimed.job_id)
        return None if row is None else Withdrawal(RejectionReason(row.reason), row.words, row.requested_at)


def delivered_objects(database: Database, claimed: ClaimedJob) -> tuple[KeptObject, ...]:
    """What the note that is this job's delivery rejects: of its result and of the others that are withdrawn with it,
    what some destination has or may have, and nothing that was never sent."""
    with database.reading() as session:
        return _objects(_delivered(session, withdrawn_with(session, claimed.job_id)))


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


def _withdrawable(session: Session, study: Study, jobs: Sequence[Job]) -> Withdrawable:
    """jobs: newest first, of which no withdrawal was asked for."""
    for job in session.scalars(select(Job).where(Job.study_id == study.id, Job.state.in_(UNFINISHED))):
        if retraction_of(session, job) is not None:
            raise NotPossible(f"another report on study {study.study_uid} is being withdrawn: wait until that is done")
        raise NotPossible(f"the report on study {study.study_uid} is not finished: cancel it first")
    rows = _delivered(session, [job.id for job in jobs])
    if not rows:
        raise NotPossible(
            f"no object of the report on study {study.study_uid} was delivered: there is nothing to withdraw"
        )
    having = {row.job_id for row in rows}
    if gone := sorted({row.job_id for row in rows if row.removed_at is not None}):
        raise NotPossible(
            f"the kept objects of job {', '.join(gone)} were removed, and a note is made from them: reject those "
            "in the PACS itself; `--job` withdraws one of the study's others"
        )
    objects = _objects(rows)
    of_object = {row.sop_instance_uid: row.job_id for row in rows}
    return Withdrawable(
        job_ids=tuple(job.id for job in jobs if job.id in having),
        objects=objects,
        results=tuple(of_object[one.sop_instance_uid] for one in objects),
        destinations=tuple(dict.fromkeys(row.destination for row in rows)),
    )


def _delivered(session: Session, job_ids: Sequence[str]) -> list[Delivery]:
    """What some destination has, or may have: whether an attempt without an answer arrived, only its readers know."""
    of_jobs = select(Delivery).where(Delivery.job_id.in_(job_ids), Delivery.role != RETRACTION, may_be_out())
    return list(session.scalars(of_jobs.order_by(Delivery.id)))


def _objects(rows: list[Delivery]) -> tuple[KeptObject, ...]:
    """Each object once, whatever number of destinations has it."""
    found = {row.sop_instance_uid: row for row in rows}
    return tuple(
        KeptObject(row.role, row.sop_instance_uid, row.sha256, row.path, is_delivered=True) for row in found.values()
    )
