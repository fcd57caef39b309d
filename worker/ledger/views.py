"""What `pirtad status`, the page, the API and the metrics show. Read-only."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pirtad.worker.contract import JobState, Priority, StudyState
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.deliveries import RETRACTION
from pirtad.worker.ledger.job_rows import withdrawn_with
from pirtad.worker.ledger.shipment_rows import ShipmentState
from pirtad.worker.ledger.tables import Delivery, Event, Instance, Job, Retraction, Series, Shipment, Study


@dataclass(frozen=True, slots=True)
class StudyView:
    """One row of the status table."""

    study_uid: str
    state: StudyState
    stage: str  # "" before the study is queued and after it ended
    attempts: int
    calling_ae: str
    series: int
    images: int
    duplicates: int
    first_received_at: float
    last_received_at: float
    finished_at: float | None
    territory: str
    reason_code: str
    reason: str
    hint: str
    note: str
    last_error: str
    priority: str = "routine"  # or "stat"
    priority_because: str = ""
    started_by: str = ""  # a `StartedBy`; "" before the study is queued
    due_at: float | None = None  # when the report should be with the PACS
    missed_at: float | None = None  # when it was found not to be there in time
    removed_at: float | None = None  # when its images were removed; None while any is kept
    shipments: tuple[ShipmentView, ...] = ()


@dataclass(frozen=True, slots=True)
class EventView:
    """One line of the event log."""

    at: float
    study_uid: str  # "" for events that belong to no study
    job_id: str
    kind: str
    text: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """One composed object."""

    destination: str
    role: str
    sop_instance_uid: str
    path: str
    delivered_at: float | None
    status: int | None
    committed_at: float | None
    is_withdrawn: bool  # a note that rejects it was asked for; the note is a delivery of its own
    job_id: str


@dataclass(frozen=True, slots=True)
class ShipmentView:
    """One destination's share of the newest job."""

    destination: str
    state: str  # a `ShipmentState`
    attempts: int
    next_attempt_at: float | None  # None once it is settled
    commitment: str  # a `Commitment`
    code: str
    reason: str
    hint: str


@dataclass(frozen=True, slots=True)
class StudyDetail:
    """Everything about one study."""

    study: StudyView
    series: tuple[tuple[str, str, int], ...]  # (series UID, modality, images)
    report_text: str
    is_retracted: bool  # that report is withdrawn, or is being withdrawn
    withdraws: tuple[str, ...]  # then, the SOP Instance UIDs that the note rejects
    deliveries: tuple[DeliveryView, ...]
    events: tuple[EventView, ...]

    @property
    def shipments(self) -> tuple[ShipmentView, ...]:
        """How far each destination of the newest job is."""
        return self.study.shipments


def studies(database: Database, limit: int = 200, states: Iterable[StudyState] = ()) -> list[StudyView]:
    """The newest studies first; only those in `states`, if any are named."""
    query = select(Study).order_by(Study.last_received_at.desc(), Study.id.desc()).limit(limit)
    if wanted := tuple(states):
        query = query.where(Study.state.in_(wanted))
    with database.reading() as session:
        return [_study_view(session, study) for study in session.scalars(query)]


def study(database: Database, study_uid: str) -> StudyDetail | None:
    """One study in full, or None if it is not known here."""
    with database.reading() as session:
        row = session.scalar(select(Study).where(Study.study_uid == study_uid))
        if row is None:
            return None
        job = _shown_job(session, row)
        deliveries = _deliveries(session, row)
        withdrawn = set() if job is None else set(withdrawn_with(session, job.id))
        is_retracted = job is not None and session.get(Retraction, job.id) is not None
        return StudyDetail(
            study=_study_view(session, row),
            series=tuple(
                (uid, modality, count)
                for uid, modality, count in session.execute(
                    select(Series.series_uid, Series.modality, func.count(func.distinct(Instance.sop_instance_uid)))
                    .join(Instance, Instance.series_id == Series.id)
                    .where(Series.study_id == row.id)
                    .group_by(Series.id, Series.series_uid, Series.modality)
                    .order_by(Series.id)
                )
            ),
            report_text="" if job is None else job.report_text,
            is_retracted=is_retracted,
            withdraws=tuple(
                dict.fromkeys(
                    view.sop_instance_uid for view in deliveries if view.job_id in withdrawn and view.is_withdrawn
                )
            ),
            deliveries=tuple(deliveries),
            events=tuple(_events(session, Event.study_id == row.id, limit=1000)),
        )


def notices(database: Database, limit: int = 20) -> list[EventView]:
    """The newest events that belong to no study: empty associations, refused instances, a rebuilt queue."""
    with database.reading() as session:
        return _events(session, Event.study_id.is_(None), limit=limit)[::-1]


