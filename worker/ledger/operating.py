"""What operators ask of a study's newest job."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from pirtad.worker.contract import SHELVED, UNFINISHED, JobMessage, JobState, Stage, StudyState
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.events import append
from pirtad.worker.ledger.job_rows import end, is_partly_delivered, newest_job, queue_again, retraction_of
from pirtad.worker.ledger.receiving import draft_anew
from pirtad.worker.ledger.removed import RETRY_HINT, missing_images, missing_of_job
from pirtad.worker.ledger.tables import Study


class NotPossible(Exception):
    """The operator's request does not fit the study's state; the text says why."""


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
        end(
            session,
            job,
            JobState.CANCELLED,
            StudyState.CANCELLED,
            now,
            "cancelled",
            f"cancelled by an operator{partly}",
        )


def study_of(session: Session, study_uid: str) -> Study:
    """The study, locked; `NotPossible` if it is not known."""
    study = session.scalar(select(Study).where(Study.study_uid == study_uid).with_for_update())
    if study is None:
        raise NotPossible(f"no study {study_uid} is known here")
    return study
