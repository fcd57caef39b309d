"""The ledger's part of retention: what was removed and why, and which files are still to go.

First the ledger says "removed", in the transaction that found that nothing speaks against it; then files are unlinked,
under the study's lock, so that an image which comes again at that moment is not unlinked after it is on record again.
A removal that was begun and not finished, by a process that died, is finished by the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from pirtad.worker.contract import UNFINISHED, JobState, StudyState
from pirtad.worker.ledger import registry_facts
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.events import append
from pirtad.worker.ledger.operating import NotPossible, study_of
from pirtad.worker.ledger.removed import RETRY_HINT, forget_look
from pirtad.worker.ledger.retention_facts import facts_of
from pirtad.worker.ledger.tables import Delivery, Instance, Job, Removal, Study
from pirtad.worker.retention import Kept, StudyFacts, Why, why_in_work

_FILES_AT_ONCE = 500  # chosen: some ten milliseconds of unlinking, for which writers wait


class What(StrEnum):
    """What a removal is about."""

    IMAGES = "images"
    RESULTS = "results"


@dataclass(frozen=True, slots=True)
class Pending:
    """A removal that is on record and not finished."""

    removal_id: int
    study_uid: str
    what: What


@dataclass(frozen=True, slots=True)
class Removed:
    """What was put on record as removed. size_bytes: of images as they were registered; 0 for report objects."""

    removal_id: int
    study_uid: str
    what: What
    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ToUnlink:
    """Files to unlink now, and ids of the study's jobs that are over; paths relative to the data directory.

    is_last: nothing is left after them.
    """

    paths: tuple[str, ...]
    ended_jobs: tuple[str, ...]
    is_last: bool


# --- removing -----------------------------------------------------------------------------------------------------


def remove_images(
    database: Database, study_uid: str, why: Why, now: float, why_kept: Callable[[StudyFacts], Kept | None]
) -> Removed | None:
    """Put a study's images on record as removed, unless `why_kept` says of its facts, as they are now, that they stay.

    None where they stay, or none is there. Files go afterwards: `unlinking`.
    """
    with database.transaction() as session:
        study = session.scalar(select(Study).where(Study.study_uid == study_uid).with_for_update())
        if study is None:
            return None
        facts = facts_of(session, study)
        return None if why_kept(facts) is not None else _remove_images(session, study, facts, why, now)


def forget(database: Database, study_uid: str, now: float) -> Removed | None:
    """An operator gives up a study's images, delivered or not, and what the hospital said of the patient.

    Ledger, events and report objects stay. None where no image is there any more; `NotPossible` for a study that is
    not known, is being received, or on which work is under way.
    """
    with database.transaction() as session:
        study = study_of(session, study_uid)
        facts = facts_of(session, study)
        if (blocked := why_in_work(facts)) is not None:
            raise NotPossible(f"study {study_uid} can't be forgotten: {blocked}")
        registry_facts.forget(session, study_uid)
        if study.state != StudyState.REPORTED:
            study.hint = f"its images were removed by an operator: {RETRY_HINT}"
        return _remove_images(session, study, facts, Why.OPERATOR, now)


def _remove_images(session: Session, study: Study, facts: StudyFacts, why: Why, now: float) -> Removed | None:
    if not facts.images:
        study.removed_at = study.removed_at or now
        return None
    session.execute(
        update(Instance).where(Instance.study_id == study.id, Instance.removed_at.is_(None)).values(removed_at=now)
    )
    study.removed_at = now
    forget_look(session, study)
    return _record(session, study, What.IMAGES, why, facts.images, facts.size_bytes, now)


def remove_results(database: Database, finished_by: float, now: float) -> list[Removed]:
    """Put report objects on record as removed: of studies whose images were removed after delivery, and of which
    nothing happened since that time (POSIX seconds). Files go afterwards: `unlinking`.
    """
    late = select(Job.study_id).where((Job.finished_at.is_(None)) | (Job.finished_at > finished_by))
    kept = select(Job.study_id).join(Delivery, Delivery.job_id == Job.id).where(Delivery.removed_at.is_(None))
    with_old_results = select(Study.id).where(
        Study.removed_at.is_not(None), Study.open_since.is_(None), Study.state == StudyState.REPORTED,
        Study.last_received_at <= finished_by, Study.id.not_in(late), Study.id.in_(kept),
    )  # fmt: skip
    with database.reading() as session:
        candidates = session.scalars(with_old_results.order_by(Study.id)).all()
    found = []
    for study_id in candidates:
        with database.transaction() as session:
            session.scalars(select(Study.id).where(Study.id == study_id).with_for_update()).one()
            if session.scalar(with_old_results.where(Study.id == study_id)) is None:
                continue
            study = session.get_one(Study, study_id)
            # Objects that do not count as delivered are what a later attempt would send, and a note is made from them.
            jobs = facts_of(session, study).jobs
            if any(job.is_retracting or (job.state == JobState.DONE and not job.is_delivered) for job in jobs):
                continue
            of_study = Delivery.job_id.in_(select(Job.id).where(Job.study_id == study_id))
            rows = session.scalars(select(Delivery).where(of_study, Delivery.removed_at.is_(None))).all()
            for row in rows:
                row.removed_at = now
            found.append(_record(session, study, What.RESULTS, Why.AGE, len({row.path for row in rows}), 0, now))
    return found


def _record(session: Session, study: Study, what: What, why: Why, files: int, size_bytes: int, now: float) -> Removed:
    removal = Removal(
        at=now, study_id=study.id, study_uid=study.study_uid, what=what, why=why, files=files, size_bytes=size_bytes
    )
    session.add(removal)
    session.flush()
    told = {
        Why.AGE: "by age",
        Why.WATERMARK: "since too little space was free",
        Why.OPERATOR: "by an operator",
    }[why]
    size = f", {size_bytes / 1e6:.1f} MB" if what is What.IMAGES else ""
    data = {"files": files, "size_bytes": size_bytes, "why": str(why)}
    append(session, now, f"{what}_removed", f"{files} files{size}, {told}", study.id, data=data)
    return Removed(removal.id, study.study_uid, what, files, size_bytes)


# --- unlinking ----------------------------------------------------------------------------------------------------


def pending(database: Database) -> list[Pending]:
    """Removals that are on record and whose files are not all unlinked, the oldest first."""
    with database.reading() as session:
        rows = session.scalars(select(Removal).where(Removal.finished_at.is_(None)).order_by(Removal.id))
        return [Pending(row.id, row.study_uid, What(row.what)) for row in rows]


@contextmanager
def unlinking(database: Database, removal_id: int, now: float) -> Iterator[ToUnlink]:
    """Some of a removal's files, which nobody brings back while the block runs; unlinked, and that synced, when it
    ends. What came again since is not among them.
    """
    with database.transaction() as session:
        removal = session.get_one(Removal, removal_id)
        session.scalars(select(Study.id).where(Study.id == removal.study_id).with_for_update()).one()
        if removal.what == What.RESULTS:
            yield ToUnlink(_result_paths(session, removal), (), is_last=True)
            removal.finished_at = now
            return
        rows = session.scalars(
            select(Instance)
            .where(Instance.study_id == removal.study_id, Instance.removed_at.is_not(None), Instance.path != "")
            .order_by(Instance.id)
            .limit(_FILES_AT_ONCE + 1)
        ).all()
        rows, is_last = rows[:_FILES_AT_ONCE], len(rows) <= _FILES_AT_ONCE
        of_study = select(Instance.path).where(Instance.study_id == removal.study_id, Instance.removed_at.is_(None))
        kept = set(session.scalars(of_study.where(Instance.path.in_([row.path for row in rows]))))
        ended = select(Job.id).where(Job.study_id == removal.study_id, Job.state.not_in(UNFINISHED))
        paths = tuple(row.path for row in rows if row.path not in kept)
        yield ToUnlink(paths, tuple(session.scalars(ended)), is_last)
        for row in rows:
            row.path = ""
        if is_last:
            removal.finished_at = now


def _result_paths(session: Session, removal: Removal) -> tuple[str, ...]:
    of_study = select(Delivery.path).join(Job, Job.id == Delivery.job_id).where(Job.study_id == removal.study_id)
    kept = set(session.scalars(of_study.where(Delivery.removed_at.is_(None))))
    removed = session.scalars(of_study.where(Delivery.removed_at.is_not(None)).distinct())
    return tuple(path for path in removed if path not in kept)


def freed_bytes(database: Database) -> dict[Why, int]:
    """Bytes of images that were ever removed, by why; a total that never falls."""
    with database.reading() as session:
        rows = session.execute(select(Removal.why, func.sum(Removal.size_bytes)).group_by(Removal.why)).tuples()
        found = {why: int(size_bytes) for why, size_bytes in rows}
    return {why: found.get(why, 0) for why in Why}