def counts(database: Database) -> dict[StudyState, int]:
    """Number of studies by state; every state is there."""
    with database.reading() as session:
        rows = session.execute(select(Study.state, func.count()).group_by(Study.state))
        found = {state: number for state, number in rows.tuples()}  # noqa: C416 - typed, as dict() is not
    return {state: found.get(state, 0) for state in StudyState}


def shipment_counts(database: Database) -> list[tuple[str, str, int]]:
    """(destination, state, number of jobs' shares), for the destinations and states that there are."""
    with database.reading() as session:
        query = select(Shipment.destination, Shipment.state, func.count())
        return list(session.execute(query.group_by(Shipment.destination, Shipment.state)).tuples())


def stage_seconds(database: Database, since: float = 0.0) -> list[tuple[str, str, float]]:
    """(study UID, stage, seconds) of every stage run that finished since then, from the event log."""
    with database.reading() as session:
        rows = session.execute(
            select(Study.study_uid, Event.job_id, Event.kind, Event.text, Event.at)
            .join(Study, Study.id == Event.study_id)
            .where(Event.at >= since, Event.kind.in_(("started", "finished", "delivered")))
            .order_by(Event.id)
        )
        started: dict[str, tuple[str, float]] = {}
        runs = []
        for study_uid, job_id, kind, text, at in rows:
            if kind == "started":
                started[job_id] = (text.split(",")[0], at)
            elif job_id in started:
                stage, begun = started.pop(job_id)
                runs.append((study_uid, stage, at - begun))
        return runs


def _shown_job(session: Session, row: Study) -> Job | None:
    jobs = select(Job).where(Job.study_id == row.id, Job.state != JobState.SUPERSEDED)
    return session.scalar(jobs.order_by(Job.created_at.desc()).limit(1))


def _study_view(session: Session, row: Study) -> StudyView:
    job = _shown_job(session, row)
    images = session.scalar(
        select(func.count(func.distinct(Instance.sop_instance_uid))).where(Instance.study_id == row.id)
    )
    series = session.scalar(select(func.count()).select_from(Series).where(Series.study_id == row.id))
    unfinished = job is not None and job.finished_at is None
    return StudyView(
        study_uid=row.study_uid,
        state=StudyState(row.state),
        stage=job.stage if job is not None and unfinished else "",
        attempts=0 if job is None else job.attempts,
        calling_ae=row.calling_ae,
        series=series or 0,
        images=images or 0,
        duplicates=row.duplicates,
        first_received_at=row.first_received_at,
        last_received_at=row.last_received_at,
        finished_at=None if job is None else job.finished_at,
        territory="" if job is None else job.territory,
        reason_code=row.reason_code,
        reason=row.reason,
        hint=row.hint,
        note=row.note,
        last_error="" if job is None else job.last_error,
        priority=Priority(row.priority).name.lower(),
        priority_because=row.priority_because,
        started_by="" if job is None else job.started_by,
        due_at=None if job is None else job.due_at,
        missed_at=None if job is None else job.missed_at,
        removed_at=row.removed_at,
        shipments=() if job is None else _shipments(session, job),
    )


def _shipments(session: Session, job: Job) -> tuple[ShipmentView, ...]:
    rows = session.scalars(
        select(Shipment)
        .where(Shipment.job_id == job.id, Shipment.state != ShipmentState.DROPPED)
        .order_by(Shipment.destination)
    )
    return tuple(
        ShipmentView(
            row.destination, row.state, row.attempts,
            row.next_attempt_at if row.state == ShipmentState.WAITING else None,
            row.commitment, row.code, row.reason, row.hint,
        )
        for row in rows
    )  # fmt: skip


def _deliveries(session: Session, row: Study) -> list[DeliveryView]:
    """Every object of the study."""
    found = session.execute(
        select(Delivery, Retraction.job_id)
        .join(Job, Job.id == Delivery.job_id)
        .outerjoin(Retraction, Retraction.job_id == Delivery.job_id)
        .where(Job.study_id == row.id)
        .order_by(Delivery.id)
    )
    return [
        DeliveryView(
            d.destination,
            d.role,
            d.sop_instance_uid,
            d.path,
            d.delivered_at,
            d.status,
            d.committed_at,
            is_withdrawn=retracted is not None and d.role != RETRACTION and d.delivered_at is not None,
            job_id=d.job_id,
        )
        for d, retracted in found
    ]


def _events(session: Session, condition: Any, limit: int) -> list[EventView]:  # noqa: ANN401
    newest = session.execute(
        select(Event, Study.study_uid)
        .outerjoin(Study, Study.id == Event.study_id)
        .where(condition)
        .order_by(Event.id.desc())
        .limit(limit)
    ).all()
    return [
        EventView(event.at, study_uid or "", event.job_id or "", event.kind, event.text, json.loads(event.data))
        for event, study_uid in reversed(newest)
    ]
