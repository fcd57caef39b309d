"""Rows of what was removed, within the caller's transaction: what receiving, looks and retries have to know of it.

An instance keeps its row when its file goes, with `removed_at`; the file is unlinked after that is on record. Received
again it is on the disk again, and the mark is taken off.
"""

from __future__ import annotations

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from pirtad.worker.ledger.tables import Instance, Job, JobInstance, Look, Study

RETRY_HINT = "send the study again; its images then take their places, and it can be retried"


def restore(session: Session, study: Study, sop_instance_uid: str, sha256: str, path: str, at: float) -> None:
    """The same bytes are there again. The study is being received again, so that what comes with them is held
    against the whole of it; a report that it has is not made a second time, for its job's key is the same.
    """
    of_content = select(Instance).where(
        Instance.study_id == study.id, Instance.sop_instance_uid == sop_instance_uid, Instance.sha256 == sha256
    )
    row = session.scalars(of_content).one()
    row.removed_at, row.path = None, path
    study.removed_at = None
    study.last_received_at = max(study.last_received_at, at)
    forget_look(session, study)


def forget_look(session: Session, study: Study) -> None:
    """The images that it saw are others now."""
    session.execute(delete(Look).where(Look.study_id == study.id))


def missing_images(session: Session, study: Study) -> int:
    """Instances of which the newest version was removed: nothing is drafted from the rest alone."""
    newest = select(func.max(Instance.id)).where(Instance.study_id == study.id).group_by(Instance.sop_instance_uid)
    return _count(session, Instance.study_id == study.id, Instance.removed_at.is_not(None), Instance.id.in_(newest))


def missing_of_job(session: Session, job: Job) -> int:
    """Images that the job was opened on and that were removed."""
    of_job = select(JobInstance.instance_id).where(JobInstance.job_id == job.id)
    return _count(session, Instance.removed_at.is_not(None), Instance.id.in_(of_job))


def present(session: Session, study: Study, up_to: int) -> dict[str, int]:
    """Id of the newest version of each image that is on the disk, of those with an id up to this one."""
    rows = session.execute(
        select(Instance.sop_instance_uid, Instance.id)
        .where(Instance.study_id == study.id, Instance.id <= up_to, Instance.removed_at.is_(None))
        .order_by(Instance.id)
    )
    return {uid: number for uid, number in rows.tuples()}  # noqa: C416 - typed, as dict() is not


def _count(session: Session, *conditions: object) -> int:
    return session.scalar(select(func.count()).select_from(Instance).where(*conditions)) or 0  # type: ignore[arg-type]
