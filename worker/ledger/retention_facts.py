"""Facts about studies whose images are on the disk, for the policy of retention; read from the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from pirtad.worker.contract import JobState, StudyState
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.deliveries import RETRACTION
from pirtad.worker.ledger.shipment_rows import Commitment, ShipmentState
from pirtad.worker.ledger.tables import Delivery, Instance, Job, Retraction, Shipment, Study
from pirtad.worker.retention import JobFacts, StudyFacts


def studies_on_disk(database: Database, *, reported_by: float | None = None) -> list[StudyFacts]:
    """Facts of the studies whose images are not all removed; all of them, or those reported by then and quiet since.

    reported_by: POSIX seconds; leaves out what the policy keeps anyway, without looking at each.
    """
    wanted: list[ColumnElement[bool]] = [Study.removed_at.is_(None)]
    if reported_by is not None:
        wanted += [
            Study.state == StudyState.REPORTED, Study.open_since.is_(None), Study.note == "",
            Study.last_received_at <= reported_by,
        ]  # fmt: skip
    with database.reading() as session:
        return _facts(session, *wanted)


def facts_of(session: Session, study: Study) -> StudyFacts:
    """Within the caller's transaction, what the policy asks of a study."""
    session.flush()
    (facts,) = _facts(session, Study.id == study.id)
    return facts


def _facts(session: Session, *wanted: ColumnElement[bool]) -> list[StudyFacts]:
    """One query for each kind of row, however many studies there are: a pass may be about thousands."""
    studies = session.execute(
        select(Study.id, Study.study_uid, Study.open_since, Study.note, Study.last_received_at)
        .where(*wanted)
        .order_by(Study.id)
    ).all()
    on_disk = select(Instance.study_id, func.count(), func.sum(Instance.size_bytes)).join(Study)
    on_disk = on_disk.where(Instance.removed_at.is_(None), *wanted).group_by(Instance.study_id)
    images = {study_id: (count, int(size_bytes)) for study_id, count, size_bytes in session.execute(on_disk)}
    jobs = _job_facts(session, wanted)
    return [
        StudyFacts(
            study_uid=study_uid,
            is_open=open_since is not None,
            is_noted=note != "",
            last_received_at=last_received_at,
            images=images.get(study_id, (0, 0))[0],
            size_bytes=images.get(study_id, (0, 0))[1],
            jobs=tuple(jobs.get(study_id, ())),
        )
        for study_id, study_uid, open_since, note, last_received_at in studies
    ]


@dataclass(frozen=True, slots=True)
class _Object:
    destination: str
    role: str
    is_delivered: bool
    is_refuted: bool


def _job_facts(session: Session, wanted: Sequence[ColumnElement[bool]]) -> dict[int, list[JobFacts]]:
    """By id of the study, newest first."""
    objects: dict[str, list[_Object]] = {}
    of_jobs = select(
        Delivery.job_id, Delivery.destination, Delivery.role, Delivery.delivered_at, Delivery.commit_failure
    ).join(Job, Job.id == Delivery.job_id)
    for job_id, name, role, delivered_at, failure in session.execute(of_jobs.join(Study).where(*wanted)):
        one = _Object(name, role, is_delivered=delivered_at is not None, is_refuted=failure is not None)
        objects.setdefault(job_id, []).append(one)
    shares: dict[str, dict[str, tuple[str, str]]] = {}
    of_shares = select(Shipment.job_id, Shipment.destination, Shipment.state, Shipment.commitment).join(
        Job, Job.id == Shipment.job_id
    )
    for job_id, name, state, commitment in session.execute(of_shares.join(Study).where(*wanted)):
        shares.setdefault(job_id, {})[name] = (state, commitment)
    of_retractions = select(Retraction.job_id, Retraction.note_job_id).join(Job, Job.id == Retraction.job_id)
    retracted = dict(session.execute(of_retractions.join(Study).where(*wanted)).tuples().all())
    found: dict[int, list[JobFacts]] = {}
    rows = select(Job.study_id, Job.id, Job.state, Job.finished_at).join(Study).where(*wanted)
    for study_id, job_id, state, finished_at in session.execute(rows.order_by(Job.created_at.desc())):
        facts = _of_job(
            JobState(state), finished_at, objects.get(job_id, []), shares.get(job_id, {}), job_id in retracted
        )
        if facts.state == JobState.WITHDRAWN and retracted.get(job_id) not in (None, job_id):
            # By another job's note, which is out: that job tells how it fares.
            facts = replace(facts, is_delivered=True, is_committed=True)
        found.setdefault(study_id, []).append(facts)
    return found


def _of_job(
    state: JobState, finished_at: float | None, objects: list[_Object], shares: dict[str, tuple[str, str]],
    is_retracted: bool,
) -> JobFacts:  # fmt: skip
    dropped = {name for name, (share, _) in shares.items() if share == ShipmentState.DROPPED}
    # After a withdrawal it is the note that has to be everywhere, and the destinations without objects get none.
    wanted = [
        one
        for one in objects
        if one.destination not in dropped and (state != JobState.WITHDRAWN or one.role == RETRACTION)
    ]
    asked = [share for name, share in shares.items() if name not in dropped]
    return JobFacts(
        state=state,
        is_delivered=bool(wanted)
        and all(one.is_delivered and not one.is_refuted for one in wanted)
        and all(share == ShipmentState.DONE for share, _ in asked),
        is_committed=all(commitment not in (Commitment.ASKED, Commitment.NO_ANSWER) for _, commitment in asked),
        has_delivered=any(one.is_delivered for one in objects),
        is_retracting=is_retracted and state != JobState.WITHDRAWN,
        finished_at=finished_at,
    )
