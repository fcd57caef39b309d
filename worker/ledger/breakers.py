"""The ledger's circuit breakers: how each destination fared lately, over all jobs and worker processes.

Closed, every study tries its destination on its own. After so many failures in a row it is open: the destination is
tried once per backoff interval, by whichever study comes first, and the others wait without touching the network. One
success closes it, and wakes them.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from pirtad.worker.contract import UNFINISHED, JobState, Stage
from pirtad.worker.ledger import shipment_rows
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.events import append
from pirtad.worker.ledger.tables import DestinationPeer, Job, Shipment


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a destination may be tried now; if not, `until` says when, and `reason` why. is_probe: it is open."""

    is_admitted: bool
    is_probe: bool = False
    until: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    """How a destination fared. failures: in a row. retry_at: while the breaker is open, not before."""

    name: str
    failures: int
    is_open: bool
    retry_at: float
    last_error: str
    last_failed_at: float | None
    last_ok_at: float | None


def admit(database: Database, name: str, now: float, threshold: int, probe_wait_s: float) -> Admission:
    """Ask before each try. While open, whoever is admitted keeps all others off for probe_wait_s, or until it told."""
    with database.transaction() as session:
        row = _locked(session, name)
        if row.failures < threshold:
            return Admission(is_admitted=True)
        if now < row.retry_at:
            return Admission(is_admitted=False, until=row.retry_at, reason=row.last_error)
        row.retry_at = now + probe_wait_s
        return Admission(is_admitted=True, is_probe=True)


def not_tried(database: Database, name: str, now: float) -> None:
    """Who was admitted to an open one had nothing to ask of the destination after all: the next one may, at once."""
    with database.transaction() as session:
        row = _locked(session, name)
        row.retry_at = min(row.retry_at, now)


def failed(database: Database, name: str, now: float, wait_s: float, reason: str, threshold: int) -> int:
    """The destination did not answer, or is in trouble; returns how often in a row. wait_s: to the next probe."""
    with database.transaction() as session:
        row = _locked(session, name)
        row.failures += 1
        row.retry_at, row.last_failed_at, row.last_error = now + wait_s, now, reason
        if row.failures == threshold:
            append(session, now, "destination_down", f"{name}: {row.failures} failures in a row: {reason}")
        return row.failures


def answered(database: Database, name: str, now: float, threshold: int) -> None:
    """The destination answered; if it was taken for down, whoever waits for it is woken."""
    with database.transaction() as session:
        row = _locked(session, name)
        was_open = row.failures >= threshold
        row.failures, row.last_ok_at, row.last_error = 0, now, ""
        if not was_open:
            return
        append(session, now, "destination_up", f"{name} answers again")
        waiting = session.scalars(
            select(Job)
            .join(Shipment, Shipment.job_id == Job.id)
            .where(
                Shipment.destination == name,
                Shipment.state == shipment_rows.ShipmentState.WAITING,
                Job.state.in_(UNFINISHED),  # one that is at another destination just now waits for this one afterwards
                Job.stage == Stage.DELIVER,
            )
        ).all()
        shipment_rows.wake(session, [job.id for job in waiting], name, now)
        for job in waiting:
            if job.state == JobState.WAITING:
                job.next_attempt_at = min(job.next_attempt_at, now)


def all_health(database: Database, threshold: int) -> list[Health]:
    """Every destination that was ever tried, by name."""
    with database.reading() as session:
        rows = session.scalars(select(DestinationPeer).order_by(DestinationPeer.name))
        return [
            Health(
                row.name, row.failures, row.failures >= threshold, row.retry_at, row.last_error, row.last_failed_at,
                row.last_ok_at,
            )
            for row in rows
        ]  # fmt: skip


def _locked(session: Session, name: str) -> DestinationPeer:
    query = select(DestinationPeer).where(DestinationPeer.name == name).with_for_update()
    row = session.scalar(query)
    if row is not None:
        return row
    try:
        with session.begin_nested():
            session.add(DestinationPeer(name=name, failures=0, retry_at=0.0, last_error=""))
    except IntegrityError:
        pass  # another worker was first
    return session.scalars(query).one()
