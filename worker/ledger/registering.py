"""Instances come in: each is recorded once, with the study and the series it belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from pirtad.worker.contract import StudyState
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.events import append
from pirtad.worker.ledger.removed import restore
from pirtad.worker.ledger.tables import Instance, Series, Study

# Study, series and instance are each inserted once; more rounds than that are lost only to ever new collisions.
_COLLISIONS = 10
_UIDS_AT_ONCE = 500  # chosen: SQLite takes 999 parameters in every version


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
    DUPLICATE = "duplicate"  # the same bytes are there already, or were and are there again
    CONFLICT = "conflict"  # the same SOP Instance UID with other bytes: both are kept, the newest is used


def register(database: Database, received: ReceivedInstance, now: float) -> Registration:
    """Record an instance. When this returns, the registration has survived a power loss."""
    (found,) = register_all(database, [(received, now)])
    return found


def register_all(
    database: Database, arrivals: Sequence[tuple[ReceivedInstance, float]], *, is_recovery: bool = False
) -> list[Registration]:
    """Record instances, each with the time it was received, in one transaction; what was found of each, in order.

    is_recovery: some may have been recorded before, by a process that died; that does not make duplicates of them.
    """
    for _ in range(_COLLISIONS):
        try:
            return _register_all(database, arrivals, is_recovery)
        except IntegrityError:
            # On PostgreSQL two processes can bring a study's first images at the same moment, and both find no
            # study: the second one fails on its unique UID, and finds it the next time.
            continue
    return _register_all(database, arrivals, is_recovery)


def _register_all(
    database: Database, arrivals: Sequence[tuple[ReceivedInstance, float]], is_recovery: bool
) -> list[Registration]:
    by_study: dict[str, list[int]] = {}
    for index, (received, _) in enumerate(arrivals):
        by_study.setdefault(received.study_uid, []).append(index)
    found: dict[int, Registration] = {}
    with database.transaction() as session:
        # In one order everywhere: two processes that each hold a study the other waits for would wait for ever.
        for study_uid in sorted(by_study):
            of_study = [arrivals[index] for index in by_study[study_uid]]
            registered = _register_study(session, study_uid, of_study, is_recovery)
            found.update(zip(by_study[study_uid], registered, strict=True))
    return [found[index] for index in range(len(arrivals))]


def _register_study(
    session: Session, study_uid: str, arrivals: Sequence[tuple[ReceivedInstance, float]], is_recovery: bool
) -> list[Registration]:
    study = _study(session, study_uid, *arrivals[0])
    series_ids = dict(
        session.execute(select(Series.series_uid, Series.id).where(Series.study_id == study.id)).tuples().all()
    )
    versions, removed = _versions(session, study.id, {received.sop_instance_uid for received, _ in arrivals})
    found, rows = [], []
    for received, at in arrivals:
        known = versions.setdefault(received.sop_instance_uid, [])
        if received.sha256 in known:
            study.duplicates += not is_recovery
            if received.sha256 != known[-1] and not is_recovery:
                text = f"an earlier version came again from {received.calling_ae}; the later one is still used: "
                append(session, at, "conflict", text + received.sop_instance_uid, study.id)
            found.append(Registration.DUPLICATE)
            if study.open_since is None and study.state == StudyState.REPORTED:
                study.last_received_at = max(study.last_received_at, at)  # not to be removed while it is being sent
            content = (received.sop_instance_uid, received.sha256)
            if content in removed:
                restore(session, study, *content, received.path, at)
                removed.discard(content)
                _reopen(session, study, f"removed images came again from {received.calling_ae}", at)
            continue
        if received.series_uid not in series_ids:
            series = Series(study_id=study.id, series_uid=received.series_uid, modality=received.modality)
            session.add(series)
            session.flush()
            series_ids[received.series_uid] = series.id
        rows.append(_row(received, at, study.id, series_ids[received.series_uid]))
        study.last_received_at = max(study.last_received_at, at)
        study.removed_at = None
        _reopen(session, study, f"more images from {received.calling_ae}", at)
        if known:
            text = f"received again with other bytes; both are kept, the newest is used: {received.sop_instance_uid}"
            append(session, at, "conflict", text, study.id)
        found.append(Registration.CONFLICT if known else Registration.NEW)
        known.append(received.sha256)
    if rows:
        session.execute(insert(Instance), rows)
    return found


def _reopen(session: Session, study: Study, told: str, at: float) -> None:
    if study.open_since is None:
        study.open_since = at
        append(session, at, "study_reopened", told, study.id)


def _study(session: Session, study_uid: str, received: ReceivedInstance, at: float) -> Study:
    study = session.scalar(select(Study).where(Study.study_uid == study_uid).with_for_update())
    if study is None:
        study = Study(
            study_uid=study_uid,
            state=StudyState.RECEIVING,
            calling_ae=received.calling_ae,
            first_received_at=at,
            last_received_at=at,
            open_since=at,
            duplicates=0,
        )
        session.add(study)
        session.flush()
        append(session, at, "study_opened", f"first image from {received.calling_ae}", study.id)
    return study


def _versions(
    session: Session, study_id: int, sop_instance_uids: Iterable[str]
) -> tuple[dict[str, list[str]], set[tuple[str, str]]]:
    """Of each instance, the content digests that are known already, the newest last; and the (UID, digest) of what was
    removed."""
    versions: dict[str, list[str]] = {}
    removed: set[tuple[str, str]] = set()
    uids = sorted(sop_instance_uids)
    for start in range(0, len(uids), _UIDS_AT_ONCE):
        chunk = uids[start : start + _UIDS_AT_ONCE]
        query = select(Instance.sop_instance_uid, Instance.sha256, Instance.removed_at).where(
            Instance.study_id == study_id, Instance.sop_instance_uid.in_(chunk)
        )
        query = query.order_by(Instance.id)
        for uid, sha256, removed_at in session.execute(query):
            versions.setdefault(uid, []).append(sha256)
            if removed_at is not None:
                removed.add((uid, sha256))
    return versions, removed


def _row(received: ReceivedInstance, at: float, study_id: int, series_id: int) -> dict[str, str | int | float]:
    return {
        "study_id": study_id,
        "series_id": series_id,
        "sop_instance_uid": received.sop_instance_uid,
        "sop_class_uid": received.sop_class_uid,
        "transfer_syntax_uid": received.transfer_syntax_uid,
        "sha256": received.sha256,
        "size_bytes": received.size_bytes,
        "path": received.path,
        "calling_ae": received.calling_ae,
        "received_at": at,
    }


def study_size(database: Database, study_uid: str) -> tuple[int, int]:
    """(images, bytes) registered of a study and not removed since."""
    with database.reading() as session:
        query = select(func.count(), func.coalesce(func.sum(Instance.size_bytes), 0)).select_from(Instance)
        of_study = query.join(Study).where(Study.study_uid == study_uid, Instance.removed_at.is_(None))
        images, size_bytes = session.execute(of_study).one()
        return int(images), int(size_bytes)


def is_conflict(database: Database, study_uid: str, sop_instance_uid: str, sha256: str) -> bool:
    """Whether the instance is there, with other bytes alone."""
    with database.reading() as session:
        query = (
            select(Instance.sha256)
            .join(Study)
            .where(Study.study_uid == study_uid, Instance.sop_instance_uid == sop_instance_uid)
        )
        versions = session.scalars(query).all()
    return bool(versions) and sha256 not in versions
