"""The ledger's receiving side: instances come in, complete studies become jobs."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from pirtad.worker.contract import UNFINISHED, JobState, Stage, StudyState, job_key
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.events import append
from pirtad.worker.ledger.tables import Delivery, Instance, Job, JobInstance, Series, Study

# Study, series and instance are each inserted once; more rounds than that are lost only to ever new collisions.
_COLLISIONS = 10


@dataclass(frozen=True, slots=True)
class ReceivedInstance:
    """A file that lies in the spool, synced, and what its header says it is."""

    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    sha256: str
    size_bytes: int
    path: str  # relative to the data directory
    calling_ae: str


class Registration(StrEnum):
    """What registering an instance found."""

    NEW = "new"
    DUPLICATE = "duplicate"  # the same bytes are there already
    CONFLICT = "conflict"  # the same SOP Instance UID with other bytes: both are kept, the newest is used


@dataclass(frozen=True, slots=True)
class OpenStudy:
    """A study that is still being received."""

    study_uid: str
    calling_ae: str
    open_since: float
    last_received_at: float


class Opened(StrEnum):
    """What `open_job` did."""

    OPENED = "opened"
    REOPENED = "reopened"  # the same content was shelved before
    NOTHING_NEW = "nothing_new"  # a job for this content is under way or done
    LATE = "late"  # the study has its report, or it is on its way out, or was cancelled; the images are kept and noted


def register(database: Database, received: ReceivedInstance, now: float) -> Registration:
    """Record an instance. When this returns, the registration has survived a power loss."""
    for _ in range(_COLLISIONS):
        try:
            return _register(database, received, now)
        except IntegrityError:
            # On PostgreSQL two associations can bring a study's first images at the same moment, and both find no
            # study: the second one fails on its unique UID, and finds it the next time.
            continue
    return _register(database, received, now)


def _register(database: Database, received: ReceivedInstance, now: float) -> Registration:
    with database.transaction() as session:
        study = session.scalar(select(Study).where(Study.study_uid == received.study_uid).with_for_update())
        if study is None:
            study = Study(
                study_uid=received.study_uid,
                state=StudyState.RECEIVING,
                calling_ae=received.calling_ae,
                first_received_at=now,
                last_received_at=now,
                open_since=now,
                duplicates=0,
            )
            session.add(study)
            session.flush()
            append(session, now, "study_opened", f"first image from {received.calling_ae}", study.id)
        versions = session.scalars(
            select(Instance.sha256).where(
                Instance.study_id == study.id, Instance.sop_instance_uid == received.sop_instance_uid
            )
        ).all()
        if received.sha256 in versions:
            study.duplicates += 1
            return Registration.DUPLICATE
        session.add(
            Instance(
                study_id=study.id,
                series_id=_series_id(session, study.id, received),
                sop_instance_uid=received.sop_instance_uid,
                sop_class_uid=received.sop_class_uid,
                transfer_syntax_uid=received.transfer_syntax_uid,
                sha256=received.sha256,
                size_bytes=received.size_bytes,
                path=received.path,
                calling_ae=received.calling_ae,
                received_at=now,
            )
        )
        study.last_received_at = now
        if study.open_since is None:
            study.open_since = now
            append(session, now, "study_reopened", f"more images from {received.calling_ae}", study.id)
        if versions:
            text = f"received again with other bytes; both are kept, the newest is used: {received.sop_instance_uid}"
            append(session, now, "conflict", text, study.id)
            return Registration.CONFLICT
        return Registration.NEW


def _series_id(session: Session, study_id: int, received: ReceivedInstance) -> int:
    series = session.scalar(select(Series).where(Series.study_id == study_id, Series.series_uid == received.series_uid))
    if series is None:
        series = Series(study_id=study_id, series_uid=received.series_uid, modality=received.modality)
        session.add(series)
        session.flush()
    return series.id


def open_studies(database: Database) -> list[OpenStudy]:
    """Studies with images that no job has taken up yet."""
    with database.reading() as session:
        rows = session.scalars(select(Study).where(Study.open_since.is_not(None)))
        return [
            OpenStudy(study.study_uid, study.calling_ae, study.open_since, study.last_received_at)
            for study in rows
            if study.open_since is not None
        ]


def open_job(database: Database, study_uid: str, now: float) -> tuple[Opened, str]:
    """Close the study's round of receiving and make its job ready to be published; returns (what, job id)."""
    with database.transaction() as session:
        study = session.scalars(select(Study).where(Study.study_uid == study_uid).with_for_update()).one()
        study.open_since = None
        newest: dict[str, Instance] = {}
        for instance in session.scalars(select(Instance).where(Instance.study_id == study.id).order_by(Instance.id)):
            newest[instance.sop_instance_uid] = instance
        key = job_key(study_uid, ((uid, instance.sha256) for uid, instance in newest.items()))
        jobs = list(session.scalars(select(Job).where(Job.study_id == study.id).with_for_update()))
        same = next((job for job in jobs if job.job_key == key), None)
        if same is not None and same.state in (*UNFINISHED, JobState.DONE):
            append(session, now, "nothing_new", "all images had been received before; no second report", study.id)
            return Opened.NOTHING_NEW, same.id
        for job in jobs:
            is_reported = job.state == JobState.DONE or (job.state in UNFINISHED and job.stage == Stage.DELIVER)
            is_reported = is_reported or (job is not same and is_partly_delivered(session, job))
            if is_reported or job.state == JobState.CANCELLED:
                study.note = _late(session, job, newest)
                append(session, now, "late_images", study.note, study.id, job.id)
                return Opened.LATE, job.id
        for job in jobs:
            if job.state in UNFINISHED:
                job.state, job.finished_at, job.owner, job.lease_until = JobState.SUPERSEDED, now, None, None
                append(session, now, "superseded", "more images came before the report was composed", study.id, job.id)
        outcome = Opened.REOPENED if same is not None else Opened.OPENED
        job = same or Job(id=uuid.uuid4().hex, study_id=study.id, job_key=key, created_at=now)
        queue_again(session, study, job, now)
        if same is None:
            session.add(job)
            session.flush()
            session.add_all(JobInstance(job_id=job.id, instance_id=instance.id) for instance in newest.values())
        append(session, now, "complete", f"{len(newest)} images; queued", study.id, job.id)
        return outcome, job.id


