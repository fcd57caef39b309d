"""Delivered reports, requests to withdraw them, and what became of both, for the tests of retractions."""

from __future__ import annotations

from sqlalchemy import select

from pirtad.worker.contract import JobMessage, JobState, Stage, StudyState
from pirtad.worker.ledger import (
    claiming,
    deliveries,
    looks,
    progress,
    publishing,
    receiving,
    retractions,
    revisions,
    views,
)
from pirtad.worker.ledger.claiming import ClaimedJob
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.deliveries import RETRACTION, KeptObject
from pirtad.worker.ledger.looks import Counts, Seen
from pirtad.worker.ledger.retractions import Answer, Requested
from pirtad.worker.ledger.tables import Job
from pirtad.worker.rejection import RejectionReason
from support.ledger import STUDY, received

PACS = "ORTHANC@127.0.0.1:4242"
OTHER = "OTHER@10.0.0.1:104"
NARRATIVE = KeptObject("narrative", "2.25.7", "a" * 64, "results/2.25.7.dcm")
MEASUREMENTS = KeptObject("measurements", "2.25.8", "b" * 64, "results/2.25.8.dcm")
NOTE = KeptObject(RETRACTION, "2.25.9", "c" * 64, "results/2.25.9.dcm")
FIRST = KeptObject("narrative", "2.25.1", "d" * 64, "results/2.25.1.dcm")
WHY = "The side is wrong."


def alive(_owner: str) -> bool:
    return False


def take(database: Database, message: JobMessage, now: float) -> ClaimedJob:
    claimed = claiming.claim(database, message, "worker", now, 30.0, alive)
    assert claimed is not None
    return claimed


def at_last_stage(database: Database, message: JobMessage, now: float) -> ClaimedJob:
    prepare = take(database, message, now)
    infer = take(database, progress.advance(database, prepare, Stage.INFER, now), now)
    progress.keep_report(database, infer, "anterior", "the report")
    return take(database, progress.advance(database, infer, Stage.DELIVER, now), now)


def look(database: Database, *used: int) -> None:
    """A look that takes these images for the pair."""
    every = frozenset({f"{STUDY}.1"})
    uids = tuple(received(number).sop_instance_uid for number in used)
    seen = Seen(True, Counts.MET, uids, every, frozenset(), "", "")
    looks.keep_look(database, STUDY, looks.files_of(database, STUDY), seen, 5.0)


def report(database: Database, used: tuple[int, ...], now: float, *objects: KeptObject, to: str = PACS) -> str:
    """The job that is there drafts from these images and delivers these objects; returns its id."""
    receiving.open_job(database, STUDY, now)
    (message,) = publishing.publishable(database, now, alive)
    prepare = take(database, message, now)
    revisions.keep_used(database, prepare, [received(number).sop_instance_uid for number in used])
    infer = take(database, progress.advance(database, prepare, Stage.INFER, now), now)
    deliver = take(database, progress.advance(database, infer, Stage.DELIVER, now), now)
    deliveries.keep(database, deliver, to, objects)
    for kept in objects:
        deliveries.mark_delivered(database, deliver, to, kept, 0x0000, now)
    if objects:
        progress.finish(database, deliver, to, now)
    else:
        progress.shelve(database, deliver, JobState.FAILED, "refused", "not supported", "allow it", now)
    return deliver.job_id


def request(database: Database, words: str = WHY, now: float = 20.0, **changes: object) -> Requested:
    facts = {"reason": RejectionReason.PATIENT_SAFETY, "destination": PACS, "is_moved": False} | changes
    reason, destination, is_moved = facts["reason"], str(facts["destination"]), bool(facts["is_moved"])
    assert isinstance(reason, RejectionReason)
    return retractions.request(database, STUDY, reason, words, destination, now, is_moved=is_moved).requested


def ask(database: Database, job_id: str | None = None, words: str = WHY, now: float = 20.0) -> Answer:
    return retractions.request(
        database, STUDY, RejectionReason.PATIENT_SAFETY, words, (PACS, OTHER), now, job_id=job_id
    )


def deliver_note(database: Database, message: JobMessage, now: float) -> None:
    claimed = take(database, message, now)
    deliveries.keep(database, claimed, PACS, [NOTE])
    deliveries.mark_delivered(database, claimed, PACS, NOTE, 0x0000, now)
    progress.finish(database, claimed, PACS, now)


def state(database: Database) -> StudyState:
    (view,) = views.studies(database)
    return view.state


def states(database: Database) -> dict[str, JobState]:
    with database.reading() as session:
        return {job.id: JobState(job.state) for job in session.scalars(select(Job))}
