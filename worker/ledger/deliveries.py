"""The ledger's deliveries: the objects of a job, kept before any is sent, and which of them their destination has.

Each object has a row of its own, so that a crash or a refusal between two leaves on record what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from pirtad.worker.ledger.claiming import ClaimedJob, owned
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.events import append
from pirtad.worker.ledger.job_rows import may_be_out, withdrawn_with
from pirtad.worker.ledger.tables import Delivery, Job
from pirtad.worker.settings import Settings

RETRACTION = "retraction"  # role of the note that withdraws the job's other objects


@dataclass(frozen=True, slots=True)
class KeptObject:
    """A composed object that lies on disk, synced. role: what it is of its job, e.g. "narrative".

    is_delivered: the destination took it. is_committed: it said that it keeps it; refuted_for: that it does not, with
    this failure reason.
    """

    role: str
    sop_instance_uid: str
    sha256: str
    path: str  # relative to the data directory
    is_delivered: bool = False
    is_committed: bool = False
    refuted_for: int | None = None


def destination_name(ae_title: str, host: str, port: int) -> str:
    """A destination's name in the ledger."""
    return f"{ae_title}@{host}:{port}"


def destination_names(settings: Settings) -> tuple[str, ...]:
    """The destinations in force, as the ledger names them: those that are listed, else the one PACS."""
    pacs = settings.pacs
    named = tuple(one.name for one in settings.delivery.destinations)
    return named or (destination_name(pacs.ae_title, pacs.host, pacs.port),)


def keep(database: Database, claimed: ClaimedJob, destination: str, objects: Sequence[KeptObject]) -> None:
    """Record, before the first is sent, which objects this destination gets; all of them or none.

    An object that is on record already keeps its delivery. Another one of the same role takes the place of one that
    was not delivered; ValueError for one that was: the destination would hold two. What is no longer among the objects,
    and was not sent, is forgotten: the site may have turned it off.
    """
    with database.transaction() as session:
        owned(session, claimed)
        of_job = select(Delivery).where(Delivery.job_id == claimed.job_id, Delivery.destination == destination)
        on_record = {row.role: row for row in session.scalars(of_job)}
        wanted = {kept.role for kept in objects}
        for role, unwanted in on_record.items():
            if role not in wanted and unwanted.delivered_at is None and unwanted.tried_at is None:
                session.delete(unwanted)
        for kept in objects:
            row = on_record.get(kept.role)
            if row is None:
                row = Delivery(job_id=claimed.job_id, destination=destination, role=kept.role)
                session.add(row)
            elif row.delivered_at is not None and row.sop_instance_uid != kept.sop_instance_uid:
                raise ValueError(f"{destination} has another {kept.role} of job {claimed.job_id}")
            row.sop_instance_uid, row.sha256, row.path = kept.sop_instance_uid, kept.sha256, kept.path


def kept_objects(database: Database, claimed: ClaimedJob, destination: str) -> dict[str, KeptObject]:
    """The job's objects on record, by role: those bytes are sent again, never others.

    An object that is on record for another destination alone (the PACS moved) is not delivered to this one.
    """
    with database.reading() as session:
        rows = list(session.scalars(select(Delivery).where(Delivery.job_id == claimed.job_id).order_by(Delivery.id)))
        rows.sort(key=lambda row: row.destination == destination)  # this destination's last: they prevail
        return {
            row.role: KeptObject(
                role=row.role,
                sop_instance_uid=row.sop_instance_uid,
                sha256=row.sha256,
                path=row.path,
                is_delivered=row.destination == destination and row.delivered_at is not None,
                is_committed=row.destination == destination and row.committed_at is not None,
                refuted_for=row.commit_failure if row.destination == destination else None,
            )
            for row in rows
        }


def composed_objects(database: Database, claimed: ClaimedJob) -> dict[str, KeptObject]:
    """The job's objects by role, whoever they go to; is_delivered: some destination has it, so no other may be made."""
    with database.reading() as session:
        rows = list(session.scalars(select(Delivery).where(Delivery.job_id == claimed.job_id).order_by(Delivery.id)))
    rows.sort(key=lambda row: row.delivered_at is not None)  # what is out prevails
    return {
        row.role: KeptObject(
            row.role, row.sop_instance_uid, row.sha256, row.path, is_delivered=row.delivered_at is not None
        )
        for row in rows
    }


def destinations_with(database: Database, claimed: ClaimedJob) -> tuple[str, ...]:
    """Destinations that have, or may have, any of the objects that the job's note withdraws."""
    with database.reading() as session:
        query = select(Delivery.destination).where(
            Delivery.job_id.in_(withdrawn_with(session, claimed.job_id)),
            Delivery.role != RETRACTION,
            may_be_out(),
        )
        return tuple(session.scalars(query.distinct()))


def mark_tried(database: Database, claimed: ClaimedJob, destination: str, kept: KeptObject, now: float) -> float | None:
    """The object is about to be sent: from now on the destination may have it. When it may have had it before, or None;
    for `settle_tried`."""
    with database.transaction() as session:
        row = _row_of(session, owned(session, claimed), destination, kept)
        before = row.tried_at
        row.tried_at = now
        return before


def settle_tried(
    database: Database, claimed: ClaimedJob, destination: str, kept: KeptObject, before: float | None
) -> None:
    """This attempt has not arrived, for certain; of an earlier one that says nothing. before: of `mark_tried`."""
    with database.transaction() as session:
        _row_of(session, owned(session, claimed), destination, kept).tried_at = before


def mark_delivered(
    database: Database, claimed: ClaimedJob, destination: str, kept: KeptObject, status: int, now: float
) -> None:
    """The destination answered that it has this object. status: of its C-STORE, or what STOW-RS said of it.

    What was said of an earlier copy's commitment no longer counts. Told again with the same `now`, nothing is changed.
    """
    with database.transaction() as session:
        job = owned(session, claimed)
        row = _row_of(session, job, destination, kept)
        if row.delivered_at == now:
            return
        row.delivered_at, row.status = now, status
        row.transaction_uid = row.commit_failure = None
        said = f"{row.role} {row.sop_instance_uid} to {destination}, status 0x{status:04X}"
        append(session, now, "stored", said, job.study_id, job.id)


def _row_of(session: Session, job: Job, destination: str, kept: KeptObject) -> Delivery:
    return session.scalars(
        select(Delivery).where(
            Delivery.job_id == job.id,
            Delivery.destination == destination,
            Delivery.sop_instance_uid == kept.sop_instance_uid,
        )
    ).one()
