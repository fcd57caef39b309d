"""Rows of the ledger's shipments, within the caller's transaction: what receiving, jobs and commitments do to them."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from pirtad.worker.ledger.tables import Shipment


class ShipmentState(StrEnum):
    """What a destination's share of a job is doing."""

    WAITING = "waiting"
    DONE = "done"  # delivered; committed where the destination does that
    FAILED = "failed"  # no attempt mends it
    DROPPED = "dropped"  # the settings name this destination no more


class Commitment(StrEnum):
    """What is known of a shipment's storage commitment."""

    UNKNOWN = ""
    ASKED = "asked"
    COMMITTED = "committed"
    OFF = "off"  # by the settings, or not a DICOM peer
    UNSUPPORTED = "unsupported"  # the peer does not do it for us
    NO_ANSWER = "no_answer"  # the peer took the question, as often as it was asked, and never answered


def of_job(job_id: str) -> Select[tuple[Shipment]]:
    """The job's rows."""
    return select(Shipment).where(Shipment.job_id == job_id)


def restart(row: Shipment) -> None:
    """As if it had never been tried."""
    row.state, row.attempts, row.next_attempt_at = ShipmentState.WAITING, 0, 0.0
    row.asks, row.rounds, row.commitment = 0, 0, Commitment.UNKNOWN
    row.code = row.reason = row.hint = ""
    row.settled_at = None


def restart_all(session: Session, job_id: str) -> None:
    """The job starts its delivery again: every share is due at once, and what has arrived is on its deliveries."""
    for row in session.scalars(of_job(job_id)):
        restart(row)


def next_due_at(session: Session, job_id: str) -> float | None:
    """When the first of the job's waiting shares is due; None if none waits."""
    query = select(func.min(Shipment.next_attempt_at))
    return session.scalar(query.where(Shipment.job_id == job_id, Shipment.state == ShipmentState.WAITING))


def wake(session: Session, job_ids: Iterable[str], destination: str, at: float) -> None:
    """Have these jobs' shares be due at `at`, if they were to wait for longer."""
    session.execute(
        update(Shipment)
        .where(
            Shipment.job_id.in_(list(job_ids)),
            Shipment.destination == destination,
            Shipment.state == ShipmentState.WAITING,
            Shipment.next_attempt_at > at,
        )
        .values(next_attempt_at=at)
    )
