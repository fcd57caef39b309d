"""The ledger's account of how a job came about: what started it, what it is drafted from, which report it revises."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select

from pirtad.worker.contract import StartedBy, used_key
from pirtad.worker.ledger.claiming import ClaimedJob, owned
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.deliveries import RETRACTION, KeptObject
from pirtad.worker.ledger.job_rows import retraction_of
from pirtad.worker.ledger.tables import Delivery, Instance, Job, JobInstance


@dataclass(frozen=True, slots=True)
class Revised:
    """An earlier report of the study that a job's report takes the place of. objects: what was delivered, by role."""

    job_id: str
    reported_at: float
    objects: dict[str, KeptObject]


@dataclass(frozen=True, slots=True)
class Background:
    """How a job came about. images: that it was opened on."""

    started_by: StartedBy | None
    images: int
    revised: Revised | None


def background_of(database: Database, claimed: ClaimedJob) -> Background:
    """How the job came about; nothing of it changes while the job is worked on. A withdrawn report is not revised: the
    next one is another try."""
    with database.reading() as session:
        job = session.get_one(Job, claimed.job_id)
        started_by = StartedBy(job.started_by) if job.started_by else None
        earlier = None if job.revises is None else session.get_one(Job, job.revises)
        if earlier is None or retraction_of(session, earlier) is not None:
            return Background(started_by, len(claimed.files), None)
        delivered = select(Delivery).where(
            Delivery.job_id == earlier.id, Delivery.role != RETRACTION, Delivery.delivered_at.is_not(None)
        )
        objects = {
            row.role: KeptObject(row.role, row.sop_instance_uid, row.sha256, row.path, is_delivered=True)
            for row in session.scalars(delivered.order_by(Delivery.id))
        }
        reported_at = earlier.finished_at if earlier.finished_at is not None else earlier.created_at
        return Background(started_by, len(claimed.files), Revised(earlier.id, reported_at, objects))


def keep_used(database: Database, claimed: ClaimedJob, used_uids: Iterable[str]) -> None:
    """Note which of its images the job is drafted from: what a later look is held against."""
    wanted = set(used_uids)
    with database.transaction() as session:
        job = owned(session, claimed)
        of_job = (
            select(Instance.sop_instance_uid, Instance.sha256)
            .join(JobInstance, JobInstance.instance_id == Instance.id)
            .where(JobInstance.job_id == job.id)
        )
        job.used_key = used_key((uid, sha256) for uid, sha256 in session.execute(of_job) if uid in wanted)