def _late(session: Session, job: Job, newest: dict[str, Instance]) -> str:
    """What came after the job's images, for people; a replaced image may mean a corrected patient."""
    used = {
        instance.sop_instance_uid: instance.sha256
        for instance in session.scalars(
            select(Instance)
            .join(JobInstance, JobInstance.instance_id == Instance.id)
            .where(JobInstance.job_id == job.id)
        )
    }
    replaced = sum(uid in used and used[uid] != instance.sha256 for uid, instance in newest.items())
    added = sum(uid not in used for uid in newest)
    after = "the study was cancelled" if job.state == JobState.CANCELLED else "the report was drafted"
    told = [f"{_images(added)} came after {after}: kept, and not reported"] if added else []
    if replaced:
        told.append(f"{_images(replaced)} REPLACED after {after}: check that the draft still belongs to this patient")
    return "; ".join(told)


def _images(number: int) -> str:
    return "1 image" if number == 1 else f"{number} images"


def is_partly_delivered(session: Session, job: Job) -> bool:
    """Whether a destination has one of the job's objects: another draft would be a second report beside it."""
    delivered = select(Delivery.id).where(Delivery.job_id == job.id, Delivery.delivered_at.is_not(None))
    return session.scalar(delivered.limit(1)) is not None


def queue_again(session: Session, study: Study, job: Job, now: float) -> None:
    """Put a job at its start, within the caller's transaction; where a part was delivered, at its last stage."""
    # A job that is not in the database yet has no id that a delivery could refer to.
    stage = Stage.DELIVER if is_partly_delivered(session, job) else Stage.PREPARE
    job.state, job.stage, job.attempts, job.failures = JobState.QUEUED, stage, 0, 0
    job.next_attempt_at, job.published_at = now, None
    job.owner, job.lease_until, job.finished_at, job.last_error = None, None, None, ""
    study.state = StudyState.QUEUED
    study.reason_code = study.reason = study.hint = ""
